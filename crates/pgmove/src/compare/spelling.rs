//! Compares a statement as deparsed by two versions of the server.
//!
//! From 16 on a query over a single table does not qualify its columns, `AS` is omitted before the alias of an
//! updated table, and `NO INDENT` is written, which older servers do not have. Redundant parentheses may be present
//! or not. Which ones are redundant is determined by parsing the text by the precedence of operators in the server's
//! grammar: `a OR (b AND c)` is `a OR b AND c`, but `(a OR b) AND c` is not.

/// Whether two lists of statements differ only in spelling.
pub(crate) fn same_but_for_spelling(left: &[String], right: &[String]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| same(&parsed(left), &parsed(right)))
}

/// A parsed statement. Parentheses around a whole part are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A word, a literal or a symbol, with its qualification: `s.t.a` is three names.
    Word(Vec<String>),
    /// The content of significant parentheses or brackets: arguments, a list, a query.
    Group(char, Vec<Part>),
    /// Operands of operators of one precedence, or a plain sequence.
    Row(Vec<Part>),
}

impl Part {
    /// Whether it is this single word.
    fn is(&self, wanted: &str) -> bool {
        matches!(self, Part::Word(word) if matches!(word.as_slice(), [one] if one == wanted))
    }

    /// Whether parentheses around it are significant even if it is alone: with a list they make a row, with a query a
    /// value.
    fn needs_parentheses(&self) -> bool {
        match self {
            Part::Row(parts) => {
                let query = parts
                    .first()
                    .is_some_and(|first| ["SELECT", "WITH", "VALUES"].iter().any(|w| first.is(w)));
                query || parts.iter().any(|part| part.is(","))
            }
            Part::Word(_) | Part::Group(..) => false,
        }
    }
}

/// Maximum depth of parentheses; what is deeper is compared literally.
const DEPTH: usize = 200;

fn parsed(sql: &str) -> Part {
    let words = words(sql);
    let mut at = 0;
    let mut parts = Vec::new();
    while at < words.len() {
        parts.extend(sequence(&words, &mut at, 0));
        // An unmatched closing parenthesis.
        at += 1;
    }
    row(parts, 0)
}

/// The parts up to the closing parenthesis, bracket or END.
fn sequence(words: &[Vec<String>], at: &mut usize, depth: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some(word) = words.get(*at) {
        let closes = match word.as_slice() {
            [one] => one.as_str(),
            _ => "",
        };
        match closes {
            ")" | "]" | "END" => break,
            "(" | "[" | "CASE" if depth < DEPTH => {
                let kind = closes.chars().next().unwrap_or('(');
                *at += 1;
                parts.push(Part::Group(kind, sequence(words, at, depth + 1)));
            }
            _ => parts.push(Part::Word(word.clone())),
        }
        *at += 1;
    }
    parts
}

/// Operators by precedence, the lowest first (`src/backend/parser/gram.y`). Commas and the clauses of a statement
/// have even lower precedence.
const LEVELS: [&[&str]; 9] = [
    &["OR"],
    &["AND"],
    &["NOT"],
    &["IS", "ISNULL", "NOTNULL"],
    &["<", ">", "=", "<=", ">=", "<>", "!="],
    &["BETWEEN", "IN", "LIKE", "ILIKE", "SIMILAR"],
    &["+", "-"],
    &["*", "/", "%"],
    &["^"],
];

/// The level in [`LEVELS`] of user-defined operators, which have lower precedence than `+`.
const OTHER_OPERATORS: usize = 6;

/// Upper-case words that are part of an expression and do not begin a clause.
const IN_EXPRESSIONS: &[&str] = &[
    "ALL",
    "ANY",
    "ARRAY",
    "AT",
    "COLLATE",
    "CURRENT_DATE",
    "CURRENT_ROLE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "CURRENT_CATALOG",
    "CURRENT_SCHEMA",
    "DISTINCT",
    "DOCUMENT",
    "EXISTS",
    "FALSE",
    "LOCAL",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "NULL",
    "OPERATOR",
    "ROW",
    "SESSION_USER",
    "SOME",
    "SYMMETRIC",
    "SYSTEM_USER",
    "TIME",
    "TRUE",
    "UNKNOWN",
    "USER",
    "ZONE",
];

fn is_operator(word: &str) -> bool {
    word.chars().all(|c| "+-*/<>=~!@#%^&|`?".contains(c)) && !word.is_empty()
}

/// Whether a word begins a clause: a keyword, which the server writes in upper case, that is not an operator.
fn begins_clause(part: &Part) -> bool {
    let Part::Word(word) = part else { return false };
    let [word] = word.as_slice() else { return false };
    let capitals = word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    capitals
        && !IN_EXPRESSIONS.contains(&word.as_str())
        && !LEVELS.iter().any(|level| level.contains(&word.as_str()))
}

