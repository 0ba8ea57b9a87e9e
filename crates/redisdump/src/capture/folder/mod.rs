//! A server's data folder: its RDB and its append-only file in one or several parts, of a stopped or running server.
//!
//! If the server can be queried, it says which of its files are current, and does not rewrite its AOF while they are
//! opened (`suspend`). They are opened together and read up to the length that they had then (`held`), so that the
//! capture is of one point in time, whatever the server does meanwhile. While reading, the contents are checked as a
//! server checks them (`pass`).

mod held;
mod pass;
mod suspend;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use futures::Stream;
use serde::{Deserialize, Serialize};

use crate::aof::{FileError, FileType};
use crate::capture::stats::CaptureReport;
use crate::{ConnectOptions, Error, ServerIdentity};

use held::{OpenFile, Opened};
use pass::Pass;
use suspend::{Facts, Suspended};

/// How a server stores its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// An RDB, or an AOF that contains only one.
    Rdb,
    /// An append-only file with commands.
    Aof,
}

/// A captured file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FolderFile {
    /// Its name, without its folder.
    pub name: String,
    /// Its role in a multi-part AOF; `None` for a single file.
    pub file_type: Option<FileType>,
    /// Its sequence number in a multi-part AOF.
    pub sequence: Option<i64>,
    /// Number of bytes captured.
    pub bytes: u64,
    /// The last modification time in milliseconds since the epoch: the base of relative expiries without a date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ms: Option<i64>,
}

/// The contents of a data folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FolderReport {
    /// The server, as described by itself or by its files.
    pub server: ServerIdentity,
    /// How the keys were stored.
    pub persistence: Persistence,
    /// The files, in the order in which a server loads them.
    pub files: Vec<FolderFile>,
    /// Files of a server that exist and were not used.
    pub not_taken: Vec<String>,
    /// Warnings about the capture.
    pub warnings: Vec<String>,
    /// Statistics of an RDB; `None` for an AOF.
    pub rdb: Option<CaptureReport>,
    /// Statistics of an AOF; `None` for an RDB.
    pub aof: Option<AofContents>,
}

/// The contents of an AOF, as far as they are known without running it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AofContents {
    /// Number of keys in its RDB preamble.
    pub base_keys: u64,
    /// Number of function libraries in its RDB preamble.
    pub functions: u64,
    /// Number of commands after it.
    pub commands: u64,
    /// The last `#TS:` annotation, in seconds since the epoch.
    pub timestamp: Option<i64>,
    /// Number of bytes at the end of the last file that no server loads.
    pub cut_bytes: u64,
}

/// A data folder whose files are open.
pub struct FolderCapture {
    path: PathBuf,
    held: Vec<OpenFile>,
    persistence: Persistence,
    server: Option<ServerIdentity>,
    not_taken: Vec<String>,
    warnings: Vec<String>,
    pass: Pass,
    read: usize,
}

impl FolderCapture {
    /// Opens what a path denotes: a data folder, the folder or manifest of a multi-part AOF, an AOF file, an RDB file.
    ///
    /// With a running server's address, that server says which of its files are current, and its automatic rewrites are
    /// suspended (`auto-aof-rewrite-percentage 0`) until all are open; the setting is restored even if this fails or is
    /// dropped. An unreachable server is assumed to be stopped, with a warning. Without an address, an existing AOF is
    /// used, as by a server with `appendonly yes`; otherwise name the RDB itself.
    ///
    /// # Errors
    /// [`Error::File`] for a file that does not exist, cannot be read, or keeps changing; [`Error::Server`] if the
    /// folder does not belong to that server, or its setting could not be restored.
    pub async fn open(path: &Path, server: Option<&ConnectOptions>) -> Result<FolderCapture, Error> {
        let mut warnings = Vec::new();
        let mut suspended = server.map(Suspended::begin);
        let facts = match &mut suspended {
            Some(guard) => match guard.facts().await {
                Ok(facts) => Some(facts),
                Err(error @ Error::Connect { .. }) => {
                    warnings.push(format!("{error}; its folder is read as that of a stopped server"));
                    None
                }
                Err(error) => return Err(error),
            },
            None => None,
        };
        let opened = open_rdb_besides_aof(path, facts.as_ref(), suspended.as_ref()).await;
        if let Some(guard) = suspended.filter(|_| facts.is_some()) {
            let resumed = tokio::task::spawn_blocking(move || guard.end()).await.map_err(Error::stream)?;
            // The first error is reported, unless the setting was not restored, which is more important.
            resumed?;
        }
        let Opened { files, is_aof, not_taken } = opened?;
        let persistence = if is_aof { Persistence::Aof } else { Persistence::Rdb };
        let mut capture = FolderCapture {
            path: path.to_owned(),
            pass: Pass::new(persistence),
            held: files,
            persistence,
            server: facts.as_ref().map(|facts| facts.server.clone()),
            not_taken,
            warnings,
            read: 0,
        };
        capture.warn(facts);
        Ok(capture)
    }

    /// Collects the warnings.
    fn warn(&mut self, facts: Option<Facts>) {
        match facts {
            Some(facts) => {
                self.warnings.extend(facts.warnings);
                if facts.server.cluster {
                    self.warnings.push(format!(
                        "{} is a node of a cluster: only its own keys are captured, not the cluster's other keys",
                        facts.server
                    ));
                }
                if let Some(unsaved) = facts.unsaved.filter(|n| *n > 0 && !facts.appendonly) {
                    self.warnings.push(format!(
                        "{} keeps no append-only file, and {unsaved} changes are newer than its RDB: they are not \
                         captured. Without data-dir, all data is captured by replication",
                        facts.server
                    ));
                }
            }
            None => {
                let users = held::users_of(&self.held);
                if !users.is_empty() {
                    self.warnings.push(format!(
                        "{} is in use by {}: its server is running. What it has written so far is captured; set url \
                         besides data-dir, so that the server can be asked which files are current",
                        self.path.display(),
                        users.join(", ")
                    ));
                }
                self.warn_of_newer_rdb();
            }
        }
    }

