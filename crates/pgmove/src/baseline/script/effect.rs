//! What a statement makes, takes away and needs, as far as its text says. What cannot be read from it is called unknown,
//! never guessed.

use std::fmt;

use super::lex::{Kind, Token};
use super::names::{Reader, Written};
use super::{alter, create};

/// An object by name. Overloads of a function are not told apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    Schema(String),
    Extension(String),
    /// A table, view, index or sequence: they share their names.
    Relation(Written),
    Column(Written, String),
    Constraint(Written, String),
    Trigger(Written, String),
    Policy(Written, String),
    Rule(Written, String),
    Type(Written),
    Function(Written),
}

impl Object {
    /// The name with a schema that decides where the object is, if it lives in one.
    pub(crate) fn written(&self) -> Option<&Written> {
        match self {
            Object::Schema(_) | Object::Extension(_) => None,
            Object::Relation(name) | Object::Type(name) | Object::Function(name) => Some(name),
            Object::Column(table, _)
            | Object::Constraint(table, _)
            | Object::Trigger(table, _)
            | Object::Policy(table, _)
            | Object::Rule(table, _) => Some(table),
        }
    }

    /// The same object under another name of what it lives in.
    pub(crate) fn with(&self, written: Written) -> Object {
        match self.clone() {
            Object::Relation(_) => Object::Relation(written),
            Object::Type(_) => Object::Type(written),
            Object::Function(_) => Object::Function(written),
            Object::Column(_, name) => Object::Column(written, name),
            Object::Constraint(_, name) => Object::Constraint(written, name),
            Object::Trigger(_, name) => Object::Trigger(written, name),
            Object::Policy(_, name) => Object::Policy(written, name),
            Object::Rule(_, name) => Object::Rule(written, name),
            same @ (Object::Schema(_) | Object::Extension(_)) => same,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Schema(name) => write!(f, "schema {name}"),
            Object::Extension(name) => write!(f, "extension {name}"),
            Object::Relation(name) => write!(f, "{name}"),
            Object::Type(name) => write!(f, "type {name}"),
            Object::Function(name) => write!(f, "function {name}"),
            Object::Column(table, name) => write!(f, "column {table}.{name}"),
            Object::Constraint(table, name) => write!(f, "constraint {name} on {table}"),
            Object::Trigger(table, name) => write!(f, "trigger {name} on {table}"),
            Object::Policy(table, name) => write!(f, "policy {name} on {table}"),
            Object::Rule(table, name) => write!(f, "rule {name} on {table}"),
        }
    }
}

/// What a catalog shows once a statement has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It is there.
    Present(Object),
    /// It is there, as it may have been before: `CREATE OR REPLACE`.
    Replaced(Object),
    /// It is gone.
    Absent(Object),
    /// A column has this type.
    Type(Written, String, String),
    /// A column refuses NULL, or does not.
    NotNull(Written, String, bool),
    /// A column has a default; which one is not looked at.
    Default(Written, String, bool),
    /// An enum has this label.
    Label(Written, String),
}

/// How much of a statement's effect is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Effects {
    /// It changes the schema, and the marks say how.
    Schema,
    /// It changes rows, which no catalog shows.
    Rows,
    /// It says something about what is there (privileges, comments, settings): not looked at.
    Remark,
    /// It lasts no longer than the session.
    Session,
    /// It may do anything: `DO`, `SELECT f()`, `CALL`, and what this tool does not know.
    #[default]
    Unknown,
}

/// A statement of transaction control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Begin,
    Commit,
    Rollback,
}

/// What a statement does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// Its first words, for messages.
    pub(crate) title: String,
    /// How much of it is known.
    pub(crate) effects: Effects,
    /// What the catalog shows afterwards.
    pub(crate) marks: Vec<Mark>,
    /// What must be there before.
    pub(crate) needs: Vec<Object>,
    /// What it seems to use: counts as needed where some file makes it.
    pub(crate) uses: Vec<Object>,
    /// `IF NOT EXISTS`: where the first thing that it makes is there, it does nothing at all.
    pub(crate) if_not_exists: bool,
    /// What it makes has columns that its text does not name.
    pub(crate) opaque: bool,
    /// Running it again where it has run does no harm.
    pub(crate) repeatable: bool,
    /// Why it cannot run inside a transaction.
    pub(crate) alone: Option<&'static str>,
    /// Whether it begins or ends a transaction.
    pub(crate) control: Option<Control>,
    /// `COPY … FROM stdin`: rows follow it in the file.
    pub(crate) rows_follow: bool,
    /// The search path, where the file has set one.
    pub(crate) path: Option<Vec<String>>,
}

impl Effect {
    pub(super) fn makes(&mut self, object: Object) {
        self.marks.push(Mark::Present(object));
    }

    pub(super) fn takes(&mut self, object: Object) {
        self.marks.push(Mark::Absent(object));
    }

