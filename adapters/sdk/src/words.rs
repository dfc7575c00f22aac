//! Words for people.

/// `what`, as so many of it are called: 1 row, 2 rows; 1 delivery, 2 deliveries. For words whose plural is an `s` more, or `ies` for a `y` that follows no
/// vowel.
pub fn plural(number: u64, what: &str) -> String {
    match what.strip_suffix('y') {
        _ if number == 1 => what.to_owned(),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_is_singular() {
        assert_eq!([0, 1, 2].map(|number| plural(number, "row")), ["rows", "row", "rows"]);
        assert_eq!([1, 2].map(|number| plural(number, "delivery")), ["delivery", "deliveries"]);
        assert_eq!([1, 2].map(|number| plural(number, "day")), ["day", "days"]);
    }
}
