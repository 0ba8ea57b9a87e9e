//! A migration plan as data, to be printed, serialized and applied.

use serde::Serialize;

use crate::baseline::Baseline;
use crate::baseline::script::{Script, UnsupportedScript};

/// What a plan considers besides the files and the database.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlanOptions<'a> {
    /// Defines the order of migrations and where they are optional.
    pub baseline: Option<&'a Baseline>,
    /// The environment whose part of the baseline applies.
    pub environment: Option<&'a str>,
    /// Run these, whatever the catalog shows.
    pub run: &'a [String],
    /// Skip these.
    pub skip: &'a [String],
}

/// Whether a migration has been applied, as shown by the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Everything it creates exists.
    Applied,
    /// Nothing of it exists.
    Missing,
    /// Part of it exists.
    Partly,
    /// The catalog does not show its effects.
    Unknown,
}

/// What to do with a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing; it has been applied.
    Nothing,
    /// Run it.
    Run,
    /// Nothing: after the others have run, everything it creates exists.
    Covered,
    /// Skip it: it is optional in this environment, or the caller asked for it.
    Skip,
    /// It should run but cannot.
    Blocked,
    /// The caller must decide, because the catalog does not show whether it ran.
    Ask,
}

/// The transaction mode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// In one transaction.
    Transaction,
    /// With its own BEGIN and COMMIT.
    Own,
    /// Statement by statement, each committed separately, because one of them cannot run inside a transaction.
    Statements,
}

/// What a user can do about a migration that is not planned, as data: the caller words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MigrationRemedy {
    /// List it in [`PlanOptions::run`] if the objects that no file creates are created by other means.
    RunIfNeedsExist,
    /// Fix the partly applied file by hand, or list it in [`PlanOptions::run`].
    FixOrRun,
    /// List it in [`PlanOptions::run`] or [`PlanOptions::skip`].
    RunOrSkip,
}

/// A file of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedFile {
    /// The migration's name.
    pub name: String,
    /// The file.
    pub file: String,
    /// Whether it has been applied.
    pub status: Status,
    /// What to do.
    pub action: Action,
    /// The transaction mode.
    pub mode: Mode,
    /// Explanations, one sentence each.
    pub reasons: Vec<String>,
    /// What the user can do if it is blocked or undecided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<MigrationRemedy>,
    /// What exists of a partly applied file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub there: Vec<String>,
    /// What is missing of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<String>,
    /// Lines of statements whose effects the catalog does not show.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen_lines: Vec<usize>,
    /// Existing objects that it drops.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<String>,
    /// Unsupported parts of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<UnsupportedScript>,
}

/// What to do to bring a database up to a folder of migrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The environment.
    pub environment: Option<String>,
    /// All files, in the order in which migrations are declared.
    pub files: Vec<PlannedFile>,
    /// The names of those to run, in order.
    pub order: Vec<String>,
    /// Migrations that the baseline declares but no file contains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_file: Vec<String>,
}

impl Plan {
    /// True when nothing is to run and nothing is blocked.
    pub fn is_done(&self) -> bool {
        !self.files.iter().any(|file| matches!(file.action, Action::Run | Action::Blocked))
    }

    /// Files that should run but cannot.
    pub fn blocked(&self) -> impl Iterator<Item = &PlannedFile> {
        self.files.iter().filter(|file| file.action == Action::Blocked)
    }

    /// The file of a migration.
    pub fn file(&self, name: &str) -> Option<&PlannedFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

impl Script {
    /// The transaction mode in which this file can run.
    pub(super) fn mode(&self) -> Mode {
        if self.statements.iter().any(|statement| statement.effect.control.is_some()) {
            Mode::Own
        } else if self.statements.iter().any(|statement| statement.effect.outside_transaction.is_some()) {
            Mode::Statements
        } else {
            Mode::Transaction
        }
    }
}
