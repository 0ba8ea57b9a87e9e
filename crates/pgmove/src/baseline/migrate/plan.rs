//! A plan as data: it is printed, serialized, and applied.

use serde::Serialize;

use crate::baseline::Baseline;
use crate::baseline::script::{Obstacle, Script};

/// What a plan takes into account beside the files and the database.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlanOptions<'a> {
    /// Gives the order of the migrations and which are optional where.
    pub baseline: Option<&'a Baseline>,
    /// Whose part of the baseline applies.
    pub environment: Option<&'a str>,
    /// Run these, whatever the catalog says of them.
    pub run: &'a [String],
    /// Leave these out.
    pub skip: &'a [String],
}

/// Whether a migration has been applied, as far as the catalog shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// All that it makes is there.
    Applied,
    /// Nothing of it is there.
    Missing,
    /// Some of it is there.
    Partly,
    /// The catalog does not show what it does.
    Unknown,
}

/// What is to be done with a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Run it.
    Run,
    /// Nothing: after the others have run, all that it makes is there.
    Covered,
    /// Leave it out: it is optional in this environment, or that was asked for.
    Skip,
    /// It ought to run and cannot.
    Blocked,
    /// Somebody must say whether it has run: the catalog cannot.
    Ask,
}

/// How a file runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// In one transaction: all of it or nothing.
    Transaction,
    /// By its own BEGIN and COMMIT.
    Own,
    /// Statement by statement, each committed by itself, because of one that runs in no transaction.
    Statements,
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
    /// What is to be done.
    pub action: Action,
    /// How it runs.
    pub mode: Mode,
    /// Why, in sentences.
    pub reasons: Vec<String>,
    /// What of it is there, of a file that is partly applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub there: Vec<String>,
    /// What of it is not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<String>,
    /// Lines of statements whose effect the catalog does not show.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen_lines: Vec<usize>,
    /// What is there now and goes when it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<String>,
    /// What in the file cannot be run by this tool.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
}

/// What is to be done to bring a database up to a folder of migrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The environment that was asked about.
    pub environment: Option<String>,
    /// Every file, in the order in which migrations are declared.
    pub files: Vec<PlannedFile>,
    /// The names of those to run, in the order in which they can.
    pub order: Vec<String>,
    /// Migrations that the baseline declares and no file holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_file: Vec<String>,
}

impl Plan {
    /// True when nothing is to run and nothing is in the way.
    pub fn is_done(&self) -> bool {
        !self.files.iter().any(|file| matches!(file.action, Action::Run | Action::Blocked))
    }

    /// Files that ought to run and cannot.
    pub fn blocked(&self) -> impl Iterator<Item = &PlannedFile> {
        self.files.iter().filter(|file| file.action == Action::Blocked)
    }

    /// The file of a migration.
    pub fn file(&self, name: &str) -> Option<&PlannedFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

impl Script {
    /// How this file can run.
    pub(super) fn mode(&self) -> Mode {
        if self.statements.iter().any(|statement| statement.effect.control.is_some()) {
            Mode::Own
        } else if self.statements.iter().any(|statement| statement.effect.alone.is_some()) {
            Mode::Statements
        } else {
            Mode::Transaction
        }
    }
}