    /// A relation that must be there; with `IF EXISTS` it only counts where a file makes it.
    pub(super) fn needs_relation(&mut self, name: &Written, if_exists: bool) {
        if is_the_servers(name) {
            return;
        }
        let object = Object::Relation(name.clone());
        if if_exists { self.uses.push(object) } else { self.needs.push(object) }
    }
}

/// What earlier statements of a file have left in its session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    path: Option<Vec<String>>,
    /// Temporary relations: they hide others, and nobody else sees them.
    pub(super) temporary: Vec<String>,
}

/// Reads a statement.
pub(crate) fn of(tokens: &[Token], session: &mut Session) -> Effect {
    let words = tokens.iter().filter_map(Token::name).take(5).collect::<Vec<_>>().join(" ");
    let mut effect = Effect { title: words, path: session.path.clone(), ..Effect::default() };
    let mut reader = Reader::new(tokens);
    let first = reader.next().and_then(Token::name).unwrap_or_default().to_owned();
    let second = reader.peek().and_then(Token::name).unwrap_or_default();
    match first.as_str() {
        "create" => create::read(reader, &mut effect, session),
        "alter" => alter::alter(reader, &mut effect),
        "drop" => alter::drop(reader, &mut effect),
        "begin" => control(&mut effect, Control::Begin),
        "start" if second == "transaction" => control(&mut effect, Control::Begin),
        "commit" | "end" if second != "prepared" => control(&mut effect, Control::Commit),
        "rollback" | "abort" if !matches!(second, "to" | "prepared") => {
            control(&mut effect, Control::Rollback);
        }
        "rollback" if second == "to" => effect.effects = Effects::Session,
        "set" => set(reader, &mut effect, session),
        "reset" | "show" | "discard" | "lock" | "checkpoint" | "savepoint" | "release" | "listen"
        | "notify" | "analyze" | "analyse" => {
            (effect.effects, effect.repeatable) = (Effects::Session, true);
        }
        "grant" | "revoke" | "comment" | "security" => {
            (effect.effects, effect.repeatable) = (Effects::Remark, true);
            remark(tokens, &mut effect);
        }
        "insert" | "update" | "delete" | "merge" | "truncate" | "copy" | "refresh" => {
            rows(&first, reader, tokens, &mut effect);
        }
        "select" | "with" | "values" => select(tokens, &mut effect, session),
        "do" => {
            for token in tokens {
                if let Kind::Text(body) = &token.kind {
                    let body = super::lex::tokens(body, |_, _| ()).unwrap_or_default();
                    used(&body, &mut effect);
                }
            }
        }
        "call" => effect.alone = Some("a procedure may end transactions itself"),
        "vacuum" => {
            (effect.effects, effect.repeatable) = (Effects::Session, true);
            effect.alone = Some("VACUUM runs in no transaction");
        }
        "reindex" | "cluster" => {
            (effect.effects, effect.repeatable) = (Effects::Session, true);
            let whole = tokens.len() == 1 || matches!(second, "database" | "system" | "schema");
            if whole || has(tokens, "concurrently") {
                effect.alone = Some("REINDEX and CLUSTER of this form run in no transaction");
            }
        }
        _ => {}
    }
    effect.needs.retain(|object| !hidden(object, session));
    effect.uses.retain(|object| !hidden(object, session));
    effect
}

fn hidden(object: &Object, session: &Session) -> bool {
    object.written().is_some_and(|name| {
        name.schema.as_deref() == Some("pg_temp")
            || (name.schema.is_none() && session.temporary.contains(&name.name))
    })
}

fn control(effect: &mut Effect, control: Control) {
    (effect.effects, effect.control, effect.repeatable) = (Effects::Session, Some(control), true);
}

/// True for what every server has.
pub(super) fn is_the_servers(name: &Written) -> bool {
    match name.schema.as_deref() {
        Some(schema) => schema == "information_schema" || schema.starts_with("pg_"),
        None => name.name.starts_with("pg_"),
    }
}

/// True when a key word stands anywhere in the statement.
pub(super) fn has(tokens: &[Token], word: &str) -> bool {
    tokens.iter().any(|token| token.is(word))
}

/// True when these key words stand one after another, anywhere.
pub(super) fn has_all(tokens: &[Token], words: &[&str]) -> bool {
    tokens.windows(words.len()).any(|window| window.iter().zip(words).all(|(token, word)| token.is(word)))
}

