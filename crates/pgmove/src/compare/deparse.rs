//! Texts that mean the same after the server has read its own deparsing.
//!
//! `x IN ('a', 'b')` on a `varchar` is stored as a cast of the whole array, deparsed as
//! `(ARRAY['a'::character varying, …])::text[]`, and when that text is read again, stored as casts of the elements:
//! `ARRAY[('a'::character varying)::text, …]`. Every dump and restore turns the first form into the second (pg_dump's
//! too), and a comparison of schemas must not call that a difference.

use crate::catalog::deparsed::bare;

/// The text with every cast of an array constructor written as casts of its elements, and without quotes that names
/// need only in some versions.
pub(crate) fn settled(sql: &str) -> String {
    settled_casts(&bare(sql))
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

/// From behind `(ARRAY[`: the elements, the element type of the cast, and what follows; nothing for any other form.
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
                // A type's name: anything else means that this cast belongs to something larger.
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
    fn other_texts_stay() {
        for text in ["(ARRAY[1, 2])", "SELECT (ARRAY[1, 2])::integer", "(ARRAY[", "x"] {
            assert_eq!(settled(text), text);
        }
        assert_eq!(settled("(ARRAY[1])::bigint[]"), "ARRAY[(1)::bigint]");
    }
}
