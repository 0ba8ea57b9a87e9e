//! Schemas, extensions, functions, aggregates, and kinds of a single statement.

use super::script::Builder;
use crate::catalog::Object;
use crate::catalog::function::{Aggregate, Function};
use crate::catalog::plain::{Plain, PlainKind};
use crate::catalog::schema::{Extension, Schema};
use crate::quote::ident;

/// The role that owns `public` from 15 on.
pub(super) const PUBLIC_OWNER: &str = "pg_database_owner";

impl<'a> Builder<'a> {
    pub(super) fn schema(&mut self, schema: &'a Schema) {
        let name = ident(&schema.meta.name).into_owned();
        // New databases already contain `public`.
        if schema.meta.name != "public" {
            self.push(format!("CREATE SCHEMA {name}"));
        }
        if schema.meta.name != "public" || schema.meta.owner != PUBLIC_OWNER {
            self.owner("SCHEMA", &name, &schema.meta);
        }
        let usual = schema.meta.name == "public"
            && self.comment_of(schema.address(), 0) == Some("standard public schema");
        if !usual {
            self.annotations("SCHEMA", &name, schema.address(), 0);
        }
        // Every new database has that comment: if the source has none, it must be removed.
        let whole = self.catalog.filter.tables.is_empty()
            && !self.options.no_comments
            && !self.options.no_public_comment;
        if schema.meta.name == "public" && whole && self.comment_of(schema.address(), 0).is_none() {
            self.push(format!("COMMENT ON SCHEMA {name} IS NULL"));
        }
    }

    pub(super) fn extension(&mut self, extension: &'a Extension) {
        let name = ident(&extension.meta.name).into_owned();
        // A schema created by the extension's own script does not exist yet.
        let own = self.catalog.schemas.iter().any(|schema| {
            schema.meta.name == extension.target_schema
                && schema.meta.extension.as_ref() == Some(&extension.meta.name)
        });
        let schema =
            if own { String::new() } else { format!(" WITH SCHEMA {}", ident(&extension.target_schema)) };
        self.push(format!("CREATE EXTENSION IF NOT EXISTS {name}{schema}"));
        self.annotations("EXTENSION", &name, extension.address(), 0);
    }

    pub(super) fn function(&mut self, function: &'a Function) {
        // Without OR REPLACE, so that an existing function is a conflict.
        let definition = function.definition.trim_end().trim_end_matches(';');
        let sql = match definition.strip_prefix("CREATE OR REPLACE ") {
            Some(rest) => format!("CREATE {rest}"),
            None => definition.to_owned(),
        };
        self.push(sql);
        let keyword = if function.procedure { "PROCEDURE" } else { "FUNCTION" };
        let identity = format!("{}({})", function.meta.qualified(), function.arguments);
        self.owner(keyword, &identity, &function.meta);
        self.annotations(keyword, &identity, function.address(), 0);
    }

    pub(super) fn aggregate(&mut self, aggregate: &'a Aggregate) {
        let name = aggregate.meta.qualified();
        let star = |arguments: &str| if arguments.is_empty() { "*".to_owned() } else { arguments.to_owned() };
        let clauses: Vec<String> = aggregate
            .clauses
            .iter()
            .map(
                |(clause, value)| {
                    if value.is_empty() { clause.clone() } else { format!("{clause} = {value}") }
                },
            )
            .collect();
        self.push(format!(
            "CREATE AGGREGATE {name}({}) (\n    {}\n)",
            star(&aggregate.full_arguments),
            clauses.join(",\n    ")
        ));
        let identity = format!("{name}({})", star(&aggregate.arguments));
        self.owner("AGGREGATE", &identity, &aggregate.meta);
        self.annotations("AGGREGATE", &identity, aggregate.address(), 0);
    }

    pub(super) fn plain(&mut self, plain: &'a Plain) {
        let publication = matches!(
            plain.kind,
            PlainKind::Publication | PlainKind::PublicationTable | PlainKind::PublicationSchema
        );
        if publication && self.options.no_publications {
            return;
        }
        if plain.kind == PlainKind::UserMapping {
            self.user_mapping(plain);
            return;
        }
        let clauses: Vec<&str> = plain
            .clauses
            .iter()
            .filter(|clause| clause.applies(self.target))
            .map(|clause| clause.text.as_str())
            .collect();
        for (n, sql) in plain.statements.iter().enumerate() {
            match n {
                0 if !clauses.is_empty() => self.push(format!("{sql} ({})", clauses.join(", "))),
                _ => self.push(sql.clone()),
            }
        }
        self.owner(plain.kind.keyword(), &plain.identity, &plain.meta);
        if !matches!(plain.kind, PlainKind::PublicationTable | PlainKind::PublicationSchema) {
            self.annotations(plain.kind.keyword(), &plain.identity, plain.address(), 0);
        }
    }
    /// The statement names a role, which may be mapped to another name.
    fn user_mapping(&mut self, plain: &'a Plain) {
        for sql in &plain.statements {
            let sql = match sql.strip_prefix(MAPPING).and_then(leading_name) {
                Some((role, rest)) => format!("{MAPPING}{}{rest}", ident(self.options.role(&role))),
                None => sql.clone(),
            };
            self.push(sql);
        }
    }
}

const MAPPING: &str = "CREATE USER MAPPING FOR ";

/// The role of a user mapping; `None` for PUBLIC.
pub(super) fn mapped_role(plain: &Plain) -> Option<String> {
    let statement = plain.statements.first().filter(|_| plain.kind == PlainKind::UserMapping)?;
    leading_name(statement.strip_prefix(MAPPING)?).map(|(role, _)| role)
}

/// The unquoted name at the start of a text, and the rest; `None` for `PUBLIC`.
fn leading_name(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (name, _) = text.split_once(' ')?;
        return (name != "PUBLIC").then(|| (name.to_owned(), text.get(name.len()..).unwrap_or_default()));
    };
    let mut name = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                name.push('"');
            }
            '"' => return quoted.get(at + 1..).map(|rest| (name, rest)),
            _ => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_of_a_mapping_is_found_in_its_statement() {
        assert_eq!(leading_name("a_role SERVER s"), Some(("a_role".to_owned(), " SERVER s")));
        assert_eq!(leading_name("\"a \"\"b\" SERVER s"), Some(("a \"b".to_owned(), " SERVER s")));
        assert_eq!(leading_name("PUBLIC SERVER s"), None);
        assert_eq!(leading_name("\"PUBLIC\" SERVER s"), Some(("PUBLIC".to_owned(), " SERVER s")));
        assert_eq!(leading_name("\"open"), None);
    }
}
