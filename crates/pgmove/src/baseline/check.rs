//! A baseline held against a database.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::declared::{Baseline, BaselineError, FullColumn};
use super::types::{Meaning, nearest};
use crate::Error;
use crate::catalog::{self, Catalog, Filter};

/// A database as far as a baseline looks at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Tables and views by `schema.name`.
    pub tables: BTreeMap<String, ObservedTable>,
    /// Extensions.
    pub extensions: BTreeSet<String>,
    /// Names of types that the database has made.
    pub types: BTreeSet<String>,
}

/// A table that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedTable {
    /// Columns by name.
    pub columns: BTreeMap<String, ObservedColumn>,
    /// Names of indexes.
    pub indexes: BTreeSet<String>,
}

/// A column that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedColumn {
    /// The type as the server formats it.
    pub type_name: String,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Whether it has a default or makes its values itself.
    pub default: bool,
}

impl Observed {
    /// Looks at a live database.
    pub async fn read(client: &Client, server_version_num: u32) -> Result<Observed, Error> {
        Ok(Observed::from_catalog(&catalog::read(client, server_version_num, &Filter::default()).await?))
    }

    /// Looks at a stored catalog.
    pub fn from_catalog(catalog: &Catalog) -> Observed {
        let mut observed = Observed {
            extensions: catalog.extensions.iter().map(|extension| extension.meta.name.clone()).collect(),
            types: catalog.types.iter().map(|kind| kind.meta.name.to_lowercase()).collect(),
            ..Observed::default()
        };
        for table in &catalog.tables {
            let columns = table.columns.iter().map(|column| {
                let seen = ObservedColumn {
                    type_name: column.type_name.clone(),
                    nullable: !column.not_null,
                    default: column.default.is_some() || column.identity.is_some(),
                };
                (column.name.clone(), seen)
            });
            let key = format!("{}.{}", table.meta.schema, table.meta.name);
            observed.tables.entry(key).or_default().columns = columns.collect();
        }
        for index in &catalog.indexes {
            let key = format!("{}.{}", index.table.schema, index.table.name);
            if let Some(table) = observed.tables.get_mut(&key) {
                table.indexes.insert(index.meta.name.clone());
            }
        }
        observed
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A required object is not there.
    Missing,
    /// It is there, and is another one.
    Different,
    /// It is not there, and need not be in this environment.
    Optional,
}

/// One thing that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The object, such as `column public.daily_risk_state.buy_count`.
    pub object: String,
    /// What was declared.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// The migration that provides it, where one is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<String>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// True when nothing required is missing or different.
    pub passed: bool,
    /// The environment that was asked about.
    pub environment: Option<String>,
    /// Objects that were looked at.
    pub checked: usize,
    /// What is not as declared.
    pub findings: Vec<Finding>,
}

/// Holds a baseline against a database.
///
/// # Errors
/// [`BaselineError::UnknownType`] for a type that neither PostgreSQL nor the database knows: a misspelt baseline must
/// not look like a wrong database.
pub fn check(
    baseline: &Baseline,
    observed: &Observed,
    environment: Option<&str>,
) -> Result<Verdict, BaselineError> {
    let mut run = Run { baseline, environment, checked: 0, findings: Vec::new() };
    for (name, extension) in &baseline.extensions {
        let there = observed.extensions.contains(name);
        run.present(there, format!("extension {name}"), "installed", None, &[&extension.optional_in]);
    }
    for (name, table) in &baseline.tables {
        let full = if name.contains('.') { name.clone() } else { format!("public.{name}") };
        let columns: Vec<(&String, FullColumn)> = table.columns.iter().map(|(n, c)| (n, c.full())).collect();
        for (column, declared) in &columns {
            known_type(&full, column, declared, observed)?;
        }
        let migration = table.migration.as_deref();
        let seen = observed.tables.get(&full);
        run.present(seen.is_some(), format!("table {full}"), "a table", migration, &[&table.optional_in]);
        let Some(seen) = seen else { continue };
        for (column, declared) in &columns {
            run.column(&full, column, declared, seen, migration, &table.optional_in);
        }
        for index in &table.indexes {
            let there = seen.indexes.contains(index);
            run.present(there, format!("index {index} on {full}"), "an index", migration, &[&table.optional_in]);
        }
    }
    let passed = run.findings.iter().all(|finding| finding.severity == Severity::Optional);
    run.findings.sort_by(|a, b| (a.severity, &a.object).cmp(&(b.severity, &b.object)));
    Ok(Verdict {
        passed,
        environment: environment.map(str::to_owned),
        checked: run.checked,
        findings: run.findings,
    })
}

fn known_type(
    table: &str,
    column: &str,
    declared: &FullColumn,
    observed: &Observed,
) -> Result<(), BaselineError> {
    let meaning = Meaning::of(&declared.type_name);
    if meaning.is_known() || observed.types.contains(meaning.bare()) {
        return Ok(());
    }
    Err(BaselineError::UnknownType {
        table: table.to_owned(),
        column: column.to_owned(),
        type_name: declared.type_name.clone(),
        suggestion: nearest(meaning.bare(), observed.types.iter().map(String::as_str)),
    })
}

struct Run<'a> {
    baseline: &'a Baseline,
    environment: Option<&'a str>,
    checked: usize,
    findings: Vec<Finding>,
}

