//! An AOF into a server: its base by the ordinary loader, then its commands, in their order, on one connection.
//!
//! The whole file is read first: a command that the target does not know, that cannot be told it, or whose expiry has no
//! meaning any more is named before anything is written. What such a file holds can be known only by running it, so that
//! there is nothing to look keys up in afterwards: what a report can say is that every command was answered without an
//! error.

mod expiry;
mod pipeline;
mod settle;
mod survey;
mod table;
mod translate;

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::settings::{OnExisting, RestoreOptions};
use super::{clock, fit, restore_with, unsupported};
use crate::aof::{AofSummary, Cut, CutReason, FileSummary, Files, Moments, moments};
use crate::databases::databases;
use crate::emit::StandIns;
use crate::identity::identify;
use crate::meaning::shown;
use crate::report::Progress;
use crate::wire::Connection;
use crate::{ConnectOptions, Error, ServerIdentity};

use pipeline::Pipeline;
use survey::{Against, Survey, survey};
use table::Table;

/// Commands that are named; the others are counted.
const NAMED: usize = 20;

/// What became of an AOF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AofReport {
    /// The server that was filled.
    pub server: ServerIdentity,
    /// The files, in the order in which they were loaded.
    pub files: Vec<FileSummary>,
    /// The tail that does not count, as it does for no server.
    pub cut: Option<Cut>,
    /// The last `#TS:` annotation, in seconds since the epoch.
    pub timestamp: Option<i64>,
    /// Keys of the base, before the commands.
    pub base_keys: u64,
    /// Function libraries of the base.
    pub functions: u64,
    /// What of the base the server cannot hold.
    pub left_out: crate::emit::Losses,
    /// Commands of the files that the server answered without an error; those of transactions that were not finished do
    /// not count.
    pub commands: u64,
    /// Commands for keys that were not asked for, and were not sent.
    pub unwanted: u64,
    /// Keys that had expired when all was done, and are gone.
    pub expired: u64,
    /// Fields of hashes likewise.
    pub expired_fields: u64,
    /// Scripts and functions that were run anew, by command: a time that they look at is now.
    pub scripts: std::collections::BTreeMap<String, u64>,
    /// Commands that were left out or refused, since that was allowed: the first of them, by file and offset.
    pub refused: Vec<String>,
    /// How many there are.
    pub refusals: u64,
    /// Keys that the server holds now.
    pub keys: u64,
    /// False when some expiries may be off by a millisecond, for the server does not tell them exactly.
    pub expiry_exact: bool,
}

impl fmt::Display for AofReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} keys of the base, then {} commands, each answered without an error: {} keys",
            self.base_keys, self.commands, self.keys
        )?;
        if self.functions > 0 {
            write!(f, ", {} function libraries of the base", self.functions)?;
        }
        write!(f, "; {} had expired", self.expired)?;
        if self.expired_fields > 0 {
            write!(f, ", and {} fields of hashes", self.expired_fields)?;
        }
        if self.unwanted > 0 {
            write!(f, "; {} commands were for keys that were not asked for", self.unwanted)?;
        }
        for (name, count) in &self.scripts {
            write!(f, "\n{name} was run anew, {count} times: what it makes of the time is of now")?;
        }
        if let Some(cut) = &self.cut {
            let why = match cut.tail.reason {
                CutReason::ShortRead => "a command is cut off there, and no server loads that",
                CutReason::UnfinishedTransaction => "a transaction is not finished, and no server loads that",
                CutReason::LaterThanAsked => "they are later than was asked for",
            };
            let (path, tail) = (cut.path.display(), cut.tail);
            write!(f, "\n{path}: {} bytes from byte {} on do not count: {why}", tail.bytes, tail.offset)?;
        }
        if !self.left_out.is_empty() {
            write!(f, "\nleft out, for the server cannot hold it:\n{}", self.left_out)?;
        }
        for refused in &self.refused {
            write!(f, "\nLEFT OUT: {refused}")?;
        }
        let more = self.refusals.saturating_sub(self.refused.len() as u64);
        if more > 0 {
            write!(f, "\n… and {more} commands more")?;
        }
        if !self.expiry_exact {
            write!(f, "\nsome expiries may be off by a millisecond: the server does not tell them exactly")?;
        }
        Ok(())
    }
}

