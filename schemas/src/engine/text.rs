//! Measuring text, and finding it in a closed list.

use encoding_rs::GB18030;
use std::sync::LazyLock;

/// Unicode code points in UTF-8 text: every byte but the continuation bytes begins one.
pub(crate) fn characters(text: &str) -> usize {
    text.bytes().filter(|byte| byte & 0xC0 != 0x80).count()
}

/// Whether `text` has at most `most` characters, without counting when the byte length already says so.
#[inline]
pub(crate) fn at_most(text: &str, most: usize) -> bool {
    text.len() <= most || (text.len() <= most.saturating_mul(4) && characters(text) <= most)
}

/// Whether `text` has at least `least` characters.
#[inline]
pub(crate) fn at_least(text: &str, least: usize) -> bool {
    text.len() >= least && (text.len() >= least.saturating_mul(4) || characters(text) >= least)
}

/// Bytes that `text` takes in GB18030, as the WHATWG encoding standard (and so `encoding_rs`) maps it: what a legacy column
/// declared in bytes must hold. ASCII takes one byte, what GBK knows takes two, everything else four.
pub(crate) fn gb18030_bytes(text: &str) -> usize {
    text.chars().map(gb18030_width).sum()
}

/// Whether `text` fits a column of `most` GB18030 bytes.
#[inline]
pub(crate) fn fits_gb18030(text: &str, most: usize) -> bool {
    // One UTF-8 byte gives one, two give at most four, three at most four, four exactly four: never more than double.
    text.len().saturating_mul(2) <= most || gb18030_bytes(text) <= most
}

fn gb18030_width(character: char) -> usize {
    let code = character as usize;
    if code < 0x80 {
        return 1;
    }
    let two = TWO_BYTES.get(code / 64).is_some_and(|word| word >> (code % 64) & 1 == 1);
    if two { 2 } else { 4 }
}

/// One bit for each character of the basic plane: set where GB18030 has a two-byte form. Asked of `encoding_rs` once.
static TWO_BYTES: LazyLock<Box<[u64]>> = LazyLock::new(|| {
    let mut words = vec![0u64; 0x1_0000 / 64].into_boxed_slice();
    let mut utf8 = [0u8; 4];
    let mut out = [0u8; 8];
    for character in '\u{80}'..='\u{FFFF}' {
        // GB18030 can write every character, so nothing is unmappable and eight bytes of room are enough.
        let (_, _, written) = GB18030.new_encoder().encode_from_utf8_without_replacement(
            character.encode_utf8(&mut utf8),
            &mut out,
            true,
        );
        let code = character as usize;
        if let (2, Some(word)) = (written, words.get_mut(code / 64)) {
            *word |= 1 << (code % 64);
        }
    }
    words
});

/// Builds the width table now, so that no record pays for it.
pub(crate) fn prepare_gb18030() {
    LazyLock::force(&TWO_BYTES);
}

/// Whether `text` holds a control character (Unicode's `Cc`: C0, DEL, C1) that may not stand in it; with `lines`, tabs and line ends may. NUL
/// has a rule of its own.
pub(crate) fn holds_control(text: &str, lines: bool) -> bool {
    text.chars().any(|c| c.is_control() && c != '\0' && !(lines && matches!(c, '\t' | '\n' | '\r')))
}

/// Whether a control character may stand in a payload without an escape. JSON demands one for C0, so that this leaves DEL and, behind their
/// lead byte, C1.
pub(crate) fn raw_controls(payload: &[u8]) -> bool {
    // No branch inside, so that it is done in vectors. The lead byte has harmless characters too (`·` in a name).
    let sign = |found: u8, &byte: &u8| found | u8::from(byte == 0x7F) | u8::from(byte == 0xC2);
    payload.iter().fold(0, sign) != 0
        && (payload.contains(&0x7F) || payload.windows(2).any(|pair| matches!(pair, [0xC2, 0x80..=0x9F])))
}

/// A closed list of texts: an enumeration or the codes of a table.
///
/// Codes are short. A text of up to seven bytes becomes one number (its bytes and its length), and finding it is one multiplication
/// and one comparison in an open table; longer ones are found by bisection.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextSet {
    /// Packed short texts; 0 is an empty place (no text packs to it: the length is stored plus one).
    short: Box<[u64]>,
    long: Box<[Box<str>]>,
}

