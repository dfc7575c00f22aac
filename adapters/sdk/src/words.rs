//! Words for people.

/// `what`, as so many of it are called: 1 row, 2 rows. For words whose plural is an `s` more.
pub fn plural(number: u64, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{what}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_is_singular() {
        assert_eq!([0, 1, 2].map(|number| plural(number, "row")), ["rows", "row", "rows"]);
    }
}
