//! `dbhaul inspect`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use redisdump::inspect::{InspectOptions, Inspection, KeyRecord};

use crate::commands::job::JobArgs;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::jobs::inspect;
use crate::jobs::redis::data_folder;
use crate::report::inspect_redis;
use crate::ui::stdout::Stdout;

const EXAMPLES: &str = "\
Examples:
  dbhaul inspect
      List the servers and tables of the newest snapshot
  dbhaul inspect latest --source redis
      Sum up the keys of its Redis source
  dbhaul inspect dump.rdb --top 50
      Sum up the keys of an RDB file and list the 50 biggest
  dbhaul inspect dump.rdb --keys
      Print a line of JSON for each key";

/// List the contents of a snapshot, or of an RDB or AOF file
///
/// For a snapshot: each source's server, tables with rows and digests, and the objects of the schema. For its Redis
/// source (--source NAME) and for files: keys by database, type, encoding and prefix, expiries, and the biggest keys.
/// For an append-only file: the keys of its base, and its commands by name. Nothing is restored and no server is needed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct InspectArgs {
    /// Snapshot (its id, the beginning of its id, or `latest`), or path of an RDB file, an AOF file or an AOF folder
    #[arg(value_name = "SNAPSHOT|FILE", default_value = "latest")]
    what: String,
    /// Show only this source of the snapshot; for a Redis source also its keys
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    job: JobArgs,
    /// List every object of the PostgreSQL schema by kind and name
    #[arg(long)]
    objects: bool,
    /// Print every key as a line of JSON instead of a summary
    ///
    /// For a snapshot: of its only Redis source, or of the one named by --source.
    #[arg(long, conflicts_with = "csv", help_heading = "Redis")]
    keys: bool,
    /// Print the summary as CSV
    ///
    /// For a snapshot: of its only Redis source, or of the one named by --source.
    #[arg(long, help_heading = "Redis")]
    csv: bool,
    /// Number of biggest keys to list
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Redis")]
    top: usize,
    /// Character that separates the parts of key names
    #[arg(long, value_name = "CHARACTER", default_value_t = ':', help_heading = "Redis")]
    separator: char,
    /// Try to read an RDB version newer than the supported ones
    #[arg(long, help_heading = "Redis")]
    force: bool,
}

impl InspectArgs {
    fn options(&self) -> anyhow::Result<InspectOptions> {
        let separator = u8::try_from(self.separator)
            .map_err(|_| exit::usage("--separator expects one ASCII character"))?;
        let now = chrono::Utc::now().timestamp_millis();
        Ok(InspectOptions {
            top: self.top,
            separator,
            try_newer: self.force,
            now_ms: Some(now),
            ..InspectOptions::default()
        })
    }
}

pub(super) async fn run(args: InspectArgs, context: &Context) -> anyhow::Result<Exit> {
    let options = args.options()?;
    let found = if is_path(&args.what) {
        on_disk(PathBuf::from(&args.what), options, args.keys).await?
    } else {
        let repository = context.open_repository().await?;
        let only_redis = args.keys || args.csv;
        let series = args.job.series(context);
        let source = args.source.as_deref();
        let Some(source) =
            inspect::redis_source(&repository, &series, &args.what, source, only_redis, &context.progress)
                .await?
        else {
            let report = inspect::run(&repository, &series, &args.what, source, &context.progress).await?;
            context.print(&report, || report.render(args.objects, context.zone()))?;
            return Ok(Exit::Done);
        };
        if data_folder::is_aof(&source) {
            // The keys are known only after a replay: list those of the base, and the commands that follow.
            let laid = data_folder::unpack(&repository, &source, &context.progress).await?;
            on_disk(laid.path.clone(), options, args.keys).await?
        } else {
            let mut keys = KeyLines::new(args.keys);
            let found =
                inspect::redis(&repository, &source, options, &mut |record| keys.line(record)).await?;
            keys.finish()?;
            found
        }
    };
    match (args.keys, args.csv) {
        (true, _) => {}
        (_, true) => Stdout.write_all(inspect_redis::csv(&found).as_bytes())?,
        _ => context.print(&found, || inspect_redis::render(&found, context.zone()))?,
    }
    Ok(Exit::Done)
}

/// Inspects a file or folder in a blocking task.
async fn on_disk(path: PathBuf, options: InspectOptions, keys: bool) -> anyhow::Result<Inspection> {
    tokio::task::spawn_blocking(move || {
        let mut keys = KeyLines::new(keys);
        let found =
            redisdump::inspect::inspect_path(&path, options, &mut |record| keys.line(record), &mut |_| ())?;
        keys.finish()?;
        anyhow::Ok(found)
    })
    .await?
}

/// Whether the text is a path: it contains a slash, or it exists.
pub(super) fn is_path(text: &str) -> bool {
    text.contains('/') || Path::new(text).exists()
}

/// Writes keys as JSON lines to standard output, and keeps the first error until the end.
struct KeyLines {
    out: Option<std::io::BufWriter<Stdout>>,
    failed: Option<std::io::Error>,
}

impl KeyLines {
    fn new(wanted: bool) -> KeyLines {
        KeyLines { out: wanted.then(|| std::io::BufWriter::new(Stdout)), failed: None }
    }

    fn line(&mut self, record: &KeyRecord) {
        let (Some(out), None) = (&mut self.out, &self.failed) else { return };
        let written = serde_json::to_writer(&mut *out, record).map_err(std::io::Error::from);
        self.failed = written.and_then(|()| out.write_all(b"\n")).err();
    }

    fn finish(self) -> std::io::Result<()> {
        match (self.failed, self.out) {
            (Some(error), _) => Err(error),
            (None, Some(mut out)) => out.flush(),
            (None, None) => Ok(()),
        }
    }
}
