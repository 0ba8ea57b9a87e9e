//! Report on the integrity of a file.

use std::path::{Path, PathBuf};

use redisdump::verify::{Fault, Repaired, Verified};
use serde::Serialize;

use crate::exit::Exit;
use crate::ui::{count, size};

/// Outcome of a verification.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct VerifyFileReport {
    file: PathBuf,
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Box<Verified>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<FaultReport>,
    /// The repaired copy, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<RepairReport>,
}

/// Outcome of the copy without the broken tail.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
enum RepairReport {
    /// Written, and intact.
    Written(Repaired),
    /// Nothing is broken, so nothing was written.
    NotNeeded,
    /// It could not be written.
    Failed {
        /// The reason.
        message: String,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct FaultReport {
    offset: Option<u64>,
    message: String,
    keys_before: u64,
    /// Its version is newer than the supported ones; it is not known to be damaged.
    newer: bool,
}

impl VerifyFileReport {
    /// A file that can be read to its end. It is intact unless servers would reject it.
    pub(crate) fn read(found: Verified) -> VerifyFileReport {
        let whole = found.is_whole();
        VerifyFileReport {
            file: found.path.clone(),
            whole,
            found: Some(Box::new(found)),
            fault: None,
            repair: None,
        }
    }

    /// A file with a fault.
    pub(crate) fn at_fault(file: &Path, fault: &Fault) -> VerifyFileReport {
        let fault = FaultReport {
            offset: fault.offset(),
            message: fault.to_string(),
            keys_before: fault.keys_before,
            newer: fault.is_newer(),
        };
        VerifyFileReport {
            file: file.to_owned(),
            whole: false,
            found: None,
            fault: Some(fault),
            repair: None,
        }
    }

    /// Adds the outcome of the copy without the broken tail.
    pub(crate) fn repaired(&mut self, outcome: anyhow::Result<Option<Repaired>>) {
        self.repair = Some(match outcome {
            Ok(Some(repaired)) => RepairReport::Written(repaired),
            Ok(None) => RepairReport::NotNeeded,
            Err(error) => RepairReport::Failed { message: error.to_string() },
        });
    }

    /// 0 if the file, or the requested copy, is intact and servers accept it; 1 if its version is too new, or the
    /// copy could not be written; 3 if it is damaged.
    pub(crate) fn exit(&self) -> Exit {
        match (&self.repair, &self.fault) {
            (Some(RepairReport::Written(_)), _) => Exit::Done,
            (Some(RepairReport::Failed { .. }), None) => Exit::Failed,
            (_, Some(FaultReport { newer: true, .. })) => Exit::Failed,
            _ if self.whole => Exit::Done,
            _ => Exit::Differs,
        }
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        self.render_found() + &self.render_repair()
    }

    fn render_repair(&self) -> String {
        match &self.repair {
            None => String::new(),
            Some(RepairReport::NotNeeded) => "  no broken tail: no copy was written\n".to_owned(),
            Some(RepairReport::Failed { message }) => format!("  cannot be repaired: {message}\n"),
            Some(RepairReport::Written(repaired)) => format!(
                "  {}: an intact copy, {} commands; the last {} bytes of {} are left out, from byte {} on: {}\n",
                repaired.to.display(),
                count(repaired.commands),
                count(repaired.bytes_dropped),
                repaired.file.display(),
                repaired.offset,
                repaired.reason
            ),
        }
    }

    fn render_found(&self) -> String {
        if let Some(fault) = &self.fault {
            let at = fault.offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default();
            let verdict = if fault.newer { "NEWER than this version of dbhaul can read" } else { "DAMAGED" };
            let mut out = format!("{}: {verdict}{at}: {}\n", self.file.display(), fault.message);
            if fault.newer {
                out.push_str("  it may be intact; hint: --force reads what this version understands\n");
            }
            return out;
        }
        let Some(found) = &self.found else { return String::new() };
        let verdict = if self.whole { "whole" } else { "DAMAGED, but readable to its end" };
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
            out.push_str(&format!(
                "  {} bytes after the end are not part of the file format\n",
                found.trailing_bytes
            ));
        }
        if let Some(cut) = found.aof.as_ref().and_then(|aof| aof.cut.as_ref()) {
            out.push_str(&format!(
                "  a server cuts the tail off when it loads this: {} bytes of {} from byte {} on, where {}\n",
                cut.tail.bytes,
                cut.path.display(),
                cut.tail.offset,
                cut.tail.reason
            ));
            if self.repair.is_none() {
                out.push_str("  hint: --repair-to PATH writes a copy without it\n");
            }
        }
        for anomaly in &found.anomalies {
            let whose = match anomaly.keys {
                1 => String::new(),
                keys => format!(" and {} keys more", count(keys - 1)),
            };
            let verdict = anomaly.refused_by.map_or_else(
                || "most servers load it, but may fail on it later; Valkey from 9.1 on refuses it".to_owned(),
                |who| format!("{who} do not load this file"),
            );
            out.push_str(&format!(
                "  key {} of database {}{whose}: {}; {verdict}\n",
                anomaly.key, anomaly.db, anomaly.what
            ));
        }
        if found.empty_keys > 0 {
            out.push_str(&format!(
                "  {} keys beside these are empty: servers from 7.0 on drop them\n",
                count(found.empty_keys)
            ));
        }
        for (name, module) in &found.modules {
            let mut parts = Vec::new();
            if module.values > 0 {
                parts.push(format!("{} values", count(module.values)));
            }
            if module.data > 0 {
                parts.push(format!("{} records besides the keys", count(module.data)));
            }
            let needed = match module.modules.as_slice() {
                [] => "a module that provides this type".to_owned(),
                known => format!("module {}", known.join(" or ")),
            };
            out.push_str(&format!(
                "  module type {name}: {}; servers load it with {needed}\n",
                parts.join(", ")
            ));
        }
        if found.is_untried() {
            out.push_str(
                "  this RDB version is newer than the servers that dbhaul was tested with; it was read according to \
                 the published format\n",
            );
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
