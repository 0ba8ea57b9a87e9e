//! The effects of `CREATE …`.

use super::effect::{Effect, Effects, Mark, Object, Session, has, has_all, used};
use super::lex::Token;
use super::names::{Reader, Written, parts};
use crate::baseline::types::CanonicalType;

/// Functions that indicate the use of well-known extensions.
const FUNCTIONS: &[(&str, &[&str])] = &[
    ("pg_trgm", &["similarity"]),
    ("pgcrypto", &["crypt", "digest", "gen_random_bytes", "gen_salt", "hmac"]),
    ("timescaledb", &["add_compression_policy", "add_retention_policy", "create_hypertable", "time_bucket"]),
    ("unaccent", &["unaccent"]),
    ("uuid-ossp", &["uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "uuid_generate_v5"]),
];

/// Types that well-known extensions define.
const TYPES: &[&str] =
    &["citext", "cube", "geography", "geometry", "halfvec", "hstore", "ltree", "sparsevec", "vector"];

pub(super) fn read(mut reader: Reader<'_>, effect: &mut Effect, session: &mut Session) {
    let replace = reader.eat("or replace");
    let _ = reader.eat("local") || reader.eat("global");
    let temporary = reader.eat("temp") || reader.eat("temporary");
    let _ = reader.eat("unlogged") || reader.eat("recursive") || reader.eat("foreign");
    let unique = reader.eat("unique");
    let constraint = reader.eat("constraint");
    effect.effects = Effects::Schema;
    if reader.eat("table") {
        table(reader, effect, session, temporary);
    } else if reader.eat("index") {
        index(reader, effect);
    } else if !unique && (reader.eat("view") || reader.eat("materialized view")) {
        view(reader, effect, session, temporary, replace);
    } else if reader.eat("trigger") || (!constraint && (reader.eat("policy") || reader.eat("rule"))) {
        on_table(reader, effect, replace);
    } else {
        other(reader, effect, replace);
    }
}

fn if_not_exists(reader: &mut Reader<'_>, effect: &mut Effect) {
    if reader.eat("if not exists") {
        (effect.if_not_exists, effect.repeatable) = (true, true);
    }
}

fn table(mut reader: Reader<'_>, effect: &mut Effect, session: &mut Session, temporary: bool) {
    if_not_exists(&mut reader, effect);
    let Some(name) = reader.qualified() else { return unknown(effect) };
    if temporary {
        effect.effects = Effects::Session;
        session.temporary.push(name.name);
        used(reader.rest(), effect);
        return;
    }
    effect.makes(Object::Relation(name.clone()));
    effect.opaque = true;
    if reader.eat("partition of") {
        if let Some(parent) = reader.qualified() {
            effect.needs_relation(&parent, false);
        }
    } else if let Some(columns) = reader.group() {
        effect.opaque = false;
        for part in parts(columns) {
            element(part, &name, effect);
        }
    }
    if reader.eat("inherits") {
        effect.opaque = true;
        for parent in parts(reader.group().unwrap_or_default()) {
            if let Some(parent) = Reader::new(parent).qualified() {
                effect.needs_relation(&parent, false);
            }
        }
    }
    used(reader.rest(), effect);
}

/// A column, or a constraint of the table.
fn element(part: &[Token], table: &Written, effect: &mut Effect) {
    let mut reader = Reader::new(part);
    if reader.eat("like") {
        effect.opaque = true;
        if let Some(other) = reader.qualified() {
            effect.needs_relation(&other, false);
        }
    } else if ["constraint", "primary", "unique", "check", "foreign", "exclude"]
        .iter()
        .any(|word| part.first().is_some_and(|token| token.is(word)))
    {
        constraints(part, table, effect);
    } else {
        column(reader, table, effect);
    }
}

/// `name type [constraints]`, in CREATE TABLE and in ADD COLUMN.
pub(super) fn column(mut reader: Reader<'_>, table: &Written, effect: &mut Effect) {
    let Some(name) = reader.name() else { return };
    effect.makes(Object::Column(table.clone(), name));
    let mut ahead = reader;
    if let Some(kind) = ahead.qualified() {
        uses_type(kind, effect);
    }
    constraints(reader.rest(), table, effect);
}

pub(super) fn uses_type(kind: Written, effect: &mut Effect) {
    let meaning = CanonicalType::of(&kind.name);
    if !meaning.is_known() || meaning.extension().is_some() {
        effect.uses.push(Object::Type(kind));
    }
}

/// Named constraints, the tables that they reference, and functions called by defaults.
pub(super) fn constraints(tokens: &[Token], table: &Written, effect: &mut Effect) {
    used(tokens, effect);
    for (at, token) in tokens.iter().enumerate() {
        let mut after = Reader::new(tokens.get(at + 1..).unwrap_or_default());
        if token.is("references") {
            if let Some(other) = after.qualified().filter(|other| other != table) {
                effect.needs_relation(&other, false);
            }
        } else if token.is("constraint")
            && let Some(name) = after.name()
            // NOT NULL is a constraint in the catalog only since 18.
            && !(after.eat("not") || after.eat("null") || after.eat("default") || after.eat("generated"))
        {
            effect.makes(Object::Constraint(table.clone(), name));
        }
    }
}

fn index(mut reader: Reader<'_>, effect: &mut Effect) {
    if reader.eat("concurrently") {
        effect.outside_transaction = Some("CREATE INDEX CONCURRENTLY cannot run inside a transaction");
    }
    if_not_exists(&mut reader, effect);
    let name = if reader.peek().is_some_and(|token| token.is("on")) { None } else { reader.qualified() };
    let _ = reader.eat("on") && reader.eat("only");
    let Some(table) = reader.qualified() else { return unknown(effect) };
    effect.needs_relation(&table, false);
    match name {
        // An index is in its table's schema.
        Some(name) => effect.makes(Object::Relation(Written { schema: table.schema.clone(), ..name })),
        // The server generates the name, so its existence cannot be checked.
        None => effect.effects = Effects::Unknown,
    }
    let mut ahead = reader;
    if ahead.eat("using") {
        let _ = ahead.name();
    }
    for part in parts(ahead.group().unwrap_or_default()) {
        if let [token] | [token, ..] = part
            && let Some(column) = token.name()
            && !part.get(1).is_some_and(|next| next.is_char('(') || next.is_char('.'))
        {
            effect.needs.push(Object::Column(table.clone(), column.to_owned()));
        }
    }
    used(reader.rest(), effect);
}

fn view(mut reader: Reader<'_>, effect: &mut Effect, session: &mut Session, temporary: bool, replace: bool) {
    if_not_exists(&mut reader, effect);
    let Some(name) = reader.qualified() else { return unknown(effect) };
    let rest = reader.rest();
    used(rest, effect);
    if temporary {
        effect.effects = Effects::Session;
        session.temporary.push(name.name);
        return;
    }
    made(Object::Relation(name), effect, replace);
    effect.opaque = true;
    let continuous = rest.windows(3).any(|window| match window {
        [a, b, c] => a.is("timescaledb") && b.is_char('.') && c.is("continuous"),
        _ => false,
    });
    if continuous && !has_all(rest, &["with", "no", "data"]) {
        effect.outside_transaction =
            Some("a continuous aggregate WITH DATA cannot be created inside a transaction");
    }
}

fn made(object: Object, effect: &mut Effect, replace: bool) {
    if replace {
        effect.repeatable = true;
        effect.marks.push(Mark::Replaced(object));
    } else {
        effect.makes(object);
    }
}

/// A trigger or policy: `name … ON table`; a rule: `name AS ON event TO table`.
fn on_table(mut reader: Reader<'_>, effect: &mut Effect, replace: bool) {
    let title = effect.title.clone();
    let Some(name) = reader.name() else { return unknown(effect) };
    let rule = reader.eat("as");
    let before = if rule { "to" } else { "on" };
    while reader.next().is_some_and(|token| !token.is(before)) {}
    let Some(table) = reader.qualified() else { return unknown(effect) };
    effect.needs_relation(&table, false);
    used(reader.rest(), effect);
    let object = if rule {
        Object::Rule(table, name)
    } else if title.contains("trigger") {
        Object::Trigger(table, name)
    } else {
        Object::Policy(table, name)
    };
    made(object, effect, replace);
}

fn other(mut reader: Reader<'_>, effect: &mut Effect, replace: bool) {
    let kind = reader.name().unwrap_or_default();
    if_not_exists(&mut reader, effect);
    match kind.as_str() {
        "schema" => {
            let _ = reader.eat("authorization");
            match reader.name() {
                Some(name) => effect.makes(Object::Schema(name)),
                None => unknown(effect),
            }
        }
        "extension" => {
            let Some(name) = reader.name() else { return unknown(effect) };
            let bare = |name: &str| Written { schema: None, name: name.to_owned() };
            for kind in TYPES.iter().filter(|kind| CanonicalType::of(kind).extension() == Some(name.as_str()))
            {
                effect.makes(Object::Type(bare(kind)));
            }
            for (_, functions) in FUNCTIONS.iter().filter(|(extension, _)| *extension == name) {
                for function in *functions {
                    effect.makes(Object::Function(bare(function)));
                }
            }
            // First in the list: if it exists, the statement is a no-op.
            effect.marks.insert(0, Mark::Present(Object::Extension(name)));
        }
        "sequence" | "type" | "domain" | "function" | "procedure" | "aggregate" => {
            let Some(name) = reader.qualified() else { return unknown(effect) };
            let object = match kind.as_str() {
                "sequence" => Object::Relation(name),
                "type" | "domain" => Object::Type(name),
                _ => Object::Function(name),
            };
            made(object, effect, replace);
        }
        "database" | "tablespace" | "subscription" => {
            unknown(effect);
            effect.outside_transaction =
                Some("databases, tablespaces and subscriptions cannot be created inside a transaction");
        }
        _ => unknown(effect),
    }
    if has(reader.rest(), "references") {
        used(reader.rest(), effect);
    }
}

fn unknown(effect: &mut Effect) {
    effect.effects = Effects::Unknown;
}
