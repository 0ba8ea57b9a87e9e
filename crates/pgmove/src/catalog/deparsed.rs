//! Deparsed SQL: read with all names quoted, stored with quotes only where some version needs them.
//!
//! A server quotes only keywords of its own version. `system_user` is an ordinary name in 15 and a keyword from 16
//! on; `f(json json)` is a syntax error from 17 on. Text that an older server deparses without quotes may therefore
//! mean something else on a newer one, or fail. So the server is made to quote all names (`quote_all_identifiers`),
//! and [`crate::quote::ident`], which knows the keywords of all supported versions, decides which quotes remain. The
//! texts of one object are then equal on all versions.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

use crate::quote::ident;

/// An SQL expression that deparses something with all names quoted. The setting is switched on and off around it in
/// each row, because other parts of the query must return bare names.
pub(crate) fn quoted(expression: &str) -> String {
    format!(
        "CASE WHEN set_config('quote_all_identifiers', 'on', true) IS NOT NULL \
         THEN ({expression}) || left(set_config('quote_all_identifiers', 'off', true), 0) END"
    )
}

/// An SQL expression that formats a type by OID and modifier; all names are quoted unless it is a built-in type,
/// because the names of schemas and types may be keywords in another version.
pub(crate) fn type_name(oid: &str, modifier: &str) -> String {
    let formatted = format!("format_type({oid}, {modifier})");
    format!(
        "CASE WHEN (SELECT typnamespace FROM pg_type WHERE pg_type.oid = {oid}) = 'pg_catalog'::regnamespace \
         THEN {formatted} ELSE {} END",
        quoted(&formatted)
    )
}

/// Keeps only quotes that some supported version needs.
pub(crate) fn requoted(sql: &str) -> String {
    map_names(sql, &|name| ident(name))
}

/// Removes the quotes from all simple names, including keywords: for comparisons in which one side may come from a
/// catalog that was stored without quotes. `"char"` keeps its quotes, because `char` is another type.
pub(crate) fn bare(sql: &str) -> String {
    map_names(sql, &|name| {
        let plain = name.bytes().next().is_some_and(|c| c.is_ascii_lowercase() || c == b'_')
            && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
            && name != "char";
        if plain { Cow::Borrowed(name) } else { ident(name) }
    })
}

/// For `#[serde(deserialize_with)]`: a deparsed text.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(requoted(&String::deserialize(deserializer)?))
}

/// For `#[serde(deserialize_with)]`: a deparsed text that may be absent.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| requoted(&text)))
}

/// For `#[serde(deserialize_with)]`: several deparsed texts.
pub(crate) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Vec::<String>::deserialize(deserializer)?.iter().map(|text| requoted(text)).collect())
}

/// For `#[serde(deserialize_with)]`: pairs of a keyword and a deparsed text.
pub(crate) fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    let pairs = Vec::<(String, String)>::deserialize(deserializer)?;
    Ok(pairs.into_iter().map(|(word, text)| (word, requoted(&text))).collect())
}

/// Types whose literals contain names, which are quoted like other names.
const NAMING: &[&str] = &[
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// Replaces every quoted name by the result of `write`; everything else stays: strings, dollar-quoted bodies,
/// comments.
fn map_names(sql: &str, write: &dyn Fn(&str) -> Cow<'_, str>) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(['\'', '"', '$', '-', '/']) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let piece = match from.as_bytes().first() {
            Some(b'"') => {
                let piece = until_quote(from, '"', false);
                match piece.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
                    Some(inner) if !inner.is_empty() => out.push_str(&write(&inner.replace("\"\"", "\""))),
                    _ => out.push_str(piece),
                }
                rest = from.get(piece.len()..).unwrap_or_default();
                continue;
            }
            Some(b'\'') => {
                let escapes =
                    out.ends_with(['E', 'e']) && !names_end(out.get(..out.len() - 1).unwrap_or_default());
                let piece = until_quote(from, '\'', escapes);
                let after = from.get(piece.len()..).unwrap_or_default();
                match piece.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\'')) {
                    Some(inner) if !escapes && names_something(after) => {
                        let inner = map_names(&inner.replace("''", "'"), write);
                        out.push_str(&format!("'{}'", inner.replace('\'', "''")));
                        rest = after;
                        continue;
                    }
                    _ => piece,
                }
            }
            Some(b'$') => match (names_end(&out), dollar_quoted(from)) {
                (false, Some(piece)) => piece,
                _ => "$",
            },
            Some(b'-') if from.starts_with("--") => from.split_inclusive('\n').next().unwrap_or(from),
            Some(b'/') if from.starts_with("/*") => {
                from.find("*/").and_then(|end| from.get(..end + 2)).unwrap_or(from)
            }
            _ => from.get(..1).unwrap_or(from),
        };
        out.push_str(piece);
        rest = from.get(piece.len()..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The text from the opening to the closing quote. Doubled quotes, and with `escapes` those after a backslash, do not
/// close it.
pub(crate) fn until_quote(text: &str, quote: char, escapes: bool) -> &str {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return text.get(..at + c.len_utf8()).unwrap_or(text);
        }
        if escapes && c == '\\' {
            chars.next();
        }
    }
    text
}