/// Splits a sequence of parts at the operators of the lowest precedence.
fn row(parts: Vec<Part>, level: usize) -> Part {
    // Commas and semicolons, then clauses, then operators.
    let splits = |part: &Part, level: usize| match level {
        0 => part.is(",") || part.is(";"),
        1 => begins_clause(part),
        _ => {
            let at = level - 2;
            let Part::Word(word) = part else { return false };
            let [word] = word.as_slice() else { return false };
            match at.cmp(&OTHER_OPERATORS) {
                std::cmp::Ordering::Less => {
                    LEVELS.get(at).is_some_and(|level| level.contains(&word.as_str()))
                }
                std::cmp::Ordering::Equal => {
                    is_operator(word) && !LEVELS.iter().any(|level| level.contains(&word.as_str()))
                }
                std::cmp::Ordering::Greater => {
                    LEVELS.get(at - 1).is_some_and(|level| level.contains(&word.as_str()))
                }
            }
        }
    };
    for level in level..LEVELS.len() + 3 {
        if !parts.iter().any(|part| splits(part, level)) {
            continue;
        }
        let mut out = Vec::new();
        let mut open = Vec::new();
        for part in parts {
            if splits(&part, level) {
                if !open.is_empty() {
                    out.push(row(std::mem::take(&mut open), level + 1));
                }
                out.push(part);
            } else {
                open.push(part);
            }
        }
        if !open.is_empty() {
            out.push(row(open, level + 1));
        }
        return Part::Row(out);
    }
    bound(parts)
}

/// Parts without operators between them. Parentheses after a name are its arguments; a single part in parentheses
/// does not need them.
fn bound(parts: Vec<Part>) -> Part {
    let mut out: Vec<Part> = Vec::new();
    for part in parts {
        let part = match part {
            Part::Group('(', inner) if !out.last().is_some_and(takes_arguments) => {
                match row(inner, 0) {
                    // A list, a query, or an expression that needs the parentheses here.
                    inner @ Part::Row(_) => Part::Group('(', vec![inner]),
                    inner => inner,
                }
            }
            Part::Group(kind, inner) => Part::Group(kind, vec![row(inner, 0)]),
            word => word,
        };
        out.push(part);
    }
    match <[Part; 1]>::try_from(out) {
        Ok([Part::Group('(', inner)]) => match <[Part; 1]>::try_from(inner) {
            Ok([inner]) if !inner.needs_parentheses() => inner,
            Ok(inner) => Part::Group('(', inner.into()),
            Err(inner) => Part::Group('(', inner),
        },
        Ok([only]) => only,
        Err(out) => Part::Row(out),
    }
}

/// Whether following parentheses belong to it: a name, a type, `IN`, `ANY`, `ROW` and similar words.
fn takes_arguments(part: &Part) -> bool {
    match part {
        Part::Word(word) => is_named(word),
        Part::Group(..) | Part::Row(_) => false,
    }
}

fn same(left: &Part, right: &Part) -> bool {
    let all = |left: &[Part], right: &[Part]| {
        left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
    };
    match (left, right) {
        // One side may qualify the column.
        (Part::Word(left), Part::Word(right)) => left.ends_with(right) || right.ends_with(left),
        (Part::Group(one, left), Part::Group(other, right)) => one == other && all(left, right),
        (Part::Row(left), Part::Row(right)) => all(left, right),
        _ => false,
    }
}

/// The words of a statement without whitespace and optional words; names joined by dots are one word.
fn words(sql: &str) -> Vec<Vec<String>> {
    let mut out: Vec<Vec<String>> = Vec::new();
    let mut joined = false;
    for word in all_words(sql) {
        match word.as_str() {
            "AS" => {}
            "INDENT" if out.last().is_some_and(|last| matches!(last.as_slice(), [one] if one == "NO")) => {
                out.pop();
            }
            "." if out.last().is_some_and(|last| is_named(last)) => {
                joined = true;
                continue;
            }
            _ => match out.last_mut().filter(|_| joined) {
                Some(last) => last.push(word),
                None => out.push(vec![word]),
            },
        }
        joined = false;
    }
    out
}

