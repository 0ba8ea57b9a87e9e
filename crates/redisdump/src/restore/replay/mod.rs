//! Replays an AOF into a server: its base by the ordinary loader, then its commands, in order, on one connection.
//!
//! The whole file is read first: a command that the target does not know, or that cannot be translated, is reported
//! before anything is written. The contents of such a file are known only by running it, so keys cannot be verified
//! afterwards; a report can only list the commands that were answered with an error.

mod error_reply;
mod expiry;
mod pipeline;
mod preflight;
mod report;
mod settle;
mod table;
mod translate;

use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::settings::{ExpiryBase, OnExisting, RestoreOptions};
use super::{clock, memory, preflight as target_preflight, restore_with, unsupported};
use crate::aof::{Files, TimeRange, time_range};
use crate::client::connection::Connection;
use crate::client::databases::databases;
use crate::client::identity::identify;
use crate::compare::report::Progress;
use crate::conflict::{Conflict, Remedy};
use crate::convert::commands::PlaceholderExpiries;
use crate::display::shown;
use crate::{ConnectOptions, Error, ServerIdentity};
use redis::cmd;

pub use report::{AofReport, UndatedExpiries};

use pipeline::Pipeline;
use preflight::{Preflight, ReplayContext, preflight_scan};
use table::Table;

/// Maximum number of commands that are listed; further ones are counted.
const NAMED: usize = 20;

/// Restores an AOF into an empty server: a file, a manifest, or a folder ([`Files::locate`] describes the paths). With
/// `until`, only the commands before the first annotation later than that time (seconds since the epoch).
///
/// # Errors
/// [`Error::Refused`] and [`Error::Unsupported`]: the server is not suitable, or commands cannot be translated; nothing
/// was written. [`Error::File`]: no server loads the file; nothing was written. Any later error names the file, the
/// byte and the command.
pub async fn apply_aof(
    path: &Path,
    options: &ConnectOptions,
    settings: &RestoreOptions,
    until: Option<i64>,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<AofReport, Error> {
    if options.is_cluster() {
        return Err(super::cluster::no_commands(options));
    }
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    refuse_settings(&server, settings)?;
    let settings = RestoreOptions { on_existing: OnExisting::Refuse, ..settings.clone() };
    target_preflight::refuse_unsuitable(&mut connection, &server, &settings).await?;
    let now = clock(&mut connection).await?;
    let times = PlaceholderExpiries::new(now);
    let table = Table::ask(&mut connection).await?;
    let against = ReplayContext {
        table,
        choice: settings.choice.clone(),
        times,
        target: server.target(),
        try_newer: settings.try_newer,
    };

    let path = path.to_owned();
    let (files, against, found) = tokio::task::spawn_blocking(move || {
        let files = Files::locate(&path)?;
        if let Some(until) = until {
            refuse_unknown_moment(&path, &files, until)?;
        }
        let found = preflight_scan(&files, until, &against)?;
        Ok::<_, Error>((files, against, found))
    })
    .await
    .map_err(Error::stream)??;
    found.matched.finish(&settings.choice)?;
    refuse_found(&server, &mut connection, &found, options, &settings).await?;
    let evicted = memory::evicted(&mut connection).await?;
    if settings.flush.is_some() {
        target_preflight::flush(&mut connection, &server).await?;
    }
    let settings = RestoreOptions { flush: None, ..settings };
    let Preflight { summary, .. } = found;
    let mut report = AofReport::new(server, &summary);
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
        pipeline.count_expiries_from(expiry_base(settings.replay.expiry_base, &part.path, now));
        pipeline.replay(&part.path, file, until, &on_bytes).await?;
        done += file.bytes;
    }
    let (mut connection, finished) = pipeline.finish();
    fields |= finished.field_placeholders > 0;
    let settled = match based || finished.placeholders > 0 {
        true => settle::settle(&mut connection, &report.server, times, fields).await?,
        false => settle::SettledExpiries { exact: true, ..settle::SettledExpiries::default() },
    };
    report.replayed(finished, &settled);
    let after = memory::evicted(&mut connection).await?;
    report.evicted = evicted.zip(after).map_or(0, |(before, after)| after.saturating_sub(before));
    report.keys = databases(&mut connection, &report.server).await?.values().sum();
    Ok(report)
}