/// A dollar-quoted string at the start of the text.
pub(crate) fn dollar_quoted(text: &str) -> Option<&str> {
    let end = text.get(1..)?.find('$')? + 1;
    let tag = text.get(..=end)?;
    let name = tag.get(1..end)?;
    let valid = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c == '_' || c.is_alphanumeric());
    let close = text.get(end + 1..)?.find(tag)?;
    valid.then(|| text.get(..end + 1 + close + tag.len())).flatten()
}

/// Whether the text ends inside a name, so that a following `$` belongs to it.
fn names_end(text: &str) -> bool {
    text.chars().next_back().is_some_and(|c| c == '_' || c == '$' || c.is_alphanumeric())
}

/// Whether the cast after a string shows that it contains a name.
fn names_something(after: &str) -> bool {
    let Some(kind) = after.strip_prefix("::") else { return false };
    let kind = kind.strip_prefix("pg_catalog.").unwrap_or(kind).trim_start_matches('"');
    let end = kind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(kind.len());
    kind.get(..end).is_some_and(|kind| NAMING.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_stay_where_some_version_needs_them() {
        for (sql, expected) in [
            (r#"CHECK (("system_user" <> 'root'::"text"))"#, r#"CHECK (("system_user" <> 'root'::text))"#),
            (r#""public"."f"("json" "json", "a b" integer)"#, r#"public.f("json" "json", "a b" integer)"#),
            (r#""nextval"('"public"."t_id_seq"'::"regclass")"#, "nextval('public.t_id_seq'::regclass)"),
            (r#"'"public"."Mixed""q"'::"regclass""#, r#"'public."Mixed""q"'::regclass"#),
            (r#"'"no name"'::"text""#, r#"'"no name"'::text"#),
            (r#"E'\'"a"' || "b""#, r#"E'\'"a"' || b"#),
            (r#"'it''s "a"' || "b""#, r#"'it''s "a"' || b"#),
            ("AS $body$ SELECT \"a\" $$ '$body$ \"x\"", "AS $body$ SELECT \"a\" $$ '$body$ x"),
            (r#""a" - "b" / "c$d" -- "x""#, r#"a - b / "c$d" -- "x""#),
            (r#"(1)::"char""#, r#"(1)::"char""#),
            (r#""open"#, r#""open"#),
            (r#"'open "a""#, r#"'open "a""#),
            ("$1 + \"a\"", "$1 + a"),
        ] {
            assert_eq!(requoted(sql), expected, "{sql}");
            assert_eq!(requoted(expected), expected, "it is done once");
        }
    }

    #[test]
    fn a_key_word_and_a_name_stay_apart_in_comparisons() {
        assert_eq!(bare(r#"("system_user" = CURRENT_USER)"#), "(system_user = CURRENT_USER)");
        assert_ne!(bare(r#""system_user""#), bare("SYSTEM_USER"));
        assert_eq!(bare(r#"'{}'::"json""#), bare("'{}'::json"));
        assert_eq!(bare(r#""char""#), r#""char""#);
    }
}