    /// A server without AOF does not delete an old one, and there is no server to ask.
    fn warn_of_newer_rdb(&mut self) {
        if self.persistence == Persistence::Rdb || !self.path.is_dir() {
            return;
        }
        let written = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        let dump = self.path.join("dump.rdb");
        let aof: Option<SystemTime> = self.held.iter().filter_map(|file| file.modified).max();
        if let (Some(rdb), Some(aof)) = (written(&dump), aof)
            && rdb.duration_since(aof).is_ok_and(|newer| newer.as_secs() >= 60)
        {
            self.warnings.push(format!(
                "{} is newer than the captured append-only file: if the server runs with `appendonly no`, name this \
                 file as data-dir",
                dump.display()
            ));
        }
    }

    /// Warnings about the capture.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How the keys are stored.
    pub fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// The captured files, in the order in which they must be read.
    pub fn files(&self) -> Vec<FolderFile> {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.held
            .iter()
            .map(|file| FolderFile {
                name: name(&file.path),
                file_type: file.file_type,
                sequence: file.sequence,
                bytes: file.bytes,
                modified_ms: file.modified.and_then(|modified| {
                    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
                    i64::try_from(since.as_millis()).ok()
                }),
            })
            .collect()
    }

    /// Reads the next of [`FolderCapture::files`]. Each must be read to its end.
    pub fn read_next(&mut self) -> impl Stream<Item = Result<Bytes, Error>> + Send + '_ {
        let at = self.read;
        self.read += 1;
        futures::stream::try_unfold(
            (self, None::<tokio::fs::File>, 0_u64),
            move |(this, file, done)| async move {
                let Some(held) = this.held.get(at) else { return Ok(None) };
                let mut file = match file {
                    Some(file) => file,
                    None => {
                        this.pass.begin(at + 1 == this.held.len());
                        let io = |source| FileError::Io { path: held.path.clone(), source };
                        tokio::fs::File::from_std(held.file.try_clone().map_err(io)?)
                    }
                };
                match held.piece(&mut file, done).await? {
                    Some(mut piece) => {
                        let done = done + piece.len() as u64;
                        piece.truncate(this.pass.feed(held, &piece)?);
                        Ok(Some((piece, (this, Some(file), done))))
                    }
                    None => {
                        this.pass.end(held)?;
                        Ok(None)
                    }
                }
            },
        )
    }

    /// After all files were read: checks that they did not change since they were opened, and returns their contents.
    ///
    /// # Errors
    /// [`Error::File`]: a file was changed while it was read, by something other than a server.
    pub fn finish(mut self) -> Result<FolderReport, Error> {
        if self.read < self.held.len() {
            return Err(Error::stream("not all files of the folder were read"));
        }
        for held in &self.held {
            let grown = held.settled()?;
            if grown > 0 && self.server.is_none() {
                self.warnings.push(format!(
                    "{} has grown by {grown} bytes since it was opened: a server is running, and what it has written \
                     since then is not captured",
                    held.path.display()
                ));
            }
        }
        let files = self.files();
        let path = self.path.display().to_string();
        let server = self.server.take().unwrap_or_else(|| self.pass.origin(path));
        let (rdb, aof) = self.pass.contents(&server, &self.warnings)?;
        if let Some(cut) = aof.as_ref().map(|aof| aof.cut_bytes).filter(|bytes| *bytes > 0) {
            self.warnings.push(format!(
                "the last {cut} bytes of the append-only file are an unfinished command or transaction, which no server loads"
            ));
        }
        Ok(FolderReport {
            server,
            persistence: self.persistence,
            files,
            not_taken: self.not_taken,
            warnings: self.warnings,
            rdb,
            aof,
        })
    }
}

/// Opens the files; those of a queried server must be as long as it says.
async fn open_rdb_besides_aof(
    path: &Path,
    facts: Option<&Facts>,
    suspended: Option<&Suspended>,
) -> Result<Opened, Error> {
    let (appendonly, names) = match facts {
        Some(facts) => (Some(facts.appendonly), facts.names.clone()),
        None => (None, BTreeMap::new()),
    };
    let wanted = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || held::open(&wanted, appendonly, &names))
        .await
        .map_err(Error::stream)??;
    if let (Some(facts), Some(guard), true) = (facts, suspended, opened.is_aof)
        && let (Some(before), Some(after)) = (facts.aof_bytes, guard.aof_bytes().await)
    {
        let bytes: u64 = opened.files.iter().map(|file| file.bytes).sum();
        // The empty base that a new server starts with is not included in its own count.
        const EMPTY_BASE: u64 = 4096;
        if before <= after && !(before..=after.saturating_add(EMPTY_BASE)).contains(&bytes) {
            return Err(Error::Server {
                target: facts.server.to_string(),
                operation: format!("reading its folder {}", path.display()),
                message: format!(
                    "the append-only file there has {bytes} bytes, and the server says {before} to {after} (INFO persistence, \
                     aof_current_size): this is another server's folder, or not what this server writes. Nothing was read"
                ),
            });
        }
    }
    Ok(opened)
}