/// Refuses a file that the server cannot replay as a whole; nothing was written yet.
async fn refuse_found(
    server: &ServerIdentity,
    connection: &mut Connection,
    found: &Preflight,
    options: &ConnectOptions,
    settings: &RestoreOptions,
) -> Result<(), Error> {
    if settings.flush.is_some() && found.summary.files.iter().all(|file| file.bytes == 0) {
        return Err(Error::Refused {
            what: format!("{server} was to be cleared for an append-only file that is empty"),
            conflicts: vec!["nothing would be left".into()],
        });
    }
    let mut conflicts = found.conflicts();
    conflicts.extend(missing_databases(connection, found).await?);
    refuse_unsupported_commands(server, found, conflicts, settings.skip_unsupported)?;
    if !settings.skip_unsupported {
        for file in &found.summary.files {
            let Some(length) = file.preamble_bytes else { continue };
            let (_, unsupported) =
                unsupported(part_of(&file.path, 0, Some(length)), options, settings).await?;
            if unsupported.is_serious() {
                return Err(Error::Unsupported { target: server.to_string(), unsupported });
            }
        }
    }
    Ok(())
}

/// Refuses settings that a replay of commands cannot follow.
fn refuse_settings(server: &ServerIdentity, settings: &RestoreOptions) -> Result<(), Error> {
    if !settings.choice.keeps_keys() || !settings.choice.only.is_empty() {
        return Err(Error::Refused {
            what: format!(
                "{server} cannot be restored from an AOF with other names or expiries, or from some of its databases"
            ),
            conflicts: vec![Conflict::from(
                "commands state names and expiries in ways that cannot be changed safely: replay the file into a \
                 separate server, and migrate from there",
            )],
        });
    }
    if settings.on_existing != OnExisting::Refuse && settings.flush.is_none() {
        return Err(Error::Refused {
            what: format!("{server} cannot be restored from an AOF in addition to its own data"),
            conflicts: vec![Conflict::with_remedy(
                "commands change existing keys, so that these cannot be replaced or skipped: the server must be empty",
                Remedy::Flush { server: server.address.clone() },
            )],
        });
    }
    Ok(())
}

/// Refuses a point in time for which the files do not determine the contents.
fn refuse_unknown_moment(path: &Path, files: &Files, until: i64) -> Result<(), Error> {
    match TimeRange::of(files)?.refusal(until) {
        None => Ok(()),
        Some(why) => Err(Error::Refused {
            what: format!("{} cannot be restored as of {}", path.display(), time_range::shown(until)),
            conflicts: vec![why.into()],
        }),
    }
}

/// Databases that commands use and that the server does not have. Each is tried with SELECT, since the server may hide
/// its settings.
async fn missing_databases(connection: &mut Connection, found: &Preflight) -> Result<Vec<Conflict>, Error> {
    /// If an AOF uses more databases than this, the others are not checked here: the replay stops at the first missing
    /// one.
    const MAX_DATABASES: usize = 100_000;
    let mut conflicts = Vec::new();
    for (from, to) in found.databases.iter().filter(|(_, to)| **to > 0).take(MAX_DATABASES) {
        if conflicts.len() == NAMED {
            break;
        }
        if let Err(words) = connection.reply_to(cmd("SELECT").arg(*to)).await? {
            let reason = format!(
                "commands use database {to}, which the server does not have ({words}): raise its setting `databases`, or \
                 choose another database"
            );
            conflicts.push(Conflict::with_remedy(reason, Remedy::ChangeDatabase { from: *from }));
        }
    }
    connection.select(0).await?;
    Ok(conflicts)
}

/// The base of undated relative expiries of a file, in milliseconds since the epoch.
fn expiry_base(base: ExpiryBase, path: &Path, now: i64) -> i64 {
    let modified = || {
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
        i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    };
    match base {
        ExpiryBase::Now => now,
        ExpiryBase::At(moment) => moment,
        ExpiryBase::FileTime => modified().unwrap_or(now),
    }
}

fn refuse_unsupported_commands(
    server: &ServerIdentity,
    found: &Preflight,
    mut conflicts: Vec<Conflict>,
    skip: bool,
) -> Result<(), Error> {
    if !skip {
        let refused = |reason: String| Conflict::with_remedy(reason, Remedy::SkipUnsupported);
        conflicts.extend(found.refused.iter().cloned().map(refused));
        let more = found.refusals.saturating_sub(found.refused.len() as u64);
        if more > 0 {
            conflicts.push(format!("… and {more} more commands").into());
        }
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        what: format!("not every command of the AOF can be replayed into {server}"),
        conflicts,
    })
}

/// A command for display: its name and its first argument.
fn shown_command(words: &[&[u8]]) -> String {
    let short = |word: &&[u8]| shown(word.get(..64).unwrap_or(word));
    words.iter().take(2).map(short).collect::<Vec<_>>().join(" ")
}

/// Part of a file as a stream.
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
