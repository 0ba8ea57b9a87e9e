//! Whether a file is whole.

use std::path::{Path, PathBuf};

use redisdump::verify::{Fault, Verified};
use serde::Serialize;

use crate::ui::{count, size};

/// The outcome.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct VerifyFileReport {
    file: PathBuf,
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Box<Verified>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<FaultReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct FaultReport {
    offset: Option<u64>,
    message: String,
    keys_before: u64,
}

impl VerifyFileReport {
    /// A file that can be read to its end; what servers refuse it for keeps it from being whole.
    pub(crate) fn read(found: Verified) -> VerifyFileReport {
        let whole = found.is_whole();
        VerifyFileReport { file: found.path.clone(), whole, found: Some(Box::new(found)), fault: None }
    }

    /// A file with one.
    pub(crate) fn at_fault(file: &Path, fault: &Fault) -> VerifyFileReport {
        let fault = FaultReport {
            offset: fault.offset(),
            message: fault.to_string(),
            keys_before: fault.keys_before,
        };
        VerifyFileReport { file: file.to_owned(), whole: false, found: None, fault: Some(fault) }
    }

    /// True when there was no fault, and nothing that servers refuse.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// For people.
    pub(crate) fn render(&self) -> String {
        if let Some(fault) = &self.fault {
            let at = fault.offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default();
            return format!("{}: DAMAGED{at}: {}\n", self.file.display(), fault.message);
        }
        let Some(found) = &self.found else { return String::new() };
        let verdict = if self.whole { "whole" } else { "DAMAGED, though it can be read to its end" };
        let mut out =
            format!("{}: {verdict}, {}, {} keys", self.file.display(), size(found.bytes), count(found.keys));
        if let (Some(dialect), Some(version)) = (found.dialect, found.rdb_version) {
            out.push_str(&format!(", RDB version {version} ({dialect:?})"));
        }
        if let Some(checksum) = found.checksum {
            out.push_str(&format!(", checksum {checksum:?}").to_lowercase());
        }
        if found.commands > 0 || found.aof.is_some() {
            out.push_str(&format!(", {} commands", count(found.commands)));
        }
        out.push('\n');
        if found.trailing_bytes > 0 {
            out.push_str(&format!("  {} bytes after the end belong to nothing\n", found.trailing_bytes));
        }
        if let Some(cut) = found.aof.as_ref().and_then(|aof| aof.cut.as_ref()) {
            out.push_str(&format!(
                "  a server cuts the tail off when it loads this: {} bytes of {} from byte {} on, where {}\n",
                cut.tail.bytes,
                cut.path.display(),
                cut.tail.offset,
                cut.tail.reason
            ));
        }
        for oddity in &found.oddities {
            let whose = match oddity.keys {
                1 => String::new(),
                keys => format!(" and {} keys more", count(keys - 1)),
            };
            let verdict = oddity.refused_by.map_or_else(
                || {
                    "most servers load it, and may stumble over it later; Valkey from 9.1 on refuses it"
                        .to_owned()
                },
                |who| format!("{who} do not load this file"),
            );
            out.push_str(&format!(
                "  key {} of database {}{whose}: {}; {verdict}\n",
                oddity.key, oddity.db, oddity.what
            ));
        }
        if found.empty_keys > 0 {
            out.push_str(&format!(
                "  {} keys beside these hold nothing: servers from 7.0 on leave them out\n",
                count(found.empty_keys)
            ));
        }
        for (db, counted) in &found.databases {
            out.push_str(&format!(
                "  db {db}: {} keys, {} with an expiry\n",
                count(counted.keys),
                count(counted.expires)
            ));
        }
        for (kind, keys) in &found.types {
            out.push_str(&format!("  {kind}: {}\n", count(*keys)));
        }
        out
    }
}
