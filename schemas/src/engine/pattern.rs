//! Patterns: ECMA-262 regular expressions, as far as they mean the same in the `regex` crate.
//!
//! JSON Schema asks for ECMA-262, whose engines backtrack. This module accepts what ECMA shares with the `regex` crate, rewrites what
//! is spelled alike but means something else (`\d` is ASCII in ECMA and Unicode in Rust, `.` excludes four line ends instead of one),
//! and refuses the rest by name: look-around, back references, named groups, flags, `\b`, `\s`, nested classes. A pattern is found
//! anywhere in the text unless it is anchored.
//!
//! It becomes a deterministic automaton once, by the library under the `regex` crate, so that a record costs one look-up a byte,
//! whatever the pattern is, and no cache that grows. A pattern whose automaton would be too large is refused: `regex` itself would take
//! it and simulate it, at thousands of steps a byte.

use super::profile::MAX_PATTERN_TABLE_BYTES;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};
use std::fmt;

/// Longest pattern text, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;
/// How deep groups may nest.
const NEST_LIMIT: u32 = 32;
/// Largest thing that may stand between a pattern and its table while it compiles, in bytes.
const MAX_WORKING_BYTES: usize = 4 * MAX_PATTERN_TABLE_BYTES;

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PatternError {
    /// Longer than the bound.
    #[error("the pattern is longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
    /// Its table would be larger than the bound.
    #[error("the pattern compiles to more than {MAX_PATTERN_TABLE_BYTES} bytes: leave counting to `maxLength`")]
    TooLarge,
    /// A construct outside the profile.
    #[error("`{0}` is outside the profile's regular expressions")]
    Construct(String),
    /// Not a regular expression.
    #[error("the pattern is not a regular expression")]
    Syntax,
}

/// A compiled pattern.
pub(crate) struct Pattern {
    source: Box<str>,
    table: dense::DFA<Vec<u32>>,
    start: StateID,
}

impl Pattern {
    /// Compiles an ECMA pattern of the profile.
    pub(crate) fn compile(source: &str) -> Result<Pattern, PatternError> {
        if source.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong);
        }
        let syntax = syntax::Config::new().nest_limit(NEST_LIMIT);
        let parsed = syntax::parse_with(&translate(source)?, &syntax).map_err(|_| PatternError::Syntax)?;
        let steps = thompson::Compiler::new()
            .configure(
                thompson::Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(MAX_WORKING_BYTES)),
            )
            .build_from_hir(&parsed)
            .map_err(|_| PatternError::TooLarge)?;
        // An anchored pattern needs no start at every byte, and its automaton is dead at the first byte that does not fit.
        let (kind, anchor) = if steps.is_always_start_anchored() {
            (StartKind::Anchored, Anchored::Yes)
        } else {
            (StartKind::Unanchored, Anchored::No)
        };
        let table = dense::Builder::new()
            .configure(
                dense::Config::new()
                    // Whether there is a match is all that is asked, so the first end of one settles it.
                    .match_kind(MatchKind::All)
                    .start_kind(kind)
                    .dfa_size_limit(Some(MAX_PATTERN_TABLE_BYTES))
                    .determinize_size_limit(Some(MAX_WORKING_BYTES)),
            )
            .build_from_nfa(&steps)
            .map_err(|_| PatternError::TooLarge)?;
        let start = table.start_state(&start::Config::new().anchored(anchor)).map_err(|_| PatternError::Syntax)?;
        Ok(Pattern { source: source.into(), table, start })
    }

    /// The pattern as the schema has it.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.table.memory_usage()
    }

    /// Whether the pattern is found in `text`.
    #[inline]
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        let mut state = self.start;
        for &byte in text {
            state = self.table.next_state(state, byte);
            if self.table.is_special_state(state) {
                if self.table.is_match_state(state) {
                    return true;
                }
                if self.table.is_dead_state(state) {
                    return false;
                }
            }
        }
        self.table.is_match_state(self.table.next_eoi_state(state))
    }
}

impl fmt::Debug for Pattern {
    /// Without the table, which has thousands of lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.source).finish()
    }
}

