//! A run as a file: HTML, Markdown or JSON. It contains everything that the command prints, and its timeline, and
//! loads nothing from elsewhere.

mod html;
mod markdown;
mod plot;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::status::Proof;
use crate::exit::Exit;
use crate::ui::Recorded;

/// Format of a report file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Markdown,
    Html,
    Json,
}

/// The file to write the report to. Its extension determines the format.
#[derive(Debug, Clone)]
pub(crate) struct ReportFile {
    path: PathBuf,
    format: Format,
}

impl std::str::FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<ReportFile, String> {
        let path = PathBuf::from(text);
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let format = match extension.as_deref() {
            Some("md") => Format::Markdown,
            Some("html" | "htm") => Format::Html,
            Some("json") => Format::Json,
            _ => return Err("the name of a report ends with .md, .html or .json".to_owned()),
        };
        Ok(ReportFile { path, format })
    }
}

/// Content of a report file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Document {
    /// Name of the command.
    pub(crate) command: &'static str,
    /// Exit code.
    pub(crate) exit_code: u8,
    /// Start time.
    pub(crate) started_at: DateTime<Utc>,
    /// Program and version.
    pub(crate) tool: &'static str,
    /// Host that it ran on.
    pub(crate) host: String,
    /// Printed text.
    #[serde(skip)]
    pub(crate) text: String,
    /// The same as JSON.
    pub(crate) report: serde_json::Value,
    /// Timeline of the run.
    pub(crate) timeline: Recorded,
    /// Earlier rehearsals and this one, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rehearsals: Vec<Proof>,
    /// Time zone of the page.
    #[serde(skip)]
    pub(crate) zone: Tz,
}

impl Document {
    /// The outcome in a word or two.
    fn verdict(&self) -> &'static str {
        match self.exit_code {
            0 => "done",
            3 => "differences found",
            4 => "partly failed",
            5 => "refused",
            130 => "interrupted",
            _ => "failed",
        }
    }

    fn is_good(&self) -> bool {
        self.exit_code == Exit::Done.code()
    }

    /// Facts about the run, as pairs.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let moved: u64 = self.timeline.moved.iter().sum();
        let mut facts = vec![
            ("began", super::time(self.started_at, self.zone)),
            ("took", crate::ui::seconds(self.timeline.seconds)),
            ("exit code", self.exit_code.to_string()),
            ("host", self.host.clone()),
            ("written by", self.tool.to_owned()),
        ];
        if moved > 0 {
            facts.insert(2, ("moved", crate::ui::size(moved)));
        }
        facts
    }
}

impl ReportFile {
    /// Fails if the file cannot be written: before a run that takes hours, not after it.
    pub(crate) fn try_out(&self) -> anyhow::Result<()> {
        tempfile::Builder::new()
            .prefix(".dbhaul-")
            .tempfile_in(self.folder())
            .map(drop)
            .map_err(|error| crate::exit::usage(format!("cannot write {}: {error}", self.path.display())))
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Replaces the file. It contains names of tables and servers, so only its owner can read it.
    pub(crate) fn write(&self, document: &Document) -> anyhow::Result<()> {
        use std::io::Write as _;
        let text = match self.format {
            Format::Markdown => markdown::page(document),
            Format::Html => html::page(document),
            Format::Json => serde_json::to_string_pretty(document)? + "\n",
        };
        let failed = || format!("cannot write the report {}", self.path.display());
        let mut file =
            tempfile::Builder::new().prefix(".dbhaul-").tempfile_in(self.folder()).with_context(failed)?;
        file.write_all(text.as_bytes()).with_context(failed)?;
        file.persist(&self.path).with_context(failed)?;
        Ok(())
    }
}

/// A document with every element, and with names as an attacker would choose them.
#[cfg(test)]
fn example() -> Document {
    use crate::ui::Span;
    let hostile = "</pre><script src=\"http://evil/x.js\">'&\u{0}\u{1b}[31m```";
    Document {
        command: "rehearse",
        exit_code: 3,
        started_at: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
        tool: "dbhaul 0.1.0",
        host: "vm".to_owned(),
        text: format!("{hostile}\nsecond line"),
        report: serde_json::json!({
            "from": hostile,
            "targets": [{ "table": hostile, "rows": 3 }, { "table": "b", "rows": null, "more": { "deep": [1, [2, {}]] } }],
            "empty": [],
            "plain": ["a", hostile],
        }),
        timeline: Recorded {
            seconds: 75.0,
            moment_seconds: 0.5,
            moved: vec![0, 1 << 20, 5 << 20, 3],
            stages: vec![Span { name: hostile.to_owned(), seconds: 70.0, bytes: None }],
            tasks: vec![Span { name: hostile.to_owned(), seconds: 30.0, bytes: Some(1 << 30) }],
        },
        rehearsals: (0..3)
            .map(|n| Proof { passed: n != 1, seconds: Some(f64::from(n) * 10.0), ..Proof::default() })
            .collect(),
        zone: Tz::UTC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_says_what_is_written() {
        for name in ["a.md", "b.HTML", "x/c.json"] {
            assert!(name.parse::<ReportFile>().is_ok(), "{name}");
        }
        for name in ["a", "a.txt", "md", "-", ""] {
            assert!(name.parse::<ReportFile>().is_err(), "{name}");
        }
    }

    #[test]
    fn output_for_programs_is_complete() {
        let json = serde_json::to_value(example()).unwrap();
        assert_eq!(json["exit-code"], 3);
        assert_eq!(json["timeline"]["moved"].as_array().unwrap().len(), 4);
        assert_eq!(json["report"]["targets"][0]["rows"], 3);
    }
}
