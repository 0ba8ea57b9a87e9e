//! PGlite: PostgreSQL in one process, with TimescaleDB and pgvector, behind a small server.
//!
//! No package registry offers an ordinary server with TimescaleDB; this one runs wherever Node.js does. All its
//! connections share one backend (see `shim.mjs`): one job at a time, and no background jobs.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::{assert_tier, or_skip};
use crate::folder::Folder;
use crate::process::{self, Process};
use crate::{Error, Places};

const SHIM: &[u8] = include_bytes!("shim.mjs");

/// A running PGlite. Dropping it stops it.
#[derive(Debug)]
pub struct Pglite {
    // Fields are dropped in this order: the process must end before its folder is removed.
    _process: Process,
    folder: Folder,
}

impl Pglite {
    /// Starts an empty one on a Unix socket; otherwise prints `SKIPPED` and returns `None`. Takes about ten seconds
    /// and 0.6 GB.
    pub fn require() -> Option<Pglite> {
        assert_tier("pglite-0.3", &["default"]);
        let program = or_skip(find())?;
        Some(Pglite::start(&program).expect("PGlite starts"))
    }

    fn start(program: &Path) -> Result<Pglite, Error> {
        let folder = Folder::new("dbhaul-pglite-", None)?;
        let shim = folder.write("shim.mjs", SHIM, None)?;
        let log = folder.path().join("log");
        // The package is next to its program's folder.
        let package = program.parent().and_then(Path::parent).unwrap_or(program).join("package");
        // Named like PostgreSQL's own socket, so that clients find it by the folder.
        let socket = folder.path().join(".s.PGSQL.5432");
        let mut command = process::command_with_private_files(program, folder.path());
        command.arg(&shim).arg(&package).arg(&socket);
        let mut process = Process::spawn(command, &log, folder.path(), Signal::TERM)?;
        let place = format!("on {}", socket.display());
        process::wait_ready(&mut process, "PGlite", &place, &log, |_| {
            process::tail(&log, 1000).contains("ready")
        })?;
        Ok(Pglite { _process: process, folder })
    }

    /// A URL for its superuser and its only database.
    pub fn url(&self) -> String {
        let folder = process::percent(&self.folder.path().to_string_lossy());
        format!("postgres://postgres@{folder}/postgres?sslmode=disable")
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        process::tail(&self.folder.path().join("log"), 4000)
    }
}

fn find() -> Result<PathBuf, Error> {
    let places = Places::from_env();
    let found = places.programs("pglite", "pglite").into_iter().next_back();
    found.ok_or_else(|| Error::NotFound {
        wanted: "PGlite (scripts/servers pglite)".to_owned(),
        looked: places.shown(),
    })
}
