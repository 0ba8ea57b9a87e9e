//! What became of files of earlier backup scripts.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Table;
use crate::exit::Exit;
use crate::ui::size;

/// A finished import.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ImportReport {
    /// The series.
    pub(crate) job: String,
    /// Nothing was stored.
    pub(crate) dry_run: bool,
    /// Each file.
    pub(crate) files: Vec<ImportedFile>,
    /// What else lies in the folders: by its name no backup.
    pub(crate) ignored: Vec<PathBuf>,
}

/// One file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ImportedFile {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// The source that it is taken for.
    pub(crate) source: String,
    /// When it was made, by its name.
    pub(crate) taken_at: Option<DateTime<Utc>>,
    /// What became of it.
    #[serde(flatten)]
    pub(crate) fate: Fate,
}

/// What became of a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub(crate) enum Fate {
    /// It is a snapshot now.
    #[serde(rename_all = "kebab-case")]
    Imported {
        /// Its id.
        snapshot: String,
        /// What it took in the repository.
        stored_bytes: u64,
    },
    /// It was imported before.
    Present {
        /// As which snapshot.
        snapshot: String,
    },
    /// It would be imported.
    Importable,
    /// Nothing shows that it is whole. Not imported.
    Suspect {
        /// Why.
        message: String,
    },
    /// It is not what it was when it was written. Not imported.
    Damaged {
        /// Why.
        message: String,
    },
    /// It is whole, and nothing that can be imported.
    Unusable {
        /// Why.
        message: String,
    },
}

impl Fate {
    /// What there is to say against it.
    pub(crate) fn complaint(&self) -> Option<String> {
        match self {
            Fate::Imported { .. } | Fate::Present { .. } | Fate::Importable => None,
            Fate::Suspect { message } => Some(format!("suspect: {message}")),
            Fate::Damaged { message } => Some(format!("damaged: {message}")),
            Fate::Unusable { message } => Some(format!("not imported: {message}")),
        }
    }

    fn words(&self) -> String {
        match self {
            Fate::Imported { snapshot, .. } => format!("imported as {snapshot}"),
            Fate::Present { snapshot } => format!("already imported as {snapshot}"),
            Fate::Importable => "would be imported".to_owned(),
            other => other.complaint().unwrap_or_default(),
        }
    }
}

impl ImportReport {
    /// 3 when a file is damaged, 4 when one is suspect or cannot be used.
    pub(crate) fn exit(&self) -> Exit {
        let any = |is: fn(&Fate) -> bool| self.files.iter().any(|file| is(&file.fate));
        if any(|fate| matches!(fate, Fate::Damaged { .. })) {
            Exit::Differs
        } else if any(|fate| matches!(fate, Fate::Suspect { .. } | Fate::Unusable { .. })) {
            Exit::Partial
        } else {
            Exit::Done
        }
    }

    /// For people; times in this zone.
    pub(crate) fn render(&self, zone: chrono_tz::Tz) -> String {
        let mut table = Table::new(&["file", "taken", "source", "result"]);
        for file in &self.files {
            table.row([
                file.path.display().to_string(),
                file.taken_at.map_or_else(|| "-".to_owned(), |at| super::time(at, zone)),
                file.source.clone(),
                file.fate.words(),
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
        let of = |is: fn(&Fate) -> bool| self.files.iter().filter(|file| is(&file.fate)).count();
        let stored = self.files.iter().map(|file| match &file.fate {
            Fate::Imported { stored_bytes, .. } => *stored_bytes,
            _ => 0,
        });
        let not = of(|fate| fate.complaint().is_some());
        let present = of(|fate| matches!(fate, Fate::Present { .. }));
        text += &match self.dry_run {
            true => format!(
                "{} would be imported, {present} already imported, {not} not imported\n",
                of(|fate| matches!(fate, Fate::Importable)),
            ),
            false => format!(
                "{} imported ({} stored), {present} already imported, {not} not imported\n",
                of(|fate| matches!(fate, Fate::Imported { .. })),
                size(stored.sum()),
            ),
        };
        text
    }
}