/// Rewrites ECMA spelling into the `regex` crate's.
fn translate(source: &str) -> Result<String, PatternError> {
    let mut out = String::with_capacity(source.len() + 16);
    let mut chars = source.chars().peekable();
    let mut in_class = false;
    // Whether the item before was a quantifier: `a**` is an error in ECMA and a repetition of a repetition in Rust.
    let mut quantified = false;
    let refuse = |text: &str| Err(PatternError::Construct(text.to_owned()));
    while let Some(c) = chars.next() {
        let was_quantified = std::mem::replace(&mut quantified, false);
        match c {
            '\\' => escape(chars.next(), &mut chars, in_class, &mut out)?,
            '[' if in_class => return refuse("[ inside a class"),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if chars.peek() == Some(&']') {
                    return refuse("[]");
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            // Set operations of the `regex` crate.
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && chars.peek() == Some(&'-') => return refuse("-- inside a class"),
            _ if in_class => out.push(c),
            '(' => {
                out.push('(');
                if chars.next_if_eq(&'?').is_some() {
                    if chars.next_if_eq(&':').is_none() {
                        return refuse(&format!("(?{}", chars.peek().copied().unwrap_or(' ')));
                    }
                    out.push_str("?:");
                }
            }
            '.' => out.push_str("[^\\n\\r\\x{2028}\\x{2029}]"),
            '*' | '+' | '?' | '{' => {
                if was_quantified && c != '?' {
                    return refuse("a quantifier of a quantifier");
                }
                quantified = !was_quantified;
                let opened = out.len();
                out.push(c);
                if c == '{' {
                    for c in chars.by_ref() {
                        out.push(c);
                        match c {
                            '0'..='9' | ',' => {}
                            '}' => break,
                            _ => return refuse("{ that is no count"),
                        }
                    }
                    if out.get(opened..).is_none_or(|count| count == "{}" || count.starts_with("{,")) {
                        return refuse("{ that is no count");
                    }
                }
            }
            ']' | '}' => return refuse("a lone closing bracket"),
            _ => out.push(c),
        }
    }
    Ok(out)
}

fn escape(
    kind: Option<char>,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    in_class: bool,
    out: &mut String,
) -> Result<(), PatternError> {
    let refuse = |text: String| Err(PatternError::Construct(text));
    match kind {
        Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
        Some('w') => out.push_str(if in_class { "A-Za-z0-9_" } else { "[A-Za-z0-9_]" }),
        Some('D') if !in_class => out.push_str("[^0-9]"),
        Some('W') if !in_class => out.push_str("[^A-Za-z0-9_]"),
        Some(letter @ ('n' | 'r' | 't' | 'f' | 'v')) => {
            out.push('\\');
            out.push(letter);
        }
        Some(letter @ ('p' | 'P')) => {
            if chars.next_if_eq(&'{').is_none() {
                return refuse(format!("\\{letter}"));
            }
            let name: String = chars.by_ref().take_while(|&c| c != '}').collect();
            // Properties that both engines know by the same name: general categories and scripts without a prefix are the former.
            let name = name.strip_prefix("Script=").or(name.strip_prefix("sc=")).unwrap_or(&name);
            if !matches!(name, "L" | "Lu" | "Ll" | "N" | "Nd" | "P" | "Han" | "Latin") {
                return refuse(format!("\\{letter}{{{name}}}"));
            }
            out.push_str(&format!("\\{letter}{{{name}}}"));
        }
        Some(letter @ ('u' | 'x')) => {
            let braced = letter == 'u' && chars.next_if_eq(&'{').is_some();
            let digits: String = if braced {
                chars.by_ref().take_while(|&c| c != '}').collect()
            } else {
                chars.by_ref().take(if letter == 'u' { 4 } else { 2 }).collect()
            };
            match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                Some(c) => out.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
                None => return refuse(format!("\\{letter}{digits}")),
            }
        }
        Some(c) if c.is_ascii_punctuation() && c != '_' => {
            out.push('\\');
            out.push(c);
        }
        Some(c) => return refuse(format!("\\{c}")),
        None => return Err(PatternError::Syntax),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    fn compile(pattern: &str) -> Result<Pattern, PatternError> {
        Pattern::compile(pattern)
    }

    fn finds(pattern: &str, text: &str) -> bool {
        compile(pattern).unwrap().is_match(text.as_bytes())
    }

    #[test]
    fn a_brace_in_a_class_is_no_count() {
        assert!(finds("^[{,]a{2}$", "{aa") && finds("^[{,]a{2}$", ",aa"));
        assert!(compile("a{,2}").is_err() && compile("a{}").is_err());
    }

    #[test]
    fn a_pattern_is_found_anywhere_unless_anchored() {
        assert!(finds("b", "abc") && !finds("^b", "abc") && !finds("b$", "abc\n") && !finds("c$", "abc\n"));
    }

    #[test]
    fn what_is_spelled_alike_means_what_ecma_says() {
        assert!(!finds(r"^\d$", "٣") && finds(r"^[\d-]+$", "3-4") && !finds(r"^\w$", "企") && finds(r"^\D$", "企"));
        assert!(!finds("^.$", "\r") && !finds("^.$", "\u{2028}") && finds("^.$", "企"));
        assert!(
            finds(r"^[a&&b]+$", "&") && finds(r"^\u4f01\x41\u{20BB7}$", "企A𠮷") && finds(r"^\p{Script=Han}+$", "企业")
        );
        assert!(finds(r"^(?:a|b){2,3}?$", "ab") && finds(r"^a\/\.\-$", "a/.-"));
    }

    #[test]
    fn what_the_engines_do_not_share_is_refused_by_name() {
        for pattern in [
            "(?=a)",
            "(?!a)",
            "(?<=a)b",
            "(?<n>a)",
            "(?P<n>a)",
            "(?i)a",
            r"(a)\1",
            r"\bword\b",
            r"\s",
            r"[\D]",
            "[[:alpha:]]",
            "[a[b]]",
            "[a--b]",
            "[]a]",
            "a**",
            "a{2}{3}",
            "a{,3}",
            "a{x}",
            "a}",
            "]",
            r"\z",
            r"\A",
            r"\_",
            r"\p{Emoji}",
            r"\pL",
            r"\ud800",
            "a*+",
        ] {
            assert!(matches!(compile(pattern), Err(PatternError::Construct(_))), "{pattern}: {:?}", compile(pattern));
        }
        for pattern in ["(", "[a", "a)", "*", r"\", "b-"] {
            assert_eq!(compile(pattern).is_err(), pattern != "b-", "{pattern}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, rng_seed: RngSeed::Fixed(262), ..ProptestConfig::default() })]

        #[test]
        fn a_table_finds_what_the_regex_crate_finds(
            pattern in r"\^?((\(\?:)?[ab.企](\{1,3\}|[*+?])?(\|[ab]|\)|\[\^a企\]|\\d|\\p\{Han\})?){0,6}\$?",
            texts in prop::collection::vec("[ab企5\n]{0,8}", 1..20),
        ) {
            if let Ok(table) = compile(&pattern) {
                let theirs = regex::Regex::new(&translate(&pattern).unwrap()).unwrap();
                for text in &texts {
                    prop_assert_eq!(table.is_match(text.as_bytes()), theirs.is_match(text), "{} {:?}", pattern, text);
                }
            }
        }
    }

    #[test]
    fn size_is_bounded_and_blow_ups_stay_linear() {
        assert_eq!(compile("(?:a{1000}){1000}").unwrap_err(), PatternError::TooLarge);
        assert_eq!(compile(&"a".repeat(1025)).unwrap_err(), PatternError::TooLong);
        // 2^30 steps in a backtracking engine.
        assert!(!finds("^(?:a+)+$", &format!("{}b", "a".repeat(100_000))));
        // Small enough as a program, and simulated in linear time: at two thousand steps a byte. Its automaton has 2^1000 states.
        assert_eq!(compile("^[ab]*a[ab]{1000}$").unwrap_err(), PatternError::TooLarge);
        assert_eq!(compile(&format!("{}a{}", "(?:".repeat(40), ")".repeat(40))).unwrap_err(), PatternError::Syntax);
        for ordinary in
            [r"^[\p{Han}·]{1,200}$", r"^[\p{Han}A-Za-z0-9（）()·.&-]{2,100}$", r"\p{L}", r"^[^\p{P}]{1,20}$"]
        {
            let bytes = compile(ordinary).unwrap_or_else(|error| panic!("{ordinary}: {error}")).bytes();
            assert!(bytes > 100_000, "{ordinary}: a table of {bytes} bytes would be too good to be true");
        }
    }
}
