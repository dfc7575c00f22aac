//! Full-width forms that stand for ASCII.

use std::borrow::Cow;

/// Folds full-width ASCII (U+FF01-U+FF5E) and the ideographic space to ASCII, and trims. Everything else stays as it is: this is for
/// codes, dates and numbers, never for names.
pub fn fold_width(text: &str) -> Cow<'_, str> {
    let is_wide = |character: char| matches!(character, '\u{FF01}'..='\u{FF5E}' | '\u{3000}');
    if !text.contains(is_wide) {
        return Cow::Borrowed(text.trim());
    }
    let folded: String = text
        .chars()
        .map(|character| match character {
            '\u{3000}' => ' ',
            '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(character) - 0xFEE0).unwrap_or(character),
            other => other,
        })
        .collect();
    Cow::Owned(folded.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ascii_forms_are_folded() {
        assert_eq!(fold_width("９１３４Ｊ（万元）　"), "9134J(万元)");
        assert_eq!(fold_width(" 长期 "), "长期");
    }
}
