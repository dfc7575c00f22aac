//! The four check schemes, each over bytes, without allocation.
//!
//! What each finds, and the tests assert:
//!
//! - MOD 31 with powers of three (GB 32100) and MOD 11-2 (GB 11643): every wrong character, every swap of neighbours.
//! - MOD 11 with distinct weights (GB 11714): every wrong character and every swap in the body, unless the two values differ by a multiple of
//!   11. Letters have values up to 35, so `0` and `B`, or `A` and `L`, cannot be told apart; digits always can.
//! - ISO 7064 MOD 11,10 and MOD 37,36: every wrong character; of swaps of neighbours, all but those of the two highest and lowest
//!   values in one state each.

/// No value: the character is not in the alphabet. Its high bit survives an OR over a whole code.
pub(super) const NONE: u8 = 0x80;

/// Alphabet of GB 32100, Appendix A: no I, O, S, V, Z.
pub(super) const ALPHABET_31: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// Alphabet of GB 11714 and of ISO 7064 MOD 37,36.
pub(super) const ALPHABET_36: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Values 0 to 30 of GB 32100 by byte.
pub(super) static VALUE_31: [u8; 256] = values(ALPHABET_31);
/// Values 0 to 35 of GB 11714 by byte.
pub(super) static VALUE_36: [u8; 256] = values(ALPHABET_36);

#[allow(
    clippy::cast_possible_truncation,
    reason = "const context has no try_from, and an alphabet has at most 36 letters"
)]
const fn values(alphabet: &[u8]) -> [u8; 256] {
    let mut table = [NONE; 256];
    let mut i = 0;
    while i < alphabet.len() {
        table[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    table
}

/// Weights of GB 32100: 3^(i-1) mod 31.
const WEIGHTS_31: [u32; 17] = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];

/// Check character of the first 17 characters of a credit code, or `None` if one is outside the alphabet.
#[inline]
pub(super) fn mod_31(body: &[u8; 17]) -> Option<u8> {
    let mut seen = 0;
    let mut sum = 0;
    for (&b, weight) in body.iter().zip(WEIGHTS_31) {
        let value = VALUE_31[usize::from(b)];
        seen |= value;
        sum += u32::from(value) * weight;
    }
    // Remainder 0 means 31, which is written 0: a code whose check character is 0 is a classic victim.
    (seen & NONE == 0).then(|| ALPHABET_31[((31 - sum % 31) % 31) as usize])
}

const WEIGHTS_11714: [u32; 8] = [3, 7, 9, 10, 5, 8, 4, 2];

/// Check character of the eight characters of an organisation code's body, by the 36-letter table.
#[inline]
pub(super) fn gb_11714(body: &[u8; 8]) -> Option<u8> {
    let mut seen = 0;
    let mut sum = 0;
    for (&b, weight) in body.iter().zip(WEIGHTS_11714) {
        let value = VALUE_36[usize::from(b)];
        seen |= value;
        sum += u32::from(value) * weight;
    }
    (seen & NONE == 0).then(|| b"0X987654321"[(sum % 11) as usize])
}

const WEIGHTS_11643: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];

/// Check character of the first 17 digits of an identity number (ISO 7064 MOD 11-2).
#[inline]
pub(super) fn mod_11_2(body: &[u8; 17]) -> Option<u8> {
    let mut sum = 0;
    for (&b, weight) in body.iter().zip(WEIGHTS_11643) {
        sum += digit(b)? * weight;
    }
    Some(b"10X98765432"[(sum % 11) as usize])
}

/// Check digit of the first 14 digits of a registration number (ISO 7064 MOD 11,10).
#[inline]
pub(super) fn mod_11_10(body: &[u8; 14]) -> Option<u8> {
    let mut p = 10;
    for &b in body {
        p = (p + digit(b)?) % 10;
        p = (if p == 0 { 10 } else { p }) * 2 % 11;
    }
    Some(b"0123456789"[((11 - p) % 10) as usize])
}

/// ISO 7064 MOD 37,36 over characters fed one by one; `letter_shift` is 0 by the standard and 1 in the dialect where A counts 11.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mod37 {
    p: u32,
    letter_shift: u32,
}

impl Mod37 {
    pub(super) fn new(letter_shift: u32) -> Self {
        Mod37 { p: 36, letter_shift }
    }

    /// Adds one character; `None` if it is outside the alphabet.
    #[inline]
    pub(super) fn feed(&mut self, b: u8) -> Option<()> {
        let value = VALUE_36[usize::from(b)];
        if value == NONE {
            return None;
        }
        let value = u32::from(value) + if value >= 10 { self.letter_shift } else { 0 };
        let p = (self.p + value) % 36;
        self.p = (if p == 0 { 36 } else { p }) * 2 % 37;
        Some(())
    }

    pub(super) fn check(self) -> u8 {
        ALPHABET_36[((37 - self.p) % 36) as usize]
    }
}

/// The value of one decimal digit.
#[inline]
pub(super) fn digit(b: u8) -> Option<u32> {
    let value = b.wrapping_sub(b'0');
    (value < 10).then_some(u32::from(value))
}

/// The number that at most nine decimal digits spell.
#[inline]
pub(super) fn number(digits: &[u8]) -> Option<u32> {
    debug_assert!(digits.len() <= 9);
    digits.iter().try_fold(0, |n, &b| Some(n * 10 + digit(b)?))
}
