//! Checks a database against a baseline.

use toml::Spanned;

use super::declared::{Baseline, Column, Constraint, ConstraintKind, Index, Names, Table};
use super::error::BaselineError;
use super::observed::{Observed, ObservedConstraint, ObservedIndex, ObservedTable};
use super::outcome::{CheckOutcome, Finding, Severity};
use super::types::{CanonicalType, nearest};

/// Checks a database against a baseline. Without an environment, everything is required.
///
/// # Errors
/// [`BaselineError::UnknownType`] for a type that neither PostgreSQL nor the database knows: a misspelled baseline must
/// not look like a wrong database. [`BaselineError::UnknownEnvironment`] for an environment that the baseline does not
/// list.
pub fn check(
    baseline: &Baseline,
    observed: &Observed,
    environment: Option<&str>,
) -> Result<CheckOutcome, BaselineError> {
    if let Some(name) = environment {
        baseline.knows_environment(name)?;
    }
    let mut run = Run { baseline, environment, checked: 0, findings: Vec::new() };
    for (name, extension) in &baseline.extensions {
        let requirement = run.requirement(&[&extension.provided_by], &[&extension.optional_in]);
        run.present(
            observed.extensions.contains(name),
            &format!("extension {name}"),
            "installed".to_owned(),
            requirement,
        );
    }
    for (name, table) in &baseline.tables {
        let full = qualified(name);
        for (column, declared) in &table.columns {
            for type_name in declared.types() {
                run.known_type(&full, column, type_name, observed)?;
            }
        }
        run.table(&full, table, observed.tables.get(&full));
    }
    run.findings.sort_by(|a, b| (a.severity, &a.object).cmp(&(b.severity, &b.object)));
    Ok(CheckOutcome {
        passed: run.findings.iter().all(|finding| finding.severity == Severity::Optional),
        environment: environment.map(str::to_owned),
        checked: run.checked,
        findings: run.findings,
    })
}

/// A name without a schema is in `public`.
fn qualified(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("public.{name}") }
}

/// Whether an object is required, and what provides it.
#[derive(Clone)]
struct Requirement {
    optional: bool,
    provided_by: Vec<String>,
}

struct Run<'a> {
    baseline: &'a Baseline,
    environment: Option<&'a str>,
    checked: usize,
    findings: Vec<Finding>,
}