impl Run<'_> {
    /// Whether an object, or the migration that provides it, need not be in this environment.
    fn optional(&self, migration: Option<&str>, optional_in: &[&Vec<String>]) -> bool {
        let Some(environment) = self.environment else { return false };
        let of_migration =
            migration.and_then(|name| self.baseline.migrations.get(name)).map(|migration| &migration.optional_in);
        optional_in.iter().copied().chain(of_migration).flatten().any(|name| name == environment)
    }

    fn present(
        &mut self,
        there: bool,
        object: String,
        expected: &str,
        migration: Option<&str>,
        optional_in: &[&Vec<String>],
    ) {
        self.checked += 1;
        if there {
            return;
        }
        let optional = self.optional(migration, optional_in);
        self.findings.push(Finding {
            severity: if optional { Severity::Optional } else { Severity::Missing },
            object,
            expected: expected.to_owned(),
            found: "nothing".to_owned(),
            migration: migration.map(str::to_owned),
        });
    }

    fn column(
        &mut self,
        table: &str,
        column: &str,
        declared: &FullColumn,
        seen: &ObservedTable,
        of_table: Option<&str>,
        optional_in: &Vec<String>,
    ) {
        let object = format!("column {table}.{column}");
        let migration = declared.migration.as_deref().or(of_table);
        let Some(found) = seen.columns.get(column) else {
            self.present(false, object, &declared.type_name, migration, &[optional_in, &declared.optional_in]);
            return;
        };
        self.checked += 1;
        let mut differ = |expected: String, found: String| {
            self.findings.push(Finding {
                severity: Severity::Different,
                object: object.clone(),
                expected,
                found,
                migration: migration.map(str::to_owned),
            });
        };
        if !Meaning::of(&declared.type_name).same(&Meaning::of(&found.type_name)) {
            differ(declared.type_name.clone(), found.type_name.clone());
        }
        let words = |nullable: bool| if nullable { "nullable" } else { "not null" }.to_owned();
        if let Some(nullable) = declared.nullable.filter(|nullable| *nullable != found.nullable) {
            differ(words(nullable), words(found.nullable));
        }
        let words = |default: bool| if default { "a default" } else { "no default" }.to_owned();
        if let Some(default) = declared.default.filter(|default| *default != found.default) {
            differ(words(default), words(found.default));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let word = match finding.severity {
                Severity::Missing => "MISSING  ",
                Severity::Different => "DIFFERENT",
                Severity::Optional => "optional ",
            };
            write!(f, "{word}  {}: expected {}, found {}", finding.object, finding.expected, finding.found)?;
            match &finding.migration {
                Some(migration) => writeln!(f, "; provided by migration {migration}")?,
                None => writeln!(f)?,
            }
        }
        let wrong = self.findings.iter().filter(|finding| finding.severity != Severity::Optional).count();
        let verdict = if self.passed { "passed" } else { "FAILED" };
        write!(f, "baseline {verdict}: {} objects checked, {wrong} missing or different", self.checked)?;
        match &self.environment {
            Some(environment) => write!(f, " (environment {environment})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed() -> Observed {
        let column = |type_name: &str, nullable| ObservedColumn { type_name: type_name.into(), nullable, default: false };
        let columns = [
            ("date".to_owned(), column("date", false)),
            ("symbol".to_owned(), column("character varying(20)", true)),
        ];
        let table = ObservedTable { columns: columns.into(), indexes: ["t_pkey".to_owned()].into() };
        Observed { tables: [("public.t".to_owned(), table)].into(), ..Observed::default() }
    }

    const TEXT: &str = r#"
        [migration.split]
        optional-in = ["old"]
        [table.t]
        indexes = ["t_pkey"]
        [table.t.columns]
        date = "date"
        symbol = "varchar(20)"
        buy_count = { type = "int", nullable = false, migration = "split" }
    "#;

    #[test]
    fn what_is_missing_is_named_with_its_migration() {
        let verdict = check(&Baseline::parse(TEXT).unwrap(), &observed(), Some("oci")).unwrap();
        assert!(!verdict.passed);
        let [finding] = verdict.findings.as_slice() else { panic!("{verdict}") };
        assert_eq!(finding.object, "column public.t.buy_count");
        assert_eq!(finding.migration.as_deref(), Some("split"));
        assert!(verdict.to_string().contains("provided by migration split"));
    }

    #[test]
    fn what_is_optional_here_does_not_fail() {
        let verdict = check(&Baseline::parse(TEXT).unwrap(), &observed(), Some("old")).unwrap();
        assert!(verdict.passed);
        assert_eq!(verdict.findings.len(), 1);
    }

    #[test]
    fn misspelt_types_and_keys_are_errors_of_the_baseline() {
        let text = TEXT.replace("\"int\"", "\"interger\"");
        let error = check(&Baseline::parse(&text).unwrap(), &observed(), None).unwrap_err().to_string();
        assert!(error.contains("interger") && error.contains("did you mean `integer`"), "{error}");
        assert!(Baseline::parse("[tabel.t]").unwrap_err().to_string().contains("tabel"));
        let unknown = TEXT.replace("[migration.split]", "[migration.other]");
        assert!(Baseline::parse(&unknown).unwrap_err().to_string().contains("split"));
    }
}
