//! Protection against meta-commands: when psql reads a script, a backslash outside quotes begins a meta-command, and
//! some of those run programs. No statement that a PostgreSQL server deparses contains one there, so an occurrence was
//! injected (CVE-2025-8714).

use crate::Error;
use crate::baseline::script::lex::{Kind, Token, tokens};
use crate::conflict::Conflict;
use crate::ddl::Statement;

/// The first releases of psql that support `\restrict`, as ranges of its `VERSION_NUM`.
const KNOW_RESTRICT: [(u32, u32); 6] = [
    (130_022, 139_999),
    (140_019, 149_999),
    (150_014, 159_999),
    (160_010, 169_999),
    (170_006, 179_999),
    (180_000, 9_999_999),
];

/// The first lines of a script: a psql that supports `\restrict` runs no meta-command until [`unrestrict`] gives the
/// same key, which the author of the content cannot know. An older psql rejects unknown commands, so the command comes
/// from a variable that is empty there.
pub fn restrict(key: &str) -> String {
    let known: Vec<_> =
        KNOW_RESTRICT.iter().map(|(from, to)| format!(":VERSION_NUM BETWEEN {from} AND {to}")).collect();
    let known = known.join(" OR ");
    format!(
        "SELECT CASE WHEN {known}\n  THEN pg_catalog.chr(92) || 'restrict {key}' ELSE '' END AS dbhaul_restrict,\n  CASE WHEN {known}\n  \
         THEN pg_catalog.chr(92) || 'unrestrict {key}' ELSE '' END AS dbhaul_unrestrict \\gset\n:dbhaul_restrict\n\n"
    )
}

/// The last line of a script that begins with [`restrict`].
pub fn unrestrict() -> &'static str {
    ":dbhaul_unrestrict\n"
}

/// Refuses statements in which psql would find a meta-command, or which it would split differently than the server.
///
/// # Errors
/// [`Error::Refused`] with every such object.
pub fn check(statements: &[Statement]) -> Result<(), Error> {
    let conflicts: Vec<Conflict> = statements
        .iter()
        .filter_map(|statement| {
            let detail = danger(&statement.sql)?;
            Some(Conflict::NotForPsql {
                object: crate::quote::one_line(&statement.object.to_string()),
                detail,
            })
        })
        .collect();
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        what: "the stored schema was not produced by a PostgreSQL server: psql would run parts of it as meta-commands"
            .to_owned(),
        conflicts,
    })
}

/// Why psql must not read this text, if so.
pub(crate) fn danger(text: &str) -> Option<String> {
    if text.contains('\0') {
        return Some("a zero byte".to_owned());
    }
    let mut carriage_return = false;
    let tokens = match tokens(text, |_, comment| carriage_return |= comment.contains('\r')) {
        Ok(tokens) => tokens,
        Err(unfinished) => return Some(format!("{} without an end", unfinished.what)),
    };
    let mut before: Option<&Token> = None;
    // Here psql sends its buffer; the settings afterwards may differ from those at the beginning of the script.
    let (mut depth, mut ended) = (0_u32, false);
    let atomic = tokens.windows(2).any(|pair| matches!(pair, [a, b] if a.is("begin") && b.is("atomic")));
    for token in &tokens {
        let is_text = matches!(token.kind, Kind::Text(_));
        let own = text.get(token.start..token.end).unwrap_or_default();
        match &token.kind {
            Kind::Psql("a meta-command") => return Some("a backslash outside of quotes".to_owned()),
            // Versions of psql disagree about where such a number ends.
            Kind::Number(_) if !is_plain_number(own) && own.ends_with(|c: char| !c.is_ascii_digit()) => {
                let next = text.get(token.end..).and_then(|rest| rest.chars().next());
                let exponent = own.ends_with(['e', 'E']) && matches!(next, Some('+' | '-'));
                if !exponent && matches!(next, Some('\'' | '"' | '$')) || own.contains('$') {
                    return Some(format!("`{own}`, which is not a number"));
                }
            }
            Kind::Other('(') => depth = depth.saturating_add(1),
            Kind::Other(')') => depth = depth.saturating_sub(1),
            Kind::Other(';') if depth == 0 && !atomic => ended = true,
            _ => {}
        }
        if ended && own.contains('\\') {
            return Some("several statements, a later one of which contains a backslash".to_owned());
        }
        let gap = before.map_or(0, |before| before.end);
        let gap = text.get(gap..token.start).unwrap_or_default();
        if gap.chars().any(|c| c.is_whitespace() && !c.is_ascii()) {
            return Some("a character that only some parsers treat as whitespace".to_owned());
        }
        // A string continued on another line follows the rules of its beginning.
        if is_text && own.contains('\\') && before.is_some_and(|before| matches!(before.kind, Kind::Text(_)))
        {
            return Some("a string in two pieces".to_owned());
        }
        before = Some(token);
    }
    carriage_return.then(|| "a comment with a carriage return".to_owned())
}

