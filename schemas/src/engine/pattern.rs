//! Patterns: ECMA-262 regular expressions, as far as they mean the same in the `regex` crate.
//!
//! JSON Schema asks for ECMA-262; the `regex` crate promises linear time, which no ECMA engine does. This module accepts the common
//! part, rewrites what is spelled alike but means something else (`\d` is ASCII in ECMA and Unicode in Rust, `.` excludes four line
//! ends instead of one), and refuses the rest by name: look-around, back references, named groups, flags, `\b`, `\s`, nested classes.
//! A pattern is found anywhere in the text unless it is anchored, and its compiled size is bounded.

use regex::{Regex, RegexBuilder};

/// Longest pattern text, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;
/// Largest compiled program, in bytes: `[\p{Han}·]{1,200}` fits, `(a{1000}){1000}` does not.
const MAX_PROGRAM_BYTES: usize = 1 << 20;

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Longer than the bound.
    #[error("the pattern is longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
    /// Its program would be larger than the bound.
    #[error("the pattern compiles to more than {MAX_PROGRAM_BYTES} bytes")]
    TooLarge,
    /// A construct outside the profile.
    #[error("`{0}` is outside the profile's regular expressions")]
    Construct(String),
    /// Not a regular expression.
    #[error("the pattern is not a regular expression")]
    Syntax,
}

/// Compiles an ECMA pattern of the profile.
pub(crate) fn compile(source: &str) -> Result<Regex, PatternError> {
    if source.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLong);
    }
    let translated = translate(source)?;
    RegexBuilder::new(&translated)
        .size_limit(MAX_PROGRAM_BYTES)
        .dfa_size_limit(MAX_PROGRAM_BYTES)
        .nest_limit(32)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            _ => PatternError::Syntax,
        })
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
                    if out.ends_with("{}") || out.contains("{,") {
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

    fn finds(pattern: &str, text: &str) -> bool {
        compile(pattern).unwrap().is_match(text)
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

    #[test]
    fn size_is_bounded_and_blow_ups_stay_linear() {
        assert_eq!(compile("(?:a{1000}){1000}").unwrap_err(), PatternError::TooLarge);
        assert_eq!(compile(&"a".repeat(1025)).unwrap_err(), PatternError::TooLong);
        // 2^30 steps in a backtracking engine.
        assert!(!finds("^(?:a+)+$", &format!("{}b", "a".repeat(100_000))));
        compile(r"^[\p{Han}·]{1,200}$").unwrap();
    }
}
