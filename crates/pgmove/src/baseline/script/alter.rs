//! What `ALTER …` and `DROP …` make, take away and need.

use super::create::{column, constraints, uses_type};
use super::effect::{Effect, Effects, Mark, Object, used};
use super::lex::{Kind, Token};
use super::names::{Reader, Written, parts};

pub(super) fn alter(mut reader: Reader<'_>, effect: &mut Effect) {
    effect.effects = Effects::Schema;
    if reader.eat("table") || reader.eat("foreign table") {
        table(reader, effect);
    } else if reader.eat("index") || reader.eat("sequence") {
        // The server may have invented its name, for a constraint or a serial column.
        relation(reader, effect, true);
    } else if reader.eat("view") || reader.eat("materialized view") {
        relation(reader, effect, false);
    } else if reader.eat("type") {
        kind(reader, effect);
    } else if reader.eat("schema") {
        if let (Some(old), true, Some(new)) = (reader.name(), reader.eat("rename to"), reader.name()) {
            effect.takes(Object::Schema(old));
            effect.makes(Object::Schema(new));
        } else {
            remark(effect);
        }
    } else if reader.eat("extension") {
        effect.needs.extend(reader.name().map(Object::Extension));
        remark(effect);
    } else if reader.eat("system") {
        effect.effects = Effects::Unknown;
        effect.alone = Some("ALTER SYSTEM runs in no transaction");
    } else if reader.eat("default privileges") || reader.eat("database") {
        remark(effect);
    } else {
        effect.effects = Effects::Unknown;
    }
}

fn remark(effect: &mut Effect) {
    (effect.effects, effect.repeatable) = (Effects::Remark, true);
}

/// The statement's object, and whether it may be missing.
fn named(reader: &mut Reader<'_>, effect: &mut Effect) -> Option<Written> {
    let if_exists = reader.eat("if exists");
    let _ = reader.eat("only");
    let name = reader.qualified();
    let _ = reader.eat_char('*');
    match &name {
        Some(name) => effect.needs_relation(name, if_exists),
        None => effect.effects = Effects::Unknown,
    }
    name
}

fn table(mut reader: Reader<'_>, effect: &mut Effect) {
    let Some(name) = named(&mut reader, effect) else { return };
    if renamed(reader, &name, effect) {
        return;
    }
    let (mut repeatable, mut told) = (true, false);
    for part in parts(reader.rest()) {
        match action(Reader::new(part), &name, effect) {
            Action::Marked { again } => (repeatable, told) = (repeatable && again, true),
            Action::Remark => {}
            Action::Unknown => {
                effect.effects = Effects::Unknown;
                repeatable = false;
            }
        }
    }
    effect.repeatable = repeatable;
    if !told && effect.effects == Effects::Schema {
        effect.effects = Effects::Remark;
    }
}

/// What one action of an ALTER TABLE is to us.
enum Action {
    /// The catalog shows it; `again`: doing it twice does no harm.
    Marked { again: bool },
    /// It is about what is there, and is not looked at.
    Remark,
    /// It cannot be told whether it has been done, and doing it again may fail.
    Unknown,
}

fn action(mut reader: Reader<'_>, table: &Written, effect: &mut Effect) -> Action {
    if reader.eat("add") {
        return add(reader, table, effect);
    }
    if reader.eat("drop") {
        let constraint = reader.eat("constraint");
        let _ = !constraint && reader.eat("column");
        let again = reader.eat("if exists");
        let Some(name) = reader.name() else { return Action::Unknown };
        let object = match constraint {
            true => Object::Constraint(table.clone(), name),
            false => Object::Column(table.clone(), name),
        };
        // The server may have invented a constraint's name.
        match (again, constraint) {
            (false, false) => effect.needs.push(object.clone()),
            _ => effect.uses.push(object.clone()),
        }
        effect.takes(object);
        return Action::Marked { again };
    }
    if reader.eat("alter") {
        let _ = reader.eat("column");
        return alter_column(reader, table, effect);
    }
    if reader.eat("attach partition") {
        if let Some(partition) = reader.qualified() {
            effect.needs_relation(&partition, false);
        }
        return Action::Unknown;
    }
    if reader.eat("detach partition") {
        if reader.rest().iter().any(|token| token.is("concurrently")) {
            effect.alone = Some("DETACH PARTITION CONCURRENTLY runs in no transaction");
        }
        return Action::Unknown;
    }
    if reader.eat("inherit") || reader.eat("no inherit") {
        return Action::Unknown;
    }
    // Owner, options, row security, triggers on and off, validation, clustering: once or twice is the same.
    Action::Remark
}