fn is_plain_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Checks rows of COPY text on their way into a script, where a line `\.` ends them.
#[derive(Debug, Default)]
pub struct RowLines {
    /// The number of bytes of the current line so far, and its first bytes.
    length: usize,
    begin: [u8; 3],
    lines: u64,
}

impl RowLines {
    /// Checks the next bytes.
    ///
    /// # Errors
    /// On a line that would end the rows. No server writes one: psql would read the rest as statements.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        for byte in bytes {
            if *byte != b'\n' {
                if let Some(place) = self.begin.get_mut(self.length) {
                    *place = *byte;
                }
                self.length += 1;
                continue;
            }
            self.lines += 1;
            if (self.length == 2 && self.begin.starts_with(b"\\."))
                || (self.length == 3 && self.begin == *b"\\.\r")
            {
                return Err(format!(
                    "row {} is `\\.`, which would end the COPY block early; no server writes such a row",
                    self.lines
                ));
            }
            self.length = 0;
        }
        Ok(())
    }

    /// To be called after the last bytes.
    ///
    /// # Errors
    /// If the last line is not terminated.
    pub fn finish(&self) -> Result<(), String> {
        if self.length == 0 { Ok(()) } else { Err("the last row is not terminated".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_as_servers_give_them_pass() {
        for text in [
            r"CREATE TABLE t (a text DEFAULT 'a\' CHECK (a ~ '^\d+$'), b float8 DEFAULT 1.5e+3);",
            r#"COMMENT ON TABLE "it's\." IS E'\\! x';"#,
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $_$\nBEGIN\n\\! id\nRETURN $1; END $_$",
            "CREATE FUNCTION g() RETURNS text BEGIN ATOMIC SELECT 1; SELECT regexp_replace('a', '\\d', ''); END",
            "CREATE VIEW v AS SELECT 1 -- \\! no command\n, 2 /* \\! nor /* here */ */",
        ] {
            assert_eq!(danger(text), None, "{text}");
        }
    }

    #[test]
    fn what_psql_would_run_is_seen_however_it_is_hidden() {
        for text in [
            "CREATE VIEW v AS SELECT 1\n\\! id",
            "SELECT 1 \\! id",
            "SELECT '\n\\! id",
            "SELECT $$ \\! id",
            "/* \n\\! id",
            "-- a\r \\! id",
            "SELECT 1$$ ' $$ \\! id '",
            "SELECT 1e'\\' \\! id '",
            "SELECT E'a'\n'\\' ' \\! id '",
            "SELECT\u{a0}e'\\' \\! id '",
            "SET standard_conforming_strings = off; SELECT '\\' ' \\! id '",
            "SELECT 'a\0' \\! id",
        ] {
            assert!(danger(text).is_some(), "{text}");
        }
    }

    #[test]
    fn rows_end_only_where_they_end() {
        let look = |pieces: &[&[u8]]| {
            let mut rows = RowLines::default();
            pieces.iter().try_for_each(|piece| rows.push(piece)).and_then(|()| rows.finish())
        };
        assert!(look(&[b"a\t\\N\n", b"\\\\.\n\n", b"\\.x\n"]).is_ok());
        assert!(look(&[b"a\n\\", b".", b"\n\\! id\n"]).unwrap_err().contains("row 2"));
        assert!(look(&[b"\\.\r\n"]).is_err());
        assert!(look(&[b"a\n\\."]).is_err());
    }

    #[test]
    fn an_older_psql_gets_no_unknown_commands() {
        let text = restrict("abc");
        let lines: Vec<_> = text.lines().filter(|line| line.contains('\\')).collect();
        assert!(lines.len() == 1 && lines[0].ends_with("\\gset"), "{text}");
    }
}
