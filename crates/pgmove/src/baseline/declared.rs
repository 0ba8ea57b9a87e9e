//! The contents of a baseline file.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::error::BaselineError;
use super::types::nearest;

/// A declared schema.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Baseline {
    /// The application's name, for display.
    pub name: Option<String>,
    /// The existing environments. If any are listed, others are errors.
    pub environments: Vec<String>,
    /// Migrations that provide objects, in the order in which they are applied.
    #[serde(rename = "migration")]
    pub migrations: Vec<Migration>,
    /// Extensions.
    #[serde(rename = "extension")]
    pub extensions: BTreeMap<String, Extension>,
    /// Tables, as `table` (in schema public) or `schema.table`.
    #[serde(rename = "table")]
    pub tables: BTreeMap<String, Table>,
    /// The parsed text, to find the line of an error.
    #[serde(skip)]
    text: String,
}

/// A migration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Migration {
    /// Its name, usually that of its file without the extension.
    pub name: String,
    /// Environments in which it is optional.
    #[serde(default)]
    pub optional_in: Names,
}

/// An extension.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Extension {
    /// The migrations that install it; one of them is sufficient.
    pub provided_by: Names,
    /// Environments in which it is optional.
    pub optional_in: Names,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Table {
    /// The migrations that create it; one of them is sufficient. Its columns, indexes and constraints inherit this
    /// unless they specify their own.
    pub provided_by: Names,
    /// Environments in which it is optional.
    pub optional_in: Names,
    /// Columns.
    pub columns: BTreeMap<String, Column>,
    /// Indexes that belong to no constraint.
    pub indexes: BTreeMap<String, Index>,
    /// Constraints.
    pub constraints: BTreeMap<String, Constraint>,
}

/// A column. `name = "type"` is short for `name = { type = "type" }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The type.
    pub type_name: Spanned<String>,
    /// Different types in some environments.
    pub type_in: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Whether NULL is allowed; `None` accepts both.
    pub nullable: Option<bool>,
    /// Whether it has a default or is generated; `None` accepts both.
    pub default: Option<bool>,
    /// The migrations that create it.
    pub provided_by: Names,
    /// Environments in which it is optional.
    pub optional_in: Names,
}

/// An index. An equivalent index with another name satisfies it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Index {
    /// Its key columns, in order; an expression is written `(expression)` and matches any expression.
    pub columns: Vec<String>,
    /// Whether it is unique.
    #[serde(default)]
    pub unique: bool,
    /// Its access method.
    #[serde(default = "btree")]
    pub method: String,
    /// Whether it is partial (has a WHERE clause).
    #[serde(default)]
    pub partial: bool,
    /// The migrations that create it.
    #[serde(default)]
    pub provided_by: Names,
    /// Environments in which it is optional.
    #[serde(default)]
    pub optional_in: Names,
}

fn btree() -> String {
    "btree".to_owned()
}

/// A constraint. An equivalent one with another name satisfies it, except for checks, which are matched by name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Constraint {
    /// Its kind.
    pub kind: ConstraintKind,
    /// Its columns, in order; empty for a check.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The table referenced by a foreign key.
    #[serde(default)]
    pub references: Option<String>,
    /// The migrations that create it.
    #[serde(default)]
    pub provided_by: Names,
    /// Environments in which it is optional.
    #[serde(default)]
    pub optional_in: Names,
}

/// The kind of a constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConstraintKind {
    /// `PRIMARY KEY`
    PrimaryKey,
    /// `UNIQUE`
    Unique,
    /// `FOREIGN KEY`
    ForeignKey,
    /// `CHECK`
    Check,
    /// `EXCLUDE`
    Exclusion,
}

impl fmt::Display for ConstraintKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrimaryKey => "primary key",
            Self::Unique => "unique",
            Self::ForeignKey => "foreign key",
            Self::Check => "check",
            Self::Exclusion => "exclusion",
        })
    }
}

/// Names of migrations or environments: `"a"` or `["a", "b"]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Names(Vec<Spanned<String>>);

