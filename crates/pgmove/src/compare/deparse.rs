//! Texts that are equal after the server has parsed its own deparsed text.
//!
//! `x IN ('a', 'b')` on a `varchar` is stored as a cast of the whole array, deparsed as `(ARRAY['a'::character
//! varying, …])::text[]`, and, when that text is parsed again, stored as casts of the elements:
//! `ARRAY[('a'::character varying)::text, …]`. Every dump and restore converts the first form to the second
//! (pg_dump's too), so a schema comparison must treat them as equal.

use crate::catalog::deparsed::{bare, dollar_quoted, until_quote};

/// The text with every cast of an array constructor written as casts of its elements, without quotes that names need
/// only in some versions, and without irrelevant column names.
pub(crate) fn settled(sql: impl Into<String>) -> String {
    let sql = sql.into();
    // Most statements contain nothing of it, and a large schema has many.
    let plain =
        !sql.contains('"') && !sql.contains("(ARRAY[") && !JOINING.iter().any(|word| sql.contains(word));
    if plain { sql } else { settled_branches(&settled_casts(&bare(&sql))) }
}

/// Keywords that combine queries.
const JOINING: [&str; 3] = ["UNION", "INTERSECT", "EXCEPT"];

/// Keywords that end the select list of a query.
const ENDING: [&str; 12] = [
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "WINDOW",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "FETCH",
];

/// The text without the column names in later branches of a UNION, INTERSECT or EXCEPT. The first branch determines
/// the names of the result. In the others the server adds a name to a constant with a cast when it parses its own
/// text: `NULL::integer` becomes `NULL::integer AS int4`.
fn settled_branches(sql: &str) -> String {
    if !JOINING.iter().any(|word| sql.contains(word)) {
        return sql.to_owned();
    }
    let mut out = String::with_capacity(sql.len());
    // Parenthesis depths of the select lists of later branches.
    let (mut lists, mut depth, mut joined): (Vec<usize>, usize, bool) = (Vec::new(), 0, false);
    let mut tokens = tokens(sql).into_iter().peekable();
    while let Some(token) = tokens.next() {
        let listed = lists.last() == Some(&depth);
        match token {
            "(" => depth += 1,
            ")" => {
                depth = depth.saturating_sub(1);
                lists.retain(|at| *at <= depth);
            }
            "AS" if listed => {
                let space = tokens.next_if(|next| next.trim().is_empty()).unwrap_or_default();
                match tokens.next() {
                    Some(name) if name.starts_with(|c: char| c == '"' || c == '_' || c.is_alphabetic()) => {
                        out.truncate(out.trim_end().len());
                    }
                    other => out.extend([token, space, other.unwrap_or_default()]),
                }
                continue;
            }
            "SELECT" if joined => {
                lists.push(depth);
                joined = false;
            }
            word => {
                if listed && (ENDING.contains(&word) || word == ";") {
                    lists.pop();
                }
                joined = JOINING.contains(&word)
                    || (joined && (word.trim().is_empty() || matches!(word, "ALL" | "DISTINCT")));
            }
        }
        out.push_str(token);
    }
    out
}

/// Splits the text into words, strings, quoted names, dollar-quoted bodies, whitespace and single characters.
fn tokens(sql: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let length = match first {
            '\'' | '"' => until_quote(rest, first, out.last() == Some(&"E")).len(),
            '$' => dollar_quoted(rest).map_or(1, str::len),
            c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            c if c.is_whitespace() => rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        out.push(token);
        rest = after;
    }
    out
}

fn settled_casts(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once("(ARRAY[") {
        out.push_str(before);
        match cast_array(after) {
            Some((elements, kind, tail)) => {
                let cast: Vec<String> =
                    elements.iter().map(|element| format!("({})::{kind}", settled_casts(element))).collect();
                out.push_str("ARRAY[");
                out.push_str(&cast.join(", "));
                out.push(']');
                rest = tail;
            }
            None => {
                out.push_str("(ARRAY[");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// After `(ARRAY[`: the elements, the element type of the cast, and the rest; `None` for any other form.
fn cast_array(text: &str) -> Option<(Vec<&str>, &str, &str)> {
    let mut elements = Vec::new();
    let (mut start, mut depth, mut quoted) = (0, 0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => depth += 1,
            ']' if depth == 0 => {
                elements.push(text.get(start..at)?.trim());
                let tail = text.get(at..)?.strip_prefix("])::")?;
                let end = tail.find("[]")?;
                let kind = tail.get(..end)?;
                // A type name: anything else means that this cast belongs to a larger expression.
                let plain = kind.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '_' | '.' | '"'));
                return plain.then_some((elements, kind, tail.get(end + 2..)?));
            }
            ')' | ']' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                elements.push(text.get(start..at)?.trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_settle_on_one() {
        let first = "CHECK (((s)::text = ANY ((ARRAY['BUY'::character varying, 'it''s, ]'::character varying])::text[])))";
        let second = "CHECK (((s)::text = ANY (ARRAY[('BUY'::character varying)::text, ('it''s, ]'::character varying)::text])))";
        assert_eq!(settled(first), second);
        assert_eq!(settled(second), second);
    }

    #[test]
    fn names_in_later_branches_mean_nothing() {
        for (written, settles) in [
            (
                "SELECT a.x, NULL::integer AS y FROM a UNION ALL SELECT a.x,\n    NULL::integer AS int4\n   FROM a",
                "SELECT a.x, NULL::integer AS y FROM a UNION ALL SELECT a.x,\n    NULL::integer\n   FROM a",
            ),
            (
                "SELECT 1 AS a UNION (SELECT 'AS b'::text AS text UNION SELECT f(CAST(x AS int)) AS c FROM t AS u)",
                "SELECT 1 AS a UNION (SELECT 'AS b'::text UNION SELECT f(CAST(x AS int)) FROM t AS u)",
            ),
            (
                "SELECT 1 UNION SELECT (SELECT a UNION SELECT 2 AS b) AS c, E'\\'(' AS d",
                "SELECT 1 UNION SELECT (SELECT a UNION SELECT 2), E'\\'('",
            ),
            (
                "SELECT a AS b FROM t WHERE x IN (SELECT 1 UNION SELECT 2 AS y) UNION SELECT 3 AS \"Q\"",
                "SELECT a AS b FROM t WHERE x IN (SELECT 1 UNION SELECT 2) UNION SELECT 3",
            ),
            (
                "SELECT 1 UNION SELECT (SELECT a AS b FROM u) AS c",
                "SELECT 1 UNION SELECT (SELECT a AS b FROM u)",
            ),
            ("AS $$ SELECT 1 UNION SELECT 2 AS b $$", "AS $$ SELECT 1 UNION SELECT 2 AS b $$"),
        ] {
            assert_eq!(settled_branches(written), settles);
            assert_eq!(settled_branches(settles), settles);
        }
    }

    #[test]
    fn other_texts_stay() {
        for text in ["(ARRAY[1, 2])", "SELECT (ARRAY[1, 2])::integer", "(ARRAY[", "x"] {
            assert_eq!(settled(text), text);
        }
        assert_eq!(settled("(ARRAY[1])::bigint[]"), "ARRAY[(1)::bigint]");
    }
}
