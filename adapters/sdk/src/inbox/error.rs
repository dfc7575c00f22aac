//! Which database errors pass by themselves.

use crate::{AdapterError, ErrorClass, error::without_values};

/// An error of the inbox's database, with what can be done about it.
pub(super) fn classify(doing: &str, cause: sqlx::Error) -> AdapterError {
    let words = match cause {
        // The pool tries again and again, and forgets why.
        sqlx::Error::PoolTimedOut => ": nobody answers; is it up, and reachable from here?",
        _ => "",
    };
    AdapterError::new(class(&cause), format!("the inbox database: {doing}{words}"))
        .because(without_values(cause, speaks))
}

/// Whose words are about tables, access and the server. Those of PostgreSQL's data exceptions quote the value.
fn speaks(code: &str) -> bool {
    let is_sqlstate = code.len() == 5;
    !is_sqlstate || matches!(code.get(..2), Some("08" | "28" | "3D" | "3F" | "40" | "42" | "53" | "55" | "57" | "58"))
}

fn class(error: &sqlx::Error) -> ErrorClass {
    match error {
        sqlx::Error::Configuration(_) => ErrorClass::Configuration,
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some(code) if code.len() == 5 => sqlstate(code),
            // SQLite: busy, locked, I/O, full. What else it says is about tables and files.
            Some("5" | "6" | "10" | "13" | "261" | "517") => ErrorClass::Transient,
            Some("1" | "8" | "14" | "23" | "26") => ErrorClass::Configuration,
            _ => ErrorClass::Transient,
        },
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
            ErrorClass::Protocol
        }
        _ => ErrorClass::Transient,
    }
}

/// PostgreSQL's appendix A: the first two characters are the class.
fn sqlstate(code: &str) -> ErrorClass {
    match code.get(..2) {
        // Invalid authorization, no such catalogue or schema, syntax or access rule (a table or column missing, no permission).
        Some("28" | "3D" | "3F" | "42") => ErrorClass::Configuration,
        // Data and constraints: the table is not the inbox that we write.
        Some("22" | "23") => ErrorClass::Protocol,
        // Connections (08), rollbacks (40), resources (53), locks (55), operator intervention (57), and what is not known.
        _ => ErrorClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgres_says_of_a_value_is_not_told() {
        // invalid input syntax for type json: "…"; duplicate key: only its detail quotes, which is never read, but not to be relied on.
        assert!(!speaks("22P02") && !speaks("23505") && !speaks("XX000"));
        assert!(speaks("42P01") && speaks("28P01") && speaks("517"));
    }

    #[test]
    fn a_restarting_database_is_waited_for_and_a_missing_table_is_not() {
        for (code, expected) in [
            ("57P01", ErrorClass::Transient),
            ("57P03", ErrorClass::Transient),
            ("08006", ErrorClass::Transient),
            ("40001", ErrorClass::Transient),
            ("53100", ErrorClass::Transient),
            ("42P01", ErrorClass::Configuration),
            ("42501", ErrorClass::Configuration),
            ("28P01", ErrorClass::Configuration),
            ("3D000", ErrorClass::Configuration),
            ("22P05", ErrorClass::Protocol),
        ] {
            assert_eq!(sqlstate(code), expected, "{code}");
        }
        assert_eq!(class(&sqlx::Error::PoolTimedOut), ErrorClass::Transient);
    }
}