impl TextSet {
    pub(crate) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> TextSet {
        let (mut packed, mut long) = (Vec::new(), Vec::new());
        for text in texts {
            match pack(text.as_bytes()) {
                Some(word) => packed.push(word),
                None => long.push(Box::from(text)),
            }
        }
        long.sort_unstable();
        let mut short = vec![0u64; (packed.len() * 2).next_power_of_two()].into_boxed_slice();
        for word in packed {
            let mut place = spread(word, short.len());
            while let Some(taken) = short.get(place).filter(|&&taken| taken != 0) {
                if *taken == word {
                    break;
                }
                place = (place + 1) % short.len();
            }
            if let Some(slot) = short.get_mut(place) {
                *slot = word;
            }
        }
        TextSet { short, long: long.into_boxed_slice() }
    }

    #[inline]
    pub(crate) fn contains(&self, text: &[u8]) -> bool {
        let Some(word) = pack(text) else {
            return self.long.binary_search_by(|probe| probe.as_bytes().cmp(text)).is_ok();
        };
        let mut place = spread(word, self.short.len());
        // At most half of the table is taken, so an empty place ends the search.
        while let Some(&taken) = self.short.get(place) {
            if taken == word {
                return true;
            }
            if taken == 0 {
                return false;
            }
            place = (place + 1) & (self.short.len() - 1);
        }
        false
    }
}

#[inline]
fn pack(bytes: &[u8]) -> Option<u64> {
    if bytes.len() > 7 {
        return None;
    }
    let body = bytes.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
    Some(body << 8 | (bytes.len() as u64 + 1))
}

/// A place in a table of `places` (a power of two) for a packed word.
#[inline]
pub(crate) fn spread(word: u64, places: usize) -> usize {
    let mixed = word.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as usize & (places.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_code_points() {
        for (text, count) in [("", 0), ("abc", 3), ("企业", 2), ("𠮷a", 2), ("e\u{301}", 2)] {
            assert_eq!(characters(text), count);
            for limit in 0..6 {
                assert_eq!(at_most(text, limit), count <= limit, "{text} {limit}");
                assert_eq!(at_least(text, limit), count >= limit, "{text} {limit}");
            }
        }
    }

    #[test]
    fn gb18030_lengths_are_those_of_the_encoder() {
        // 䶮 is outside GBK, · is inside, € has a GB18030 form of two bytes, 𠮷 is outside the basic plane.
        for (text, bytes) in
            [("a", 1), ("企", 2), ("䶮", 2), ("·", 2), ("€", 2), ("𠮷", 4), ("é", 2), ("ñ", 4), ("\u{e5e5}", 4)]
        {
            let theirs = if text == "\u{e5e5}" { 4 } else { GB18030.encode(text).0.len() };
            assert_eq!(gb18030_bytes(text), theirs, "{text}");
            assert_eq!(theirs, bytes, "{text}");
        }
        let mixed = "南通市崇川区·𠮷野家 No.1 ñ";
        assert_eq!(gb18030_bytes(mixed), GB18030.encode(mixed).0.len());
        for limit in 0..80 {
            assert_eq!(fits_gb18030(mixed, limit), gb18030_bytes(mixed) <= limit);
        }
    }

    #[test]
    fn a_set_holds_its_members_and_nothing_near_them() {
        let members: Vec<String> =
            (0..3000).map(|n| format!("{n}")).chain((0..50).map(|n| format!("long-member-{n}"))).collect();
        let set = TextSet::new(members.iter().map(String::as_str));
        for member in &members {
            assert!(set.contains(member.as_bytes()));
        }
        for stranger in ["", "0000", "3000", "-1", "long-member-", "long-member-50", "\0", "1\0"] {
            assert!(!set.contains(stranger.as_bytes()), "{stranger:?}");
        }
        assert!(TextSet::new(["", "a"]).contains(b""));
        assert!(!TextSet::new([]).contains(b""));
    }
}