/// `SET [SESSION|LOCAL] search_path TO a, "b"`; the rest of `SET` is of no interest.
fn set(mut reader: Reader<'_>, effect: &mut Effect, session: &mut Session) {
    (effect.effects, effect.repeatable) = (Effects::Session, true);
    let _ = reader.eat("session") || reader.eat("local");
    if !reader.eat("search_path") {
        return;
    }
    let mut path = Vec::new();
    while let Some(token) = reader.next() {
        match &token.kind {
            Kind::Text(name) | Kind::Quoted(name) => path.push(name.clone()),
            Kind::Word(word) if !matches!(word.as_str(), "to" | "default") => path.push(word.clone()),
            _ => {}
        }
    }
    path.retain(|name| !name.is_empty() && name != "$user");
    session.path = Some(path);
}

/// What a comment or a privilege is about.
fn remark(tokens: &[Token], effect: &mut Effect) {
    let Some(on) = tokens.iter().position(|token| token.is("on")) else { return };
    let mut reader = Reader::new(tokens.get(on + 1..).unwrap_or_default());
    if reader.eat("column") {
        let Some(mut path) = reader.qualified() else { return };
        // `[schema.]table.column`: the last part is the column.
        let mut parts: Vec<&str> =
            tokens.get(on + 2..).unwrap_or_default().iter().map_while(|t| t.name().or(Some("."))).collect();
        parts.truncate(5);
        if let [schema, ".", table, ".", column] = parts.as_slice() {
            path = Written { schema: Some((*schema).to_owned()), name: (*table).to_owned() };
            effect.needs.push(Object::Column(path, (*column).to_owned()));
        } else if let Some(table) = path.schema.take() {
            let column = std::mem::replace(&mut path.name, table);
            effect.needs.push(Object::Column(path, column));
        }
        return;
    }
    let relation = ["table", "view", "materialized view", "sequence", "index"];
    if relation.iter().any(|words| reader.eat(words))
        && let Some(name) = reader.qualified()
    {
        effect.needs_relation(&name, false);
    }
}

fn rows(first: &str, mut reader: Reader<'_>, tokens: &[Token], effect: &mut Effect) {
    effect.effects = Effects::Rows;
    let _ = reader.eat("into") || reader.eat("from") || reader.eat("table");
    let refresh = first == "refresh" && reader.eat("materialized view");
    let _ = reader.eat("concurrently");
    let _ = reader.eat("only");
    if let Some(name) = reader.qualified() {
        effect.needs_relation(&name, false);
    }
    used(tokens, effect);
    effect.repeatable = refresh
        || (first == "insert"
            && (has_all(tokens, &["on", "conflict"]) || has_all(tokens, &["where", "not", "exists"])));
    effect.rows_follow = first == "copy" && has_all(tokens, &["from", "stdin"]);
}

/// A query may call functions that change anything; `INTO` makes a table.
fn select(tokens: &[Token], effect: &mut Effect, session: &mut Session) {
    used(tokens, effect);
    let texts: Vec<&Kind> = tokens.iter().map(|token| &token.kind).collect();
    let setting = |name: &str| texts.iter().any(|kind| matches!(kind, Kind::Text(text) if text == name));
    if has(tokens, "set_config") && setting("search_path") {
        // As pg_dump writes it: then every name that follows is qualified.
        session.path = Some(Vec::new());
        (effect.effects, effect.repeatable) = (Effects::Session, true);
        return;
    }
    if ["insert", "update", "delete"].iter().any(|word| has(tokens, word)) {
        effect.effects = Effects::Rows;
    }
    // Functions of extensions such as TimescaleDB's say so by a named argument.
    effect.repeatable = has(tokens, "if_not_exists");
}

/// What a statement seems to use: names after FROM, JOIN and the like, and functions that it calls.
pub(super) fn used(tokens: &[Token], effect: &mut Effect) {
    let mut openers: Vec<bool> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        match &token.kind {
            Kind::Other('(') => {
                // `extract(epoch FROM x)`: a FROM that names no table.
                let special = ["extract", "substring", "trim", "overlay", "position"];
                openers.push(before.is_some_and(|token| special.iter().any(|word| token.is(word))));
                let mut name = Written { schema: None, name: String::new() };
                if let Some(Kind::Word(word) | Kind::Quoted(word)) = before.map(|token| &token.kind) {
                    name.name.clone_from(word);
                    effect.uses.push(Object::Function(name));
                }
            }
            Kind::Other(')') => {
                openers.pop();
            }
            Kind::Word(word) if matches!(word.as_str(), "from" | "join" | "into" | "update" | "table") => {
                let special = openers.last() == Some(&true)
                    || (word == "from" && before.is_some_and(|token| token.is("distinct")));
                let mut reader = Reader::new(tokens.get(at + 1..).unwrap_or_default());
                let _ = reader.eat("if exists");
                let _ = reader.eat("only");
                if let (false, Some(name)) = (special, reader.qualified()) {
                    let call = reader.peek().is_some_and(|token| token.is_char('(')) && word != "into";
                    if !call && !is_the_servers(&name) {
                        effect.uses.push(Object::Relation(name));
                    }
                }
            }
            _ => {}
        }
    }
}