impl Names {
    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| name.get_ref().as_str())
    }

    /// True if it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if it contains this name.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|known| known == name)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Vec<Spanned<String>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(vec![Spanned::new(0..0, name.to_owned())])
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
                let mut out = Vec::new();
                while let Some(name) = names.next_element()? {
                    out.push(name);
                }
                Ok(out)
            }
        }
        // The span of the whole value is used for a single name.
        struct Inner(Vec<Spanned<String>>);
        impl<'de> Deserialize<'de> for Inner {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(OneOrMore).map(Inner)
            }
        }
        let spanned = Spanned::<Inner>::deserialize(deserializer)?;
        let place = spanned.span();
        let names = spanned.into_inner().0.into_iter();
        Ok(Self(
            names
                .map(|name| {
                    if name.span().is_empty() { Spanned::new(place.clone(), name.into_inner()) } else { name }
                })
                .collect(),
        ))
    }
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        struct Full {
            r#type: Spanned<String>,
            #[serde(default)]
            type_in: BTreeMap<Spanned<String>, Spanned<String>>,
            nullable: Option<bool>,
            default: Option<bool>,
            #[serde(default)]
            provided_by: Names,
            #[serde(default)]
            optional_in: Names,
        }
        struct ShortOrFull;
        impl<'de> Visitor<'de> for ShortOrFull {
            type Value = Full;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type, or a table with `type`")
            }
            fn visit_str<E>(self, name: &str) -> Result<Full, E> {
                Ok(Full {
                    r#type: Spanned::new(0..0, name.to_owned()),
                    type_in: BTreeMap::new(),
                    nullable: None,
                    default: None,
                    provided_by: Names::default(),
                    optional_in: Names::default(),
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Full, A::Error> {
                Full::deserialize(MapAccessDeserializer::new(map))
            }
        }
        struct Inner(Full);
        impl<'de> Deserialize<'de> for Inner {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(ShortOrFull).map(Inner)
            }
        }
        let spanned = Spanned::<Inner>::deserialize(deserializer)?;
        let place = spanned.span();
        let full = spanned.into_inner().0;
        let type_name = if full.r#type.span().is_empty() {
            Spanned::new(place, full.r#type.into_inner())
        } else {
            full.r#type
        };
        Ok(Self {
            type_name,
            type_in: full.type_in,
            nullable: full.nullable,
            default: full.default,
            provided_by: full.provided_by,
            optional_in: full.optional_in,
        })
    }
}

impl Column {
    /// The type required in this environment.
    pub(super) fn type_for(&self, environment: Option<&str>) -> &Spanned<String> {
        let other =
            environment.and_then(|wanted| self.type_in.iter().find(|(name, _)| name.get_ref() == wanted));
        other.map_or(&self.type_name, |(_, type_name)| type_name)
    }

    /// All types that it may have.
    pub(super) fn types(&self) -> impl Iterator<Item = &Spanned<String>> {
        std::iter::once(&self.type_name).chain(self.type_in.values())
    }
}

impl Baseline {
    /// Parses a baseline.
    ///
    /// # Errors
    /// [`BaselineError::Syntax`] for invalid TOML or unknown keys, [`BaselineError::UnknownMigration`] and
    /// [`BaselineError::UnknownEnvironment`] for names that are used but not declared; each with its line.
    pub fn parse(text: &str) -> Result<Baseline, BaselineError> {
        let mut baseline: Baseline =
            toml::from_str(text).map_err(|e| BaselineError::Syntax(e.to_string().trim().to_owned()))?;
        text.clone_into(&mut baseline.text);
        for migration in &baseline.migrations {
            baseline.environments_are_known(&migration.optional_in)?;
        }
        for extension in baseline.extensions.values() {
            baseline.names_are_known(&extension.provided_by, &extension.optional_in)?;
        }
        for table in baseline.tables.values() {
            baseline.names_are_known(&table.provided_by, &table.optional_in)?;
            for column in table.columns.values() {
                baseline.names_are_known(&column.provided_by, &column.optional_in)?;
                for name in column.type_in.keys() {
                    baseline.environment_is_known(name.get_ref(), baseline.line(name.span().start))?;
                }
            }
            for index in table.indexes.values() {
                baseline.names_are_known(&index.provided_by, &index.optional_in)?;
            }
            for constraint in table.constraints.values() {
                baseline.names_are_known(&constraint.provided_by, &constraint.optional_in)?;
            }
        }
        Ok(baseline)
    }

    /// The migration with that name.
    pub fn migration(&self, name: &str) -> Option<&Migration> {
        self.migrations.iter().find(|migration| migration.name == name)
    }

    /// Checks that an environment is listed, if any are.
    ///
    /// # Errors
    /// [`BaselineError::UnknownEnvironment`].
    pub fn knows_environment(&self, name: &str) -> Result<(), BaselineError> {
        if self.environments.is_empty() || self.environments.iter().any(|known| known == name) {
            return Ok(());
        }
        let known = self.environments.join(", ");
        Err(BaselineError::UnknownEnvironment { line: None, name: name.to_owned(), known })
    }

    /// The line of a byte offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
    }

    fn names_are_known(&self, provided_by: &Names, optional_in: &Names) -> Result<(), BaselineError> {
        for name in &provided_by.0 {
            if self.migration(name.get_ref()).is_none() {
                return Err(BaselineError::UnknownMigration {
                    line: self.line(name.span().start),
                    name: name.get_ref().clone(),
                    suggestion: nearest(
                        name.get_ref(),
                        self.migrations.iter().map(|known| known.name.as_str()),
                    ),
                });
            }
        }
        self.environments_are_known(optional_in)
    }

    fn environments_are_known(&self, names: &Names) -> Result<(), BaselineError> {
        names
            .0
            .iter()
            .try_for_each(|name| self.environment_is_known(name.get_ref(), self.line(name.span().start)))
    }

    fn environment_is_known(&self, name: &str, line: usize) -> Result<(), BaselineError> {
        if self.environments.is_empty() || self.environments.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(BaselineError::UnknownEnvironment {
            line: Some(line),
            name: name.to_owned(),
            known: self.environments.join(", "),
        })
    }
}
