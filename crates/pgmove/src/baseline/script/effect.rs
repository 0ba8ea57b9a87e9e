//! What a statement creates, drops and needs, as far as its text shows. Everything else is treated as unknown, never
//! guessed.

use std::fmt;

use super::lex::{Kind, Token};
use super::names::{Reader, Written};
use super::{alter, create};

/// An object by name. Overloads of functions are not distinguished.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    Schema(String),
    Extension(String),
    /// A table, view, index or sequence, which share a namespace.
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
    /// The name that determines the object's schema, if it is in one.
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

    /// The same object in another schema or table.
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

/// What a catalog shows after a statement has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The object exists.
    Present(Object),
    /// It exists, possibly since before: `CREATE OR REPLACE`.
    Replaced(Object),
    /// It does not exist.
    Absent(Object),
    /// A column has this type.
    Type(Written, String, String),
    /// Whether a column is NOT NULL.
    NotNull(Written, String, bool),
    /// Whether a column has a default of any value.
    Default(Written, String, bool),
    /// An enum has this label.
    Label(Written, String),
}

/// How much of a statement's effect is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Effects {
    /// It changes the schema as the marks say.
    Schema,
    /// It changes rows, which no catalog shows.
    Rows,
    /// It changes properties (privileges, comments, settings) that are not checked.
    Remark,
    /// It is limited to the session.
    Session,
    /// It may do anything: `DO`, `SELECT f()`, `CALL`, and unknown statements.
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

/// The effect of a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// Its first words, for messages.
    pub(crate) title: String,
    /// How much of it is known.
    pub(crate) effects: Effects,
    /// What the catalog shows afterwards.
    pub(crate) marks: Vec<Mark>,
    /// What must exist before.
    pub(crate) needs: Vec<Object>,
    /// What it seems to use: a need if some file creates it.
    pub(crate) uses: Vec<Object>,
    /// `IF NOT EXISTS`: if the first created object exists, the statement is a no-op.
    pub(crate) if_not_exists: bool,
    /// It creates relations with columns that its text does not list.
    pub(crate) opaque: bool,
    /// Running it again is harmless.
    pub(crate) repeatable: bool,
    /// Why it cannot run inside a transaction.
    pub(crate) outside_transaction: Option<&'static str>,
    /// Whether it begins or ends a transaction.
    pub(crate) control: Option<Control>,
    /// `COPY … FROM stdin`: rows follow it in the file.
    pub(crate) rows_follow: bool,
    /// The search path, if the file has set one.
    pub(crate) path: Option<Vec<String>>,
}

impl Effect {
    pub(super) fn makes(&mut self, object: Object) {
        self.marks.push(Mark::Present(object));
    }

    pub(super) fn takes(&mut self, object: Object) {
        self.marks.push(Mark::Absent(object));
    }

    /// A required relation; with `IF EXISTS`, only if a file creates it.
    pub(super) fn needs_relation(&mut self, name: &Written, if_exists: bool) {
        if is_the_servers(name) {
            return;
        }
        let object = Object::Relation(name.clone());
        if if_exists { self.uses.push(object) } else { self.needs.push(object) }
    }
}

/// The state of a file's session after its earlier statements.
#[derive(Debug, Default)]
pub(crate) struct Session {
    path: Option<Vec<String>>,
    /// Temporary relations, which shadow others and are invisible outside.
    pub(super) temporary: Vec<String>,
}

/// Analyzes a statement.
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
            comment(tokens, &mut effect);
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
        "call" => effect.outside_transaction = Some("a procedure may contain COMMIT or ROLLBACK"),
        "vacuum" => {
            (effect.effects, effect.repeatable) = (Effects::Session, true);
            effect.outside_transaction = Some("VACUUM cannot run inside a transaction");
        }
        "reindex" | "cluster" => {
            (effect.effects, effect.repeatable) = (Effects::Session, true);
            let whole = tokens.len() == 1 || matches!(second, "database" | "system" | "schema");
            if whole || has(tokens, "concurrently") {
                effect.outside_transaction =
                    Some("this form of REINDEX or CLUSTER cannot run inside a transaction");
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

/// True for objects that exist on every server.
pub(super) fn is_the_servers(name: &Written) -> bool {
    match name.schema.as_deref() {
        Some(schema) => schema == "information_schema" || schema.starts_with("pg_"),
        None => name.name.starts_with("pg_"),
    }
}

/// True if a keyword occurs anywhere in the statement.
pub(super) fn has(tokens: &[Token], word: &str) -> bool {
    tokens.iter().any(|token| token.is(word))
}

/// True if these keywords occur in sequence.
pub(super) fn has_all(tokens: &[Token], words: &[&str]) -> bool {
    tokens.windows(words.len()).any(|window| window.iter().zip(words).all(|(token, word)| token.is(word)))
}

/// `SET [SESSION|LOCAL] search_path TO a, "b"`; other settings are ignored.
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

/// The object of a comment or privilege.
fn comment(tokens: &[Token], effect: &mut Effect) {
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

/// A query may call functions with any effect; `INTO` creates a table.
fn select(tokens: &[Token], effect: &mut Effect, session: &mut Session) {
    used(tokens, effect);
    let texts: Vec<&Kind> = tokens.iter().map(|token| &token.kind).collect();
    let setting = |name: &str| texts.iter().any(|kind| matches!(kind, Kind::Text(text) if text == name));
    if has(tokens, "set_config") && setting("search_path") {
        // As pg_dump writes it: all following names are qualified.
        session.path = Some(Vec::new());
        (effect.effects, effect.repeatable) = (Effects::Session, true);
        return;
    }
    if ["insert", "update", "delete"].iter().any(|word| has(tokens, word)) {
        effect.effects = Effects::Rows;
    }
    // Functions of extensions such as TimescaleDB indicate it by a named argument.
    effect.repeatable = has(tokens, "if_not_exists");
}

/// What a statement seems to use: names after FROM, JOIN and the like, and called functions.
pub(super) fn used(tokens: &[Token], effect: &mut Effect) {
    let mut openers: Vec<bool> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        match &token.kind {
            Kind::Other('(') => {
                // `extract(epoch FROM x)`: a FROM without a table.
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
