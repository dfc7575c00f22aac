//! Compare-only: whether a payload has a value at a place. Reads the payload once and builds no tree.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// Whether the single value at the pointer is this one: strings by their text, booleans and numbers by their value. Nothing there, a null, an object or an
/// array is no.
///
/// # Errors
/// The payload is no JSON.
pub(super) fn says(payload: &[u8], pointer: &str, value: &str) -> Result<bool, serde_json::Error> {
    let steps: Vec<_> = pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let mut json = serde_json::Deserializer::from_slice(payload);
    let verdict = At { steps: &steps, value }.deserialize(&mut json)?;
    json.end()?;
    Ok(verdict)
}

/// A place below the value at hand.
#[derive(Clone, Copy)]
struct At<'a> {
    steps: &'a [String],
    value: &'a str,
}

impl At<'_> {
    /// A standard takes a number only where an `i64` or a double says it exactly, so these compare it.
    fn is_number(self, held: &Number) -> bool {
        let same = |asked: Number| match (held.as_i64(), asked.as_i64()) {
            (Some(held), Some(asked)) => held == asked,
            _ => held.as_f64() == asked.as_f64(),
        };
        self.steps.is_empty() && serde_json::from_str(self.value).is_ok_and(same)
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut verdict = false;
        while let Some(name) = map.next_key::<String>()? {
            match self.steps.split_first() {
                Some((step, steps)) if *step == name => verdict = map.next_value_seed(At { steps, ..self })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(verdict)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let (wanted, steps) = match self.steps.split_first() {
            Some((step, steps)) => (step.parse().ok(), steps),
            None => (None, self.steps),
        };
        let mut verdict = false;
        for number in 0_usize.. {
            if wanted == Some(number) {
                let Some(found) = elements.next_element_seed(At { steps, ..self })? else { break };
                verdict = found;
            } else if elements.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(verdict)
    }

    fn visit_str<E: Error>(self, held: &str) -> Result<bool, E> {
        Ok(self.steps.is_empty() && held == self.value)
    }

    fn visit_bool<E: Error>(self, held: bool) -> Result<bool, E> {
        Ok(self.steps.is_empty() && self.value == if held { "true" } else { "false" })
    }

    fn visit_i64<E: Error>(self, held: i64) -> Result<bool, E> {
        Ok(self.is_number(&held.into()))
    }

    fn visit_u64<E: Error>(self, held: u64) -> Result<bool, E> {
        Ok(self.is_number(&held.into()))
    }

    fn visit_f64<E: Error>(self, held: f64) -> Result<bool, E> {
        Ok(Number::from_f64(held).is_some_and(|held| self.is_number(&held)))
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_compared_where_the_pointer_leads_and_nowhere_else() {
        let payload = r#"{"name":"甲\u0041","n":1.10,"whole":20,"yes":true,"none":null,"a/b":{"c":["x","y",{"d":7}]},"id":9007199254740993}"#;
        for (pointer, value, expected) in [
            ("/name", "甲A", true),
            ("/name", "甲", false),
            ("/name", "\"甲A\"", false),
            ("/n", "1.1", true),
            ("/n", "1.2", false),
            ("/n", "one", false),
            ("/whole", "20", true),
            ("/whole", "20.0", true),
            ("/whole", "2", false),
            ("/id", "9007199254740993", true),
            ("/id", "9007199254740992", false),
            ("/yes", "true", true),
            ("/yes", "false", false),
            ("/none", "null", false),
            ("/none", "", false),
            ("/absent", "", false),
            ("/a~1b/c/1", "y", true),
            ("/a~1b/c/0", "y", false),
            ("/a~1b/c/2/d", "7", true),
            ("/a~1b/c/9", "y", false),
            ("/a~1b/c", "y", false),
            ("/a~1b", "", false),
            ("/name/0", "甲A", false),
            ("", "", false),
        ] {
            assert_eq!(says(payload.as_bytes(), pointer, value).unwrap(), expected, "{pointer} {value}");
        }
        assert!(says(b"{\"a\":1", "/a", "1").is_err());
    }
}
