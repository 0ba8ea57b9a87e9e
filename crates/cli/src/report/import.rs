//! Report of an import.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Table;
use crate::exit::Exit;
use crate::ui::size;

/// A completed import.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ImportReport {
    /// The series.
    pub(crate) job: String,
    /// Nothing was stored.
    pub(crate) dry_run: bool,
    /// Outcome of each file.
    pub(crate) files: Vec<ImportedFile>,
    /// Other files in the folders: by their names, not backups.
    pub(crate) ignored: Vec<PathBuf>,
}

/// Outcome of a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ImportedFile {
    /// Path.
    pub(crate) path: PathBuf,
    /// Source that it belongs to.
    pub(crate) source: String,
    /// Time in its name.
    pub(crate) taken_at: Option<DateTime<Utc>>,
    /// Outcome.
    #[serde(flatten)]
    pub(crate) outcome: ImportOutcome,
}

/// Outcome of a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub(crate) enum ImportOutcome {
    /// It was imported as a snapshot.
    #[serde(rename_all = "kebab-case")]
    Imported {
        /// Id of the snapshot.
        snapshot: String,
        /// Bytes added to the repository.
        stored_bytes: u64,
    },
    /// It was already imported.
    Present {
        /// Id of the snapshot.
        snapshot: String,
    },
    /// It would be imported.
    Importable,
    /// Nothing proves that it is complete. Not imported.
    Suspect {
        /// The reason.
        message: String,
    },
    /// It is not as it was written. Not imported.
    Damaged {
        /// The reason.
        message: String,
    },
    /// It is intact, but cannot be imported.
    Unusable {
        /// The reason.
        message: String,
    },
}

impl ImportOutcome {
    /// The problem, if there is one.
    pub(crate) fn complaint(&self) -> Option<String> {
        match self {
            ImportOutcome::Imported { .. } | ImportOutcome::Present { .. } | ImportOutcome::Importable => {
                None
            }
            ImportOutcome::Suspect { message } => Some(format!("suspect: {message}")),
            ImportOutcome::Damaged { message } => Some(format!("damaged: {message}")),
            ImportOutcome::Unusable { message } => Some(format!("not imported: {message}")),
        }
    }

    fn words(&self) -> String {
        match self {
            ImportOutcome::Imported { snapshot, .. } => format!("imported as {snapshot}"),
            ImportOutcome::Present { snapshot } => format!("already imported as {snapshot}"),
            ImportOutcome::Importable => "would be imported".to_owned(),
            other => other.complaint().unwrap_or_default(),
        }
    }
}

impl ImportReport {
    /// 3 if a file is damaged, 4 if one is suspect or unusable.
    pub(crate) fn exit(&self) -> Exit {
        let any = |is: fn(&ImportOutcome) -> bool| self.files.iter().any(|file| is(&file.outcome));
        if any(|outcome| matches!(outcome, ImportOutcome::Damaged { .. })) {
            Exit::Differs
        } else if any(|outcome| {
            matches!(outcome, ImportOutcome::Suspect { .. } | ImportOutcome::Unusable { .. })
        }) {
            Exit::Partial
        } else {
            Exit::Done
        }
    }

    /// Renders the report as text, with times in this zone.
    pub(crate) fn render(&self, zone: chrono_tz::Tz) -> String {
        let mut table = Table::new(&["file", "taken", "source", "result"]);
        for file in &self.files {
            table.row([
                file.path.display().to_string(),
                file.taken_at.map_or_else(|| "-".to_owned(), |at| super::time(at, zone)),
                file.source.clone(),
                file.outcome.words(),
            ]);
        }
        let mut text = table.render();
        if !self.ignored.is_empty() {
            let names: Vec<String> = self
                .ignored
                .iter()
                .map(|path| path.display().to_string().escape_debug().to_string())
                .collect();
            text += &format!("ignored, since their names are not those of backups: {}\n", names.join(", "));
        }
        let of = |is: fn(&ImportOutcome) -> bool| self.files.iter().filter(|file| is(&file.outcome)).count();
        let stored = self.files.iter().map(|file| match &file.outcome {
            ImportOutcome::Imported { stored_bytes, .. } => *stored_bytes,
            _ => 0,
        });
        let not = of(|outcome| outcome.complaint().is_some());
        let present = of(|outcome| matches!(outcome, ImportOutcome::Present { .. }));
        text += &match self.dry_run {
            true => format!(
                "{} would be imported, {present} already imported, {not} not imported\n",
                of(|outcome| matches!(outcome, ImportOutcome::Importable)),
            ),
            false => format!(
                "{} imported ({} stored), {present} already imported, {not} not imported\n",
                of(|outcome| matches!(outcome, ImportOutcome::Imported { .. })),
                size(stored.sum()),
            ),
        };
        text
    }
}
