//! The profile: which keywords of JSON Schema 2020-12 a record type may use, and where.
//!
//! PROFILE.md tells it to people; a test there-and-here keeps the two alike. Everything is bounded, so that a record type that a
//! department registers at run time can cost neither unbounded time nor unbounded memory.

/// Largest schema or code table document, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 1 << 20;
/// How deep a record may nest, the root being 1; as many definitions may be open one in the other.
pub const MAX_DEPTH: usize = 16;
/// Most places in a record type, counting every use of a definition and every definition without use: bounds what `$ref` can
/// multiply.
pub const MAX_PLACES: usize = 2048;
/// Most definitions in one document.
pub const MAX_DEFINITIONS: usize = 256;
/// Longest title, in bytes; it is kept for every place that has it.
pub const MAX_TITLE_BYTES: usize = 256;
/// Longest description, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 4096;
/// Most members of one object; the validator keeps who was seen in one machine word pair.
pub const MAX_PROPERTIES: usize = 128;
/// Largest `maxItems`.
pub const MAX_ITEMS: usize = 10_000;
/// Largest `maxLength` and `x-max-bytes-gb18030`.
pub const MAX_LENGTH: usize = 1 << 20;
/// Most members of an `enum`.
pub const MAX_ENUM: usize = 1000;
/// Most indexed fields.
pub const MAX_INDEXED: usize = 8;
/// Most parts of a key.
pub const MAX_KEY_PARTS: usize = 4;
/// Most cross-field rules, and most fields that one of them names.
pub const MAX_RULES: usize = 64;
/// Most values that the rules over one array may put aside: `maxItems` times the fields of an element that they name.
pub const MAX_KEPT: usize = 100_000;
/// Largest table that one pattern compiles to, in bytes.
pub const MAX_PATTERN_TABLE_BYTES: usize = 2 << 20;
/// Largest tables that all patterns of a record type compile to together, in bytes.
pub const MAX_PATTERN_TABLES_BYTES: usize = 8 << 20;
/// Largest payload that a record type accepts unless told otherwise, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// What kind of schema a keyword may stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The root of the document.
    Root,
    /// Anywhere, `$ref` included.
    Anywhere,
    /// A schema that is a `$ref`.
    Reference,
    /// Any schema with a `type`.
    Typed,
    /// `type` object.
    Object,
    /// `type` array.
    Array,
    /// `type` string.
    Text,
    /// `type` integer or number.
    Numeric,
    /// Any scalar type.
    Scalar,
}

/// Every keyword with its place.
pub(crate) const KEYWORDS: &[(&str, Place)] = &[
    ("$schema", Place::Root),
    ("$id", Place::Root),
    ("$defs", Place::Root),
    ("$ref", Place::Reference),
    ("title", Place::Anywhere),
    ("description", Place::Anywhere),
    ("examples", Place::Anywhere),
    ("type", Place::Typed),
    ("properties", Place::Object),
    ("required", Place::Object),
    ("additionalProperties", Place::Object),
    ("items", Place::Array),
    ("minItems", Place::Array),
    ("maxItems", Place::Array),
    ("minLength", Place::Text),
    ("maxLength", Place::Text),
    ("pattern", Place::Text),
    ("format", Place::Text),
    ("enum", Place::Scalar),
    ("const", Place::Scalar),
    ("minimum", Place::Numeric),
    ("maximum", Place::Numeric),
    ("x-title-zh", Place::Anywhere),
    ("x-description-zh", Place::Anywhere),
    ("x-sensitivity", Place::Anywhere),
    ("x-key", Place::Root),
    ("x-subject", Place::Root),
    ("x-indexed", Place::Root),
    ("x-rules", Place::Root),
    ("x-identifier", Place::Text),
    ("x-code-table", Place::Text),
    ("x-max-bytes-gb18030", Place::Text),
    ("x-decimal", Place::Text),
    ("x-long-term", Place::Text),
    ("x-lines", Place::Text),
];

/// Where `keyword` may stand, if the profile has it.
pub(crate) fn place(keyword: &str) -> Option<Place> {
    KEYWORDS.iter().find(|(name, _)| *name == keyword).map(|(_, place)| *place)
}

/// A member's name: a letter or underscore, then letters, digits, `_`, `-`; at most 64. Such a name needs no escape, in JSON, in a
/// JSON Pointer or in a column of any database.
pub(crate) fn is_member_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 64
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// A lower-case name with hyphens, as record types, tables and rules have.
pub(crate) fn is_kebab_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// `enterprise/v1` from `urn:shuqiao:record-type:enterprise:v1`; a department's own has the department's alias and a dot before its
/// name.
pub(crate) fn record_type_name(id: &str) -> Option<String> {
    let (name, version) = id.strip_prefix("urn:shuqiao:record-type:")?.split_once(':')?;
    let number = version.strip_prefix('v')?;
    let counts = !number.is_empty()
        && number.len() <= 6
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !number.starts_with('0');
    let named = match name.split_once('.') {
        Some((alias, own)) => is_kebab_name(alias) && is_kebab_name(own),
        None => is_kebab_name(name),
    };
    (named && counts).then(|| format!("{name}/{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_document_names_every_keyword() {
        let document = include_str!("../../PROFILE.md");
        for (keyword, _) in KEYWORDS {
            assert!(document.contains(&format!("`{keyword}`")), "PROFILE.md does not name `{keyword}`");
        }
    }

    #[test]
    fn names_follow_their_grammar() {
        assert_eq!(record_type_name("urn:shuqiao:record-type:work-order:v12").as_deref(), Some("work-order/v12"));
        assert_eq!(record_type_name("urn:shuqiao:record-type:a-b.c:v2").as_deref(), Some("a-b.c/v2"));
        for id in [
            "urn:shuqiao:record-type:a.b.c:v1",
            "urn:shuqiao:record-type:.c:v1",
            "urn:shuqiao:record-type:a.:v1",
            "urn:shuqiao:record-type:x",
            "urn:shuqiao:record-type:x:1",
            "urn:shuqiao:record-type:X:v1",
            "urn:shuqiao:record-type:x:v01",
            "x:v1",
            "",
        ] {
            assert_eq!(record_type_name(id), None, "{id}");
        }
        assert!(
            is_member_name("XK_WSH")
                && is_member_name("_a-1")
                && !is_member_name("1a")
                && !is_member_name("")
                && !is_member_name("a/b")
                && !is_member_name("名")
        );
    }
}