/// Restores an AOF into an empty server: a file, a manifest, or a folder ([`Files::locate`] says which paths mean what).
/// With `until`, only what came before the first annotation later than that (seconds since the epoch).
///
/// # Errors
/// [`Error::Refused`] and [`Error::Inexpressible`]: the server is not fit, or commands cannot be told it; nothing was
/// written. [`Error::File`]: no server loads the file; nothing was written. Any later error names the file, the byte and
/// the command.
pub async fn apply_aof(
    path: &Path,
    options: &ConnectOptions,
    settings: &RestoreOptions,
    until: Option<i64>,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<AofReport, Error> {
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    if settings.on_existing != OnExisting::Refuse && settings.flush.is_none() {
        return Err(Error::Refused {
            what: format!("{server} cannot be filled from an AOF beside what it holds"),
            conflicts: vec![format!(
                "commands change what is there, so that replace and skip have no meaning: it must be empty, or --flush {} \
                 empties it",
                server.address
            )],
        });
    }
    let settings = RestoreOptions { on_existing: OnExisting::Refuse, ..settings.clone() };
    fit::refuse_if_unfit(&mut connection, &server, &settings).await?;
    let times = StandIns::new(clock(&mut connection).await?);
    let table = Table::ask(&mut connection).await?;
    let against = Against { table, choice: settings.choice.clone(), times, target: server.target() };

    let path = path.to_owned();
    let (files, against, found) = tokio::task::spawn_blocking(move || {
        let files = Files::locate(&path)?;
        if let Some(until) = until {
            refuse_unknown_moment(&path, &files, until)?;
        }
        let found = survey(&files, until, &against)?;
        Ok::<_, Error>((files, against, found))
    })
    .await
    .map_err(Error::stream)??;
    if settings.flush.is_some() && found.summary.files.iter().all(|file| file.bytes == 0) {
        return Err(Error::Refused {
            what: format!("{server} was to be emptied for an append-only file that is empty"),
            conflicts: vec!["nothing would be left".to_owned()],
        });
    }
    refuse_what_cannot_be_told(&server, &found, settings.skip_unsupported)?;
    if !settings.skip_unsupported {
        for file in &found.summary.files {
            let Some(length) = file.preamble_bytes else { continue };
            let (_, losses) = unsupported(part_of(&file.path, 0, Some(length)), options, &settings).await?;
            if losses.is_serious() {
                return Err(Error::Inexpressible { target: server.to_string(), losses });
            }
        }
    }
    if settings.flush.is_some() {
        fit::flush(&mut connection, &server).await?;
    }
    let settings = RestoreOptions { flush: None, ..settings };
    let Survey { summary, .. } = found;
    let mut report = empty_report(server, &summary);
    let mut pipeline = Pipeline::new(&against, &settings, connection, options.address());
    let mut done = 0;
    let (mut based, mut fields) = (false, false);
    for (at, file) in summary.files.iter().enumerate() {
        if let Some(length) = file.preamble_bytes {
            let (base, mortal) = restore_with(
                part_of(&file.path, 0, Some(length)),
                options,
                &settings,
                Some(times),
                &|progress| on_progress(Progress { bytes: done + progress.bytes, keys: progress.keys }),
            )
            .await?;
            report.base_keys += base.keys;
            report.unwanted += base.unwanted;
            report.functions += base.functions;
            report.left_out = base.left_out;
            (based, fields) = (true, fields || mortal > 0);
        }
        let on_bytes = |bytes| on_progress(Progress { bytes: done + bytes, keys: report.base_keys });
        let Some(part) = files.parts.get(at) else { continue };
        pipeline.replay(&part.path, file, until, &on_bytes).await?;
        done += file.bytes;
    }
    let finished = pipeline.finish();
    let mut connection = finished.connection;
    fields |= finished.field_stand_ins > 0;
    let settled = match based || finished.stand_ins > 0 {
        true => settle::settle(&mut connection, &report.server, times, fields).await?,
        false => settle::Settled { exact: true, ..settle::Settled::default() },
    };
    report.commands = finished.commands;
    report.unwanted += finished.unwanted;
    report.scripts = finished.scripts;
    (report.refused, report.refusals) = (finished.refused, finished.refusals);
    (report.expired, report.expired_fields) = (settled.expired, settled.expired_fields);
    report.expiry_exact = settled.exact;
    report.keys = databases(&mut connection, &report.server).await?.values().sum();
    Ok(report)
}

/// Refuses a moment of which the files do not tell what was there then.
fn refuse_unknown_moment(path: &Path, files: &Files, until: i64) -> Result<(), Error> {
    match Moments::of(files)?.refusal(until) {
        None => Ok(()),
        Some(why) => Err(Error::Refused {
            what: format!("{} cannot be restored as of {}", path.display(), moments::shown(until)),
            conflicts: vec![why],
        }),
    }
}

fn empty_report(server: ServerIdentity, summary: &AofSummary) -> AofReport {
    AofReport {
        server,
        files: summary.files.clone(),
        cut: summary.cut.clone(),
        timestamp: summary.timestamp,
        base_keys: 0,
        functions: 0,
        left_out: crate::emit::Losses::default(),
        commands: 0,
        unwanted: 0,
        expired: 0,
        expired_fields: 0,
        scripts: std::collections::BTreeMap::new(),
        refused: Vec::new(),
        refusals: 0,
        keys: 0,
        expiry_exact: true,
    }
}

fn refuse_what_cannot_be_told(server: &ServerIdentity, found: &Survey, skip: bool) -> Result<(), Error> {
    let mut conflicts = found.conflicts();
    if !skip {
        conflicts.extend(found.refused.iter().cloned());
        let more = found.refusals.saturating_sub(found.refused.len() as u64);
        if more > 0 {
            conflicts.push(format!("… and {more} commands more"));
        }
        if found.refusals > 0 {
            conflicts.push("--on-unsupported skip leaves them out".to_owned());
        }
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(Error::Refused { what: format!("not every command of the AOF can be told {server}"), conflicts })
}

/// A command for people: its name and its first argument.
fn shown_command(words: &[&[u8]]) -> String {
    let short = |word: &&[u8]| shown(word.get(..64).unwrap_or(word));
    words.iter().take(2).map(short).collect::<Vec<_>>().join(" ")
}

/// A part of a file as a stream.
fn part_of(
    path: &Path,
    from: u64,
    length: Option<u64>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let path = path.to_owned();
    let open = async move {
        let mut file = tokio::fs::File::open(&path).await?;
        file.set_max_buf_size(1 << 20);
        file.seek(std::io::SeekFrom::Start(from)).await?;
        Ok(file.take(length.unwrap_or(u64::MAX)))
    };
    futures::stream::once(open).flat_map(|opened| {
        futures::stream::try_unfold(Some(opened), async |open: Option<std::io::Result<_>>| {
            let Some(file) = open else { return Ok(None) };
            let mut file: tokio::io::Take<tokio::fs::File> = file?;
            let mut piece = Vec::with_capacity(1 << 20);
            let read = file.read_buf(&mut piece).await?;
            Ok((read > 0).then(|| (Bytes::from(piece), Some(Ok(file)))))
        })
    })
}