fn add(mut reader: Reader<'_>, table: &Written, effect: &mut Effect) -> Action {
    let rest = reader.rest();
    if rest.first().is_some_and(|token| token.is("constraint")) {
        constraints(rest, table, effect);
        return Action::Marked { again: false };
    }
    if ["primary", "unique", "check", "foreign", "exclude"]
        .iter()
        .any(|word| rest.first().is_some_and(|token| token.is(word)))
    {
        // The server invents its name.
        constraints(rest, table, effect);
        return Action::Unknown;
    }
    let _ = reader.eat("column");
    let again = reader.eat("if not exists");
    column(reader, table, effect);
    Action::Marked { again }
}

fn alter_column(mut reader: Reader<'_>, table: &Written, effect: &mut Effect) -> Action {
    let Some(column) = reader.name() else { return Action::Unknown };
    effect.needs.push(Object::Column(table.clone(), column.clone()));
    let mark = if reader.eat("type") || reader.eat("set data type") {
        let mut ahead = reader;
        if let Some(kind) = ahead.qualified() {
            uses_type(kind, effect);
        }
        Mark::Type(table.clone(), column, type_text(reader.rest()))
    } else if reader.eat("set not null") {
        Mark::NotNull(table.clone(), column, true)
    } else if reader.eat("drop not null") {
        Mark::NotNull(table.clone(), column, false)
    } else if reader.eat("set default") {
        used(reader.rest(), effect);
        Mark::Default(table.clone(), column, true)
    } else if reader.eat("drop default") {
        Mark::Default(table.clone(), column, false)
    } else if reader.eat("add generated") {
        effect.marks.push(Mark::Default(table.clone(), column, true));
        return Action::Marked { again: false };
    } else {
        return Action::Remark;
    };
    // Converting a column by an expression a second time would convert what is converted.
    let again = !reader.rest().iter().any(|token| token.is("using"));
    effect.marks.push(mark);
    Action::Marked { again }
}

/// The type up to what may follow it.
fn type_text(tokens: &[Token]) -> String {
    let mut out = String::new();
    for token in tokens.iter().take_while(|token| !token.is("using") && !token.is("collate")) {
        match &token.kind {
            Kind::Word(word) => {
                if out.ends_with(|c: char| c.is_alphanumeric() || c == ')') {
                    out.push(' ');
                }
                out.push_str(word);
            }
            Kind::Quoted(name) => out.push_str(&format!("\"{}\"", name.replace('"', "\"\""))),
            Kind::Number(digits) => out.push_str(digits),
            Kind::Other(c) => out.push(*c),
            _ => {}
        }
    }
    out
}

