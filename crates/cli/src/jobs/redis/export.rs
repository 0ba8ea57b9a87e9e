//! Export of Redis: converts an RDB stream.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use futures::SinkExt as _;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use redisdump::convert::commands::Target;
use redisdump::convert::export::{Export, ExportOptions, ExportReport, Format, OnUnsupported, preflight};
use redisdump::rdb::Dialect;
use repository::Repository;

use crate::config::Kind;
use crate::exit;
use crate::jobs::find::{self, Ask};
use crate::jobs::parts::source_for;
use crate::jobs::record::flavor_of;
use crate::jobs::redis::{cluster, replay};
use crate::jobs::series::Series;
use crate::ui::Progress;

/// Settings of an export.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Output format.
    pub(crate) format: Format,
    /// Server version to write for; `None` for that of the source.
    pub(crate) target: Option<Target>,
    /// Leave out values that the target cannot hold, instead of refusing.
    pub(crate) skip: bool,
    /// Write commands that replace existing keys.
    pub(crate) replace: bool,
    /// Include values of modules.
    pub(crate) modules: bool,
}

impl Settings {
    fn options(&self, source: Option<Target>) -> anyhow::Result<ExportOptions> {
        // JSON does not depend on a version: any will do.
        let any = (self.format == Format::Json).then(|| Target::redis(8, 0));
        let target = self
            .target
            .or(source)
            .or(any)
            .context("the source's version is unknown: pass --redis-version")?;
        let mut options = ExportOptions::new(self.format, target);
        options.on_unsupported = if self.skip { OnUnsupported::Skip } else { OnUnsupported::Refuse };
        options.replace = self.replace;
        options.modules = self.modules;
        Ok(options)
    }
}

/// Exports an RDB file, or an AOF: its base like an RDB, followed by its commands unchanged.
pub(crate) async fn file(
    path: &Path,
    settings: Settings,
    out: &mut dyn Write,
    progress: &Progress,
) -> anyhow::Result<ExportReport> {
    match replay::look(path).await? {
        replay::FileContent::Rdb(rdb) => rdb_file(&rdb, settings, out).await,
        replay::FileContent::Aof => aof(path, settings, out, progress).await,
    }
}

async fn aof(
    path: &Path,
    settings: Settings,
    out: &mut dyn Write,
    progress: &Progress,
) -> anyhow::Result<ExportReport> {
    let version = version_of_file(path).await?;
    let place = path.to_owned();
    let summary = tokio::task::spawn_blocking(move || {
        let files = redisdump::aof::Files::locate(&place)?;
        redisdump::aof::read(&files, Default::default(), &mut (), &mut |_, _| ())
    })
    .await??;
    let commands: u64 = summary.files.iter().map(|file| file.commands).sum();
    if commands > 0 && settings.format != Format::Resp {
        return Err(exit::usage(format!(
            "{} holds {commands} commands, and their result is only known after running them: --format resp writes them, \
             `dbhaul restore` runs them in a server",
            path.display()
        )));
    }
    // A base alone is an RDB; without one, no version is needed.
    let any = settings.options(version.or(Some(Target::redis(7, 0))))?.target;
    let mut report = ExportReport {
        format: settings.format,
        target: any,
        keys: 0,
        bytes_read: summary.files.iter().map(|file| file.bytes).sum(),
        bytes_written: 0,
        left_out: redisdump::convert::commands::UnsupportedValues::default(),
    };
    for file in &summary.files {
        let Some(length) = file.preamble_bytes else { continue };
        let open =
            || redisdump::convert::export::beginning(&file.path, length).map_err(anyhow::Error::new).boxed();
        report = run(open, settings.options(version)?, out).await?;
    }
    if commands > 0 {
        progress.warn(
            "keys may expire while these commands run before a later command renews them; `dbhaul restore` of the same file keeps \
             them"
        );
        let (_, bytes) = redisdump::convert::export::aof_commands(&summary, out)?;
        out.flush()?;
        report.bytes_written += bytes;
    }
    if let Some(cut) = &summary.cut {
        let (file, tail) = (cut.path.display(), cut.tail);
        progress.warn(format!(
            "{file}: {} bytes from byte {} on are ignored by every server",
            tail.bytes, tail.offset
        ));
    }
    Ok(report)
}

async fn rdb_file(path: &Path, settings: Settings, out: &mut dyn Write) -> anyhow::Result<ExportReport> {
    let mut version = None;
    if settings.target.is_none() && settings.format != Format::Json {
        version = version_of_file(path).await?;
    }
    let open = || redisdump::convert::export::file(path).map_err(anyhow::Error::new).boxed();
    run(open, settings.options(version)?, out).await
}

/// The version of the server that wrote the file, from the RDB header.
async fn version_of_file(path: &Path) -> anyhow::Result<Option<Target>> {
    let path = path.to_owned();
    let inspection = tokio::task::spawn_blocking(move || {
        redisdump::inspect::inspect_path(&path, Default::default(), &mut |_| (), &mut |_| ())
    })
    .await??;
    let redis = inspection.aux.get("redis-ver").map(|version| version.parse());
    let valkey = inspection.aux.get("valkey-ver").map(|version| format!("valkey-{version}").parse());
    Ok(valkey.or(redis).and_then(Result::ok))
}

/// Exports the Redis source of a snapshot.
pub(crate) async fn stored(
    repository: &Repository,
    (series, snapshot): (&Series, &str),
    source: Option<&str>,
    settings: Settings,
    out: &mut dyn Write,
    progress: &Progress,
) -> anyhow::Result<ExportReport> {
    let ask = Ask::named_or(source, Kind::Redis);
    let manifest = find::snapshot(repository, series, snapshot, ask, progress).await?;
    let source = source_for(&manifest, source, Kind::Redis)?;
    let parts = cluster::rdb_parts(source)?;
    let version = source.server.pointer("/version").and_then(serde_json::Value::as_str);
    let version = version.and_then(|version| version.parse::<Target>().ok());
    // The manifest contains only the number, which is read as a Redis version by default.
    let flavor = flavor_of(source)?.unwrap_or(Dialect::Redis);
    let version = version.map(|target| Target { flavor, ..target });
    let open = || cluster::rdb_stream(repository, &parts);
    run(open, settings.options(version)?, out).await
}

async fn run<'a>(
    open: impl Fn() -> BoxStream<'a, anyhow::Result<Bytes>>,
    options: ExportOptions,
    out: &mut dyn Write,
) -> anyhow::Result<ExportReport> {
    if options.on_unsupported == OnUnsupported::Refuse && options.format != Format::Json {
        let unsupported = preflight(open(), options).await?;
        if unsupported.has_keys() {
            return Err(
                redisdump::Error::Unsupported { target: options.target.to_string(), unsupported }.into()
            );
        }
    }
    // The export owns its stream, but the feeding future may borrow.
    let (mut feed, fed) = futures::channel::mpsc::channel::<anyhow::Result<Bytes>>(2);
    let mut export = Export::new(fed, options);
    let feeder = async {
        let mut stream = open();
        while let Some(piece) = stream.next().await {
            if feed.send(piece).await.is_err() {
                break;
            }
        }
        drop(feed);
        anyhow::Ok(())
    };
    let writer = async {
        while let Some(piece) = export.try_next().await? {
            out.write_all(&piece)?;
        }
        out.flush()?;
        anyhow::Ok(())
    };
    futures::try_join!(feeder, writer)?;
    export.report().context("the export ended without a report")
}
