//! Finding the end of a text's plain run, which is most of what reading JSON costs: eight bytes at a time, and 64 where a text is long.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Words that are looked at within the caller's loop: most texts end in the first two, each of which is a branch of its own for the
/// processor to learn.
const WORDS_INLINE: usize = 2;
/// Words after these before it pays to look at 64 bytes at once.
const WORDS_BEFORE_BLOCKS: usize = 4;

/// The bytes of a word before its first quote, the others zero: all of them if it has none.
#[inline(always)]
pub(super) fn before_quote(word: u64) -> u64 {
    let quote = word ^ (ONES * 0x22);
    let marks = quote.wrapping_sub(ONES) & !quote & HIGH;
    // The mark is the highest bit of its byte, so one bit less than the mark's byte: shift it to the byte's lowest bit first. Without
    // a mark, zero minus one keeps everything.
    let lowest = (marks & marks.wrapping_neg()) >> 7;
    word & lowest.wrapping_sub(1)
}

/// Index of the first byte at or after `from` that ends a plain run: a quote, a backslash or a control character (or the end).
#[inline(always)]
pub(super) fn plain_run(bytes: &[u8], from: usize) -> usize {
    match in_words(bytes, from, WORDS_INLINE) {
        Run::Ends(at) => at,
        Run::GoesOn(at) => in_blocks(bytes, at),
    }
}

/// What is known of a run after some words of it.
enum Run {
    Ends(usize),
    GoesOn(usize),
}

/// Looks at `most` words from `at` on.
#[inline(always)]
fn in_words(bytes: &[u8], mut at: usize, most: usize) -> Run {
    for _ in 0..most {
        let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
            return Run::Ends(in_bytes(bytes, at));
        };
        let marks = ends(u64::from_le_bytes(*chunk));
        if marks != 0 {
            return Run::Ends(at + (marks.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    Run::GoesOn(at)
}

/// The marks of bytes that end a plain run, each the highest bit of its byte.
///
/// In each of the three tests a borrow can raise a false mark only above a true one, so the lowest mark is right, and the lowest is
/// all that is used.
#[inline(always)]
fn ends(word: u64) -> u64 {
    let quote = word ^ (ONES * 0x22);
    let slash = word ^ (ONES * 0x5C);
    let quote = quote.wrapping_sub(ONES) & !quote;
    let slash = slash.wrapping_sub(ONES) & !slash;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | slash | control) & HIGH
}

/// What is longer: 64 bytes at a time, in a form that the compiler makes vector instructions of. Each of the three terms is zero for one
/// sort of byte that ends a run, and nothing is less than zero. The block in which it ends is gone through in words.
#[inline(never)]
fn in_blocks(bytes: &[u8], from: usize) -> usize {
    let mut at = match in_words(bytes, from, WORDS_BEFORE_BLOCKS) {
        Run::Ends(at) => return at,
        Run::GoesOn(at) => at,
    };
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<64>) {
        let least = |least: u8, &byte: &u8| least.min(byte ^ b'"').min(byte ^ b'\\').min(byte & 0xE0);
        if chunk.iter().fold(u8::MAX, least) == 0 {
            break;
        }
        at += 64;
    }
    match in_words(bytes, at, usize::MAX) {
        Run::Ends(at) | Run::GoesOn(at) => at,
    }
}

/// The last bytes of a payload.
#[cold]
fn in_bytes(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let end = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
    from + end.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_where_it_ends_when_read_byte_by_byte() {
        for length in 0..300 {
            for end in [b'"', b'\\', 0x1F, 0] {
                // What stands behind the end must not matter, nor what almost ends a run.
                let mut bytes = vec![0xE4; length];
                bytes.iter_mut().step_by(3).for_each(|byte| *byte = b'!');
                bytes.iter_mut().skip(1).step_by(5).for_each(|byte| *byte = 0x7F);
                bytes.push(end);
                for behind in [0, 1, 7, 8, 70] {
                    bytes.extend(std::iter::repeat_n(b'"', behind));
                    for from in [0, length / 2, length] {
                        assert_eq!(plain_run(&bytes, from), length, "{length} {end} {behind} {from}");
                    }
                    bytes.truncate(length + 1);
                }
            }
            assert_eq!(plain_run(&vec![b' '; length], 0), length, "nothing ends it");
        }
    }
}