fn all_words(sql: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        let mut word = String::from(c);
        if c == '\'' || c == '"' {
            while let Some(next) = rest.next() {
                word.push(next);
                // A doubled quote is an escaped quote.
                if next == c && rest.next_if_eq(&c).is_none() {
                    break;
                }
            }
        } else if is_name(c) {
            let number = c.is_ascii_digit();
            while let Some(next) = rest.next_if(|next| is_name(*next) || (number && *next == '.')) {
                word.push(next);
            }
        } else if is_operator(&word) {
            while let Some(next) = rest.next_if(|next| is_operator(&next.to_string())) {
                word.push(next);
            }
        } else if c.is_whitespace() {
            continue;
        }
        words.push(word);
    }
    words
}

fn is_named(word: &[String]) -> bool {
    word.last().is_some_and(|last| last.starts_with('"') || last.starts_with(is_name))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &str, right: &str) -> bool {
        same_but_for_spelling(&[left.to_owned()], &[right.to_owned()])
    }

    #[test]
    fn only_spelling_differences_of_queries_are_ignored() {
        assert!(same("SELECT g.a,\n  g.b FROM s.g WHERE (g.a > 50)", "SELECT a, b FROM s.g WHERE a > 50"));
        assert!(same("UPDATE s.g AS t SET a = 1", "UPDATE s.g t SET a = 1"));
        assert!(same("XMLSERIALIZE(CONTENT x AS text)", "XMLSERIALIZE(CONTENT x AS text NO INDENT)"));
        assert!(!same("XMLSERIALIZE(CONTENT x AS text)", "XMLSERIALIZE(CONTENT x AS text INDENT)"));
        assert!(!same("SELECT a AS b FROM g", "SELECT a AS c FROM g"));
        assert!(!same("SELECT g.a FROM s.g", "SELECT g.b FROM s.g"));
        assert!(same("SELECT a.a FROM s.a", "SELECT a FROM s.a"));
        assert!(!same("SELECT a FROM s.g", "SELECT a FROM t.g"));
        assert!(!same("SELECT t.a FROM t, u", "SELECT u.a FROM t, u"));
        assert!(!same("SELECT 'a.b' FROM g", "SELECT 'b' FROM g"));
        assert!(!same("SELECT 1.5", "SELECT 2.5"));
        assert!(!same("SELECT a FROM g", "SELECT a FROM g LIMIT 1"));
        assert!(!same("SELECT a FROM g WHERE a > 50", "SELECT a FROM g WHERE a > 51"));
        assert!(!same("SELECT 'it''s (x)'", "SELECT 'it''s x'"));
    }

    #[test]
    fn parentheses_that_mean_something_stay() {
        let both = |a: &str, b: &str, wanted: bool| {
            assert_eq!(same(a, b), wanted, "{a}\n{b}");
            assert_eq!(same(b, a), wanted, "{b}\n{a}");
        };
        let cases = "SELECT t.a FROM s.t WHERE ";
        for (one, other, wanted) in [
            ("((a > 1) OR ((b > 2) AND (c > 3)))", "(((a > 1) OR (b > 2)) AND (c > 3))", false),
            ("((a > 1) OR ((b > 2) AND (c > 3)))", "a > 1 OR b > 2 AND c > 3", true),
            ("((t.a > 1) OR ((t.b > 2) AND (t.c > 3)))", "((a > 1) OR ((b > 2) AND (c > 3)))", true),
            ("(NOT (a OR b))", "((NOT a) OR b)", false),
            ("(NOT (a AND b))", "(NOT a AND b)", false),
            ("((a + b) * c)", "(a + (b * c))", false),
            ("((a + b) * c)", "(a + b * c)", false),
            ("(a + (b * c))", "a + b * c", true),
            ("(a - (b - c))", "((a - b) - c)", false),
            ("((a || b) = c)", "(a || (b = c))", false),
            ("(x)::text", "x::text", true),
            ("((x || y))::text", "(x || (y)::text)", false),
            ("((a).b)", "a.b", false),
            ("(a IS NULL OR b)", "((a IS NULL) OR b)", true),
            ("(a IN (1, 2))", "(a IN (1, (2)))", true),
            ("f(a, b)", "f((a, b))", false),
            ("f(a)", "f((a))", true),
            ("CASE WHEN (a) THEN b ELSE c END", "CASE WHEN a THEN b ELSE c END", true),
            ("CASE WHEN a THEN b END AND c", "CASE WHEN a THEN (b AND c) END", false),
            (
                "(EXISTS ( SELECT 1 FROM s.u WHERE (u.a = t.a)))",
                "EXISTS (SELECT 1 FROM s.u WHERE u.a = t.a)",
                true,
            ),
            ("(a = ANY (ARRAY[1, 2]))", "a = ANY (ARRAY[(1), 2])", true),
        ] {
            both(&format!("{cases}{one}"), &format!("{cases}{other}"), wanted);
        }
    }
}