/// `RENAME …` and `SET SCHEMA …`: true when it is one of them.
fn renamed(mut reader: Reader<'_>, name: &Written, effect: &mut Effect) -> bool {
    if reader.eat("set schema") {
        if let Some(schema) = reader.name() {
            effect.needs.push(Object::Schema(schema.clone()));
            effect.takes(Object::Relation(name.clone()));
            effect.makes(Object::Relation(Written { schema: Some(schema), name: name.name.clone() }));
        }
        return true;
    }
    if !reader.eat("rename") {
        return false;
    }
    if reader.eat("to") {
        if let Some(new) = reader.name() {
            effect.takes(Object::Relation(name.clone()));
            effect.makes(Object::Relation(Written { schema: name.schema.clone(), name: new }));
        }
        return true;
    }
    let constraint = reader.eat("constraint");
    let _ = !constraint && reader.eat("column");
    if let (Some(old), true, Some(new)) = (reader.name(), reader.eat("to"), reader.name()) {
        let object = |name: String, table: &Written| match constraint {
            true => Object::Constraint(table.clone(), name),
            false => Object::Column(table.clone(), name),
        };
        let needed = object(old.clone(), name);
        if constraint {
            effect.uses.push(needed)
        } else {
            effect.needs.push(needed)
        }
        effect.takes(object(old, name));
        effect.makes(object(new, name));
    }
    true
}

fn relation(mut reader: Reader<'_>, effect: &mut Effect, invented: bool) {
    let Some(name) = named(&mut reader, effect) else { return };
    if invented {
        effect.uses.append(&mut effect.needs);
    }
    if !renamed(reader, &name, effect) {
        remark(effect);
    }
}

fn kind(mut reader: Reader<'_>, effect: &mut Effect) {
    let Some(name) = reader.qualified() else {
        effect.effects = Effects::Unknown;
        return;
    };
    effect.needs.push(Object::Type(name.clone()));
    if reader.eat("add value") {
        effect.repeatable = reader.eat("if not exists");
        if let Some(Kind::Text(label)) = reader.next().map(|token| &token.kind) {
            effect.marks.push(Mark::Label(name, label.clone()));
        }
    } else if let (true, Some(new)) = (reader.eat("rename to"), reader.name()) {
        effect.takes(Object::Type(name.clone()));
        effect.makes(Object::Type(Written { schema: name.schema, name: new }));
    } else if reader.eat("owner") {
        remark(effect);
    } else {
        effect.effects = Effects::Unknown;
    }
}

pub(super) fn drop(mut reader: Reader<'_>, effect: &mut Effect) {
    effect.effects = Effects::Schema;
    let kinds = ["materialized view", "foreign table", "table", "view", "index", "sequence", "schema"];
    let more = ["extension", "type", "domain", "trigger", "policy", "rule"];
    let Some(kind) = kinds.iter().chain(&more).find(|words| reader.eat(words)) else {
        // A function is dropped with its arguments, which are not told apart here.
        effect.repeatable = reader.name().is_some() && reader.eat("if exists");
        let alone = ["drop database", "drop tablespace", "drop subscription"];
        if alone.iter().any(|words| effect.title.starts_with(words)) {
            effect.alone = Some("databases, tablespaces and subscriptions are dropped in no transaction");
        }
        effect.effects = Effects::Unknown;
        return;
    };
    if reader.eat("concurrently") {
        effect.alone = Some("DROP INDEX CONCURRENTLY runs in no transaction");
    }
    effect.repeatable = reader.eat("if exists");
    for part in parts(reader.rest()) {
        let mut part = Reader::new(part);
        let Some(name) = part.qualified() else {
            effect.effects = Effects::Unknown;
            return;
        };
        let object = match *kind {
            "schema" => Object::Schema(name.name),
            "extension" => Object::Extension(name.name),
            "type" | "domain" => Object::Type(name),
            "trigger" | "policy" | "rule" => {
                let (true, Some(table)) = (part.eat("on"), part.qualified()) else {
                    effect.effects = Effects::Unknown;
                    return;
                };
                match *kind {
                    "trigger" => Object::Trigger(table, name.name),
                    "policy" => Object::Policy(table, name.name),
                    _ => Object::Rule(table, name.name),
                }
            }
            _ => Object::Relation(name),
        };
        match (effect.repeatable, *kind) {
            (false, "index" | "sequence") | (true, _) => effect.uses.push(object.clone()),
            (false, _) => effect.needs.push(object.clone()),
        }
        effect.takes(object);
    }
}
