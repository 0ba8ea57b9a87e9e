//! What a baseline file may say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A declared schema.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Baseline {
    /// Migrations that provide objects.
    #[serde(rename = "migration", skip_serializing_if = "BTreeMap::is_empty")]
    pub migrations: BTreeMap<String, Migration>,
    /// Extensions.
    #[serde(rename = "extension", skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, Extension>,
    /// Tables, as `table` (in schema public) or `schema.table`.
    #[serde(rename = "table", skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, Table>,
}

/// A migration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Migration {
    /// Environments that need not have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub optional_in: Vec<String>,
}

/// An extension.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Extension {
    /// Environments that need not have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub optional_in: Vec<String>,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Table {
    /// The migration that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<String>,
    /// Environments that need not have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub optional_in: Vec<String>,
    /// Indexes, by name; those of constraints too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<String>,
    /// Columns.
    pub columns: BTreeMap<String, Column>,
}

/// A column: its type, or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Column {
    /// Only the type.
    Type(String),
    /// Type and more.
    Full(FullColumn),
}

/// A column with all that can be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FullColumn {
    /// The type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether NULL is allowed; unsaid, both will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nullable: Option<bool>,
    /// Whether it has a default; unsaid, both will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// The migration that makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<String>,
    /// Environments that need not have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional_in: Vec<String>,
}

impl Column {
    /// The column with all its parts.
    pub fn full(&self) -> FullColumn {
        match self {
            Column::Full(full) => full.clone(),
            Column::Type(type_name) => FullColumn {
                type_name: type_name.clone(),
                nullable: None,
                default: None,
                migration: None,
                optional_in: Vec::new(),
            },
        }
    }
}

/// A baseline that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineError {
    /// It is not what this version understands; the message has the line.
    #[error("{0}")]
    Syntax(String),
    /// A column's type is no type that the server or PostgreSQL knows.
    #[error("column {table}.{column}: `{type_name}` is no type{}", suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())]
    UnknownType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The type as written.
        type_name: String,
        /// The type that was probably meant.
        suggestion: Option<String>,
    },
    /// An object names a migration that is not declared.
    #[error("{object} names migration `{migration}`, which is not declared as [migration.{migration}]")]
    UnknownMigration {
        /// The object.
        object: String,
        /// The migration.
        migration: String,
    },
}

impl Baseline {
    /// Reads a baseline. Errors name line and column.
    pub fn parse(text: &str) -> Result<Baseline, BaselineError> {
        let baseline: Baseline =
            toml::from_str(text).map_err(|e| BaselineError::Syntax(e.to_string().trim().to_owned()))?;
        for (name, table) in &baseline.tables {
            baseline.known(&format!("table {name}"), table.migration.as_deref())?;
            for (column, declared) in &table.columns {
                baseline.known(&format!("column {name}.{column}"), declared.full().migration.as_deref())?;
            }
        }
        Ok(baseline)
    }

    fn known(&self, object: &str, migration: Option<&str>) -> Result<(), BaselineError> {
        match migration {
            Some(migration) if !self.migrations.contains_key(migration) => Err(BaselineError::UnknownMigration {
                object: object.to_owned(),
                migration: migration.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}