impl Run<'_> {
    fn known_type(
        &self,
        table: &str,
        column: &str,
        type_name: &Spanned<String>,
        observed: &Observed,
    ) -> Result<(), BaselineError> {
        let meaning = CanonicalType::of(type_name.get_ref());
        if meaning.is_known() || observed.types.contains(meaning.bare()) {
            return Ok(());
        }
        Err(BaselineError::UnknownType {
            line: self.baseline.line(type_name.span().start),
            table: table.to_owned(),
            column: column.to_owned(),
            type_name: type_name.get_ref().clone(),
            suggestion: nearest(
                meaning.bare(),
                super::types::names().chain(observed.types.iter().map(String::as_str)),
            ),
        })
    }

    fn table(&mut self, full: &str, table: &Table, seen: Option<&ObservedTable>) {
        let requirement = self.requirement(&[&table.provided_by], &[&table.optional_in]);
        self.present(seen.is_some(), &format!("table {full}"), "a table".to_owned(), requirement);
        // The parts of a missing table are not reported separately.
        let Some(seen) = seen else { return };
        for (name, column) in &table.columns {
            let requirement = self.requirement(
                &[&column.provided_by, &table.provided_by],
                &[&table.optional_in, &column.optional_in],
            );
            self.column(&format!("column {full}.{name}"), column, seen.columns.get(name), requirement);
        }
        for (name, index) in &table.indexes {
            let requirement = self.requirement(
                &[&index.provided_by, &table.provided_by],
                &[&table.optional_in, &index.optional_in],
            );
            self.index(&format!("index {name} on {full}"), name, index, seen, requirement);
        }
        for (name, constraint) in &table.constraints {
            let requirement = self.requirement(
                &[&constraint.provided_by, &table.provided_by],
                &[&table.optional_in, &constraint.optional_in],
            );
            self.constraint(&format!("constraint {name} on {full}"), name, constraint, seen, requirement);
        }
    }

    /// The first non-empty list of providers counts: a column's own before its table's. An object provided only by
    /// optional migrations is optional; otherwise only the required providers are reported.
    fn requirement(&self, providers: &[&Names], optional_in: &[&Names]) -> Requirement {
        let here = |names: &Names| self.environment.is_some_and(|environment| names.contains(environment));
        let providers = providers.iter().find(|names| !names.is_empty());
        let migrations = || {
            let all = self.baseline.migrations.iter();
            all.filter(|migration| providers.is_some_and(|names| names.contains(&migration.name)))
        };
        let by_migration = providers.is_some() && migrations().all(|migration| here(&migration.optional_in));
        let named = migrations().filter(|migration| by_migration || !here(&migration.optional_in));
        Requirement {
            optional: by_migration || optional_in.iter().any(|names| here(names)),
            provided_by: named.map(|migration| migration.name.clone()).collect(),
        }
    }

    fn present(&mut self, there: bool, object: &str, expected: String, requirement: Requirement) {
        self.checked += 1;
        if !there {
            let severity = if requirement.optional { Severity::Optional } else { Severity::Missing };
            self.found(severity, object, expected, "nothing".to_owned(), requirement);
        }
    }

    fn found(
        &mut self,
        severity: Severity,
        object: &str,
        expected: String,
        found: String,
        requirement: Requirement,
    ) {
        let (object, provided_by) = (object.to_owned(), requirement.provided_by);
        self.findings.push(Finding { severity, object, expected, found, provided_by });
    }

    fn column(
        &mut self,
        object: &str,
        declared: &Column,
        seen: Option<&super::observed::ObservedColumn>,
        requirement: Requirement,
    ) {
        let type_name = declared.type_for(self.environment).get_ref();
        self.present(seen.is_some(), object, type_name.clone(), requirement.clone());
        let Some(seen) = seen else { return };
        let mut wrong = Vec::new();
        if !CanonicalType::of(type_name).same(&CanonicalType::of(&seen.type_name)) {
            wrong.push((type_name.clone(), seen.type_name.clone()));
        }
        let words = |nullable| if nullable { "nullable" } else { "not null" }.to_owned();
        if let Some(nullable) = declared.nullable.filter(|nullable| *nullable != seen.nullable) {
            wrong.push((words(nullable), words(seen.nullable)));
        }
        let words = |default| if default { "a default" } else { "no default" }.to_owned();
        if let Some(default) = declared.default.filter(|default| *default != seen.default) {
            wrong.push((words(default), words(seen.default)));
        }
        for (expected, found) in wrong {
            self.found(Severity::Different, object, expected, found, requirement.clone());
        }
    }

    fn index(
        &mut self,
        object: &str,
        name: &str,
        declared: &Index,
        table: &ObservedTable,
        requirement: Requirement,
    ) {
        let same = |seen: &ObservedIndex| {
            seen.valid
                && (&seen.columns, seen.unique, &seen.method, seen.partial)
                    == (&declared.columns, declared.unique, &declared.method, declared.partial)
        };
        let expected = index_words(declared.unique, &declared.method, &declared.columns, declared.partial);
        let seen = table.indexes.get(name);
        // Index names are not part of an application's interface: an equivalent index with another name satisfies the
        // baseline.
        let there = seen.is_some() || table.indexes.values().any(same);
        self.present(there, object, expected.clone(), requirement.clone());
        if let Some(seen) = seen.filter(|seen| !same(seen)) {
            let mut found = index_words(seen.unique, &seen.method, &seen.columns, seen.partial);
            if !seen.valid {
                found.push_str(", not valid");
            }
            self.found(Severity::Different, object, expected, found, requirement);
        }
    }

    fn constraint(
        &mut self,
        object: &str,
        name: &str,
        declared: &Constraint,
        table: &ObservedTable,
        requirement: Requirement,
    ) {
        let references = declared.references.as_deref().map(qualified);
        let same = |seen: &ObservedConstraint| {
            (seen.kind, &seen.columns, &seen.references) == (declared.kind, &declared.columns, &references)
        };
        let expected = constraint_words(declared.kind, &declared.columns, references.as_deref());
        let seen = table.constraints.get(name);
        let elsewhere = || declared.kind != ConstraintKind::Check && table.constraints.values().any(same);
        self.present(seen.is_some() || elsewhere(), object, expected.clone(), requirement.clone());
        if let Some(seen) = seen.filter(|seen| !same(seen)) {
            let found = constraint_words(seen.kind, &seen.columns, seen.references.as_deref());
            self.found(Severity::Different, object, expected, found, requirement);
        }
    }
}

fn index_words(unique: bool, method: &str, columns: &[String], partial: bool) -> String {
    let unique = if unique { "unique " } else { "" };
    let partial = if partial { " where …" } else { "" };
    format!("{unique}{method} ({}){partial}", columns.join(", "))
}

fn constraint_words(kind: ConstraintKind, columns: &[String], references: Option<&str>) -> String {
    let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    let references = references.map(|table| format!(" references {table}")).unwrap_or_default();
    format!("{kind}{columns}{references}")
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
