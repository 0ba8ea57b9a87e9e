//! A migration file: its statements with their positions, and obstacles to running it.
//!
//! - `lex` splits SQL into tokens; this file groups tokens into statements, as `psql` would;
//! - [`effect`] tells what a statement creates, drops and needs, as far as its text shows.

mod alter;
mod create;
pub(crate) mod effect;
pub(crate) mod lex;
pub(crate) mod names;

use effect::Effect;
use lex::{Kind, Token};

/// A parsed migration file, which has not been run.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its name: the file name without `.sql`.
    pub name: String,
    /// The path as given, for messages.
    pub file: String,
    /// Its statements in order.
    pub(crate) statements: Vec<Statement>,
    /// Why it cannot be run.
    pub obstacles: Vec<UnsupportedScript>,
}

/// Something in a file that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UnsupportedScript {
    /// The line, counted from 1.
    pub line: usize,
    /// A description, as a predicate: `has a meta-command of psql: \i other.sql`.
    pub what: String,
}

/// A statement of a file.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// The text, without the semicolon.
    pub(crate) text: String,
    /// The line on which it begins, counted from 1.
    pub(crate) line: usize,
    /// Its effect.
    pub(crate) effect: Effect,
}

impl Script {
    /// Parses a file. `file` is its path for messages; its name is the last component without `.sql` or `.up.sql`.
    pub fn read(file: &str, text: &str) -> Script {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let last = file.rsplit(['/', '\\']).next().unwrap_or(file);
        let name = last.strip_suffix(".sql").unwrap_or(last);
        let name = name.strip_suffix(".up").unwrap_or(name);
        let mut script = Script {
            name: name.to_owned(),
            file: file.to_owned(),
            statements: Vec::new(),
            obstacles: Vec::new(),
        };
        let mut undo = None;
        let tokens = lex::tokens(text, |at, comment| {
            if undo.is_none() && holds_undo(comment) {
                undo = Some((at, comment.trim().to_owned()));
            }
        });
        if let Some((at, comment)) = undo {
            let what = format!("contains a down migration, which must not run with it: {comment}");
            script.obstacle(text, at, what);
        }
        match tokens {
            Ok(tokens) => script.split(text, &tokens),
            Err(unfinished) => {
                script.obstacle(text, unfinished.start, format!("has {} without an end", unfinished.what));
            }
        }
        script
    }

    fn obstacle(&mut self, text: &str, at: usize, what: String) {
        self.obstacles.push(UnsupportedScript { line: line_of(text, at), what });
    }

    fn split(&mut self, text: &str, tokens: &[Token]) {
        let mut session = effect::Session::default();
        let mut from = 0;
        let (mut depth, mut blocks) = (0_usize, Blocks::default());
        let mut lines = Lines { text, at: 0, line: 1 };
        for (at, token) in tokens.iter().enumerate() {
            match &token.kind {
                Kind::Psql(what) => {
                    let line =
                        text.get(token.start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
                    self.obstacle(text, token.start, format!("has {what} of psql: {}", line.trim()));
                }
                Kind::Other('(') => depth += 1,
                Kind::Other(')') => depth = depth.saturating_sub(1),
                Kind::Other(';') if depth == 0 && !blocks.open() => {
                    self.statement(tokens.get(from..at).unwrap_or_default(), &mut lines, &mut session);
                    (from, blocks) = (at + 1, Blocks::default());
                }
                Kind::Word(word) => blocks.see(at - from, word),
                _ => {}
            }
        }
        self.statement(tokens.get(from..).unwrap_or_default(), &mut lines, &mut session);
    }

    fn statement(&mut self, tokens: &[Token], lines: &mut Lines<'_>, session: &mut effect::Session) {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return };
        if tokens.iter().any(|token| matches!(token.kind, Kind::Psql(_))) {
            return;
        }
        let effect = effect::of(tokens, session);
        let line = lines.of(first.start);
        if effect.rows_follow {
            // The lines after COPY FROM stdin are rows.
            let what = "has rows for COPY FROM stdin, which only psql sends".to_owned();
            self.obstacles.push(UnsupportedScript { line, what });
        }
        self.statements.push(Statement {
            text: lines.text.get(first.start..last.end).unwrap_or_default().to_owned(),
            line,
            effect,
        });
    }
}

/// Line numbers of increasing offsets, computed in one pass over the file.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn of(&mut self, offset: usize) -> usize {
        let between = self.text.as_bytes().get(self.at..offset).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', between).count();
        self.at = self.at.max(offset);
        self.line
    }
}

/// `BEGIN ATOMIC … END` in a function body, in which semicolons do not end the statement.
#[derive(Default)]
struct Blocks {
    words: Vec<String>,
    depth: usize,
    function: bool,
}

impl Blocks {
    fn open(&self) -> bool {
        self.depth > 0
    }

    /// The rules of `psqlscan.l`: only after CREATE [OR REPLACE] FUNCTION or PROCEDURE; CASE has its own END.
    fn see(&mut self, position: usize, word: &str) {
        if position < 4 {
            self.words.push(word.to_owned());
            let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
            self.function |= matches!(
                words.as_slice(),
                ["create", "function" | "procedure", ..]
                    | ["create", "or", "replace", "function" | "procedure", ..]
            );
        }
        match word {
            "begin" if self.function => self.depth += 1,
            "case" if self.depth > 0 => self.depth += 1,
            "end" => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// Some migration tools keep up and down migrations in one file, separated by a comment.
fn holds_undo(comment: &str) -> bool {
    let words = comment.trim_start_matches('-').trim().to_lowercase();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    ["+goose down", "+migrate down", "migrate:down", "//@undo"].iter().any(|mark| words.starts_with(mark))
}

/// The line of an offset, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<(usize, String)> {
        let script = Script::read("a.sql", sql);
        assert!(script.obstacles.is_empty(), "{:?}", script.obstacles);
        script.statements.into_iter().map(|statement| (statement.line, statement.text)).collect()
    }

    #[test]
    fn semicolons_inside_something_end_nothing() {
        let sql = "-- one; two\nCREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;\n\
                   ;; CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b);\n\
                   DO $x$ BEGIN; END $x$;\nBEGIN;\nSELECT 'a;b' /* ; */, \"c;d\"\n;\nCOMMIT";
        let found = texts(sql);
        let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 8], "{found:?}");
        assert!(found[0].1.ends_with("SELECT 2; END"));
        assert!(found[4].1.ends_with("\"c;d\""));
    }

    #[test]
    fn unsupported_statements_are_reported_with_their_lines() {
        let findings = |sql: &str| {
            let obstacles = Script::read("dir/a.up.sql", sql).obstacles;
            obstacles.into_iter().map(|o| (o.line, o.what)).collect::<Vec<_>>()
        };
        assert_eq!(
            findings("SELECT 1;\n\\i other.sql\n"),
            [(2, "has a meta-command of psql: \\i other.sql".to_owned())]
        );
        assert_eq!(findings("SELECT 1\n;SELECT :'x';"), [(2, "has a variable of psql: :'x';".to_owned())]);
        assert_eq!(findings("\n\nSELECT 'a"), [(3, "has a string without an end".to_owned())]);
        assert!(findings("COPY t (a) FROM STDIN;\n1\n\\.\n")[0].1.contains("stdin"));
        assert!(
            findings("-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2;")[0].1.contains("down migration")
        );
        assert_eq!(Script::read("dir/a.up.sql", "").name, "a");
    }
}
