//! A server's data folder: its RDB, its append-only file in one or many parts, of a stopped server or a running one.
//!
//! Where the server can be asked, it says which of its files count, and does not rewrite its AOF while they are opened
//! (`suspend`). They are opened together and read up to the length that they had then (`held`), so that what is taken is
//! one moment, however the server goes on. What is read is checked on the way as a server checks it (`pass`).

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

use held::{Held, Opened};
use pass::Pass;
use suspend::{Facts, Suspended};

/// What a server keeps its keys in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// An RDB; also an AOF that is nothing but one.
    Rdb,
    /// An append-only file with commands.
    Aof,
}

/// A file that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FolderFile {
    /// Its name, without its folder.
    pub name: String,
    /// What it is for in a multi-part AOF; nothing for a single file.
    pub file_type: Option<FileType>,
    /// Its number in a multi-part AOF.
    pub sequence: Option<i64>,
    /// How many of its bytes are taken.
    pub bytes: u64,
    /// When it was modified last, in milliseconds since the epoch: relative expiries without a date are counted from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ms: Option<i64>,
}

/// What a data folder held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FolderReport {
    /// The server: as it says of itself, or as its files say of it.
    pub server: ServerIdentity,
    /// What was taken.
    pub persistence: Persistence,
    /// The files, in the order in which a server loads them.
    pub files: Vec<FolderFile>,
    /// Files of a server that are there and were not taken.
    pub not_taken: Vec<String>,
    /// What is to be known before it is used.
    pub warnings: Vec<String>,
    /// What is known of an RDB; nothing of an AOF.
    pub rdb: Option<CaptureReport>,
    /// What is known of an AOF; nothing of an RDB.
    pub aof: Option<AofContents>,
}

/// What an AOF held, as far as it can be known without running it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AofContents {
    /// Keys of its RDB preamble.
    pub base_keys: u64,
    /// Function libraries of its RDB preamble.
    pub functions: u64,
    /// Commands after it.
    pub commands: u64,
    /// The last `#TS:` annotation, in seconds since the epoch.
    pub timestamp: Option<i64>,
    /// Bytes at the end of the last file that do not count, as they do for no server.
    pub cut_bytes: u64,
}

/// A data folder whose files are held open.
pub struct FolderCapture {
    path: PathBuf,
    held: Vec<Held>,
    persistence: Persistence,
    server: Option<ServerIdentity>,
    not_taken: Vec<String>,
    warnings: Vec<String>,
    pass: Pass,
    read: usize,
}

impl FolderCapture {
    /// Opens what a path means: a data folder, the folder or manifest of a multi-part AOF, an AOF file, an RDB file.
    ///
    /// With a running server's address, that server says which of its files count, and its automatic rewrites are
    /// suspended (`auto-aof-rewrite-percentage 0`) until all are open; the setting is put back also when this fails or is
    /// dropped. A server that cannot be reached is taken for stopped, with a warning. Without an address an AOF counts
    /// where there is one, as for a server with `appendonly yes`; name the RDB itself where that is not so.
    ///
    /// # Errors
    /// [`Error::File`] for what is not there, cannot be read, or changes all the time; [`Error::Server`] when the folder is
    /// not that server's, or its setting could not be put back.
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
        let opened = open_beside(path, facts.as_ref(), suspended.as_ref()).await;
        if let Some(guard) = suspended.filter(|_| facts.is_some()) {
            let resumed = tokio::task::spawn_blocking(move || guard.end()).await.map_err(Error::stream)?;
            // What went wrong first is what is told; that the setting is not back matters more.
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

    /// Says what is to be known.
    fn warn(&mut self, facts: Option<Facts>) {
        match facts {
            Some(facts) => {
                self.warnings.extend(facts.warnings);
                if facts.server.cluster {
                    self.warnings.push(format!(
                        "{} is a node of a cluster: what it keeps is taken, and not the cluster's other keys",
                        facts.server
                    ));
                }
                if let Some(unsaved) = facts.unsaved.filter(|n| *n > 0 && !facts.appendonly) {
                    self.warnings.push(format!(
                        "{} keeps no append-only file, and {unsaved} changes are newer than its RDB: they are not taken. \
                         Without data-dir it is asked for all by replication",
                        facts.server
                    ));
                }
            }
            None => {
                let users = held::users_of(&self.held);
                if !users.is_empty() {
                    self.warnings.push(format!(
                        "{} is in use by {}: this is no stopped server. What it has written by now is taken; give its url \
                         beside data-dir, so that it can be asked what counts",
                        self.path.display(),
                        users.join(", ")
                    ));
                }
                self.warn_of_newer_rdb();
            }
        }
    }

    /// A server without AOF leaves an old one lying, and nobody can be asked.
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
                "{} is newer than the append-only file that is taken: if the server runs with `appendonly no`, name this \
                 file as data-dir",
                dump.display()
            ));
        }
    }

    /// What is to be known before it is used.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What is taken.
    pub fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// The files that are taken, in the order in which they are to be read.
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

    /// Reads the next file; [`FolderCapture::files`] says which that is. Each is to be read to its end.
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

    /// After all files were read: that they are what they were when they were opened, and what they hold.
    ///
    /// # Errors
    /// [`Error::File`]: a file was changed while it was read, by something that is no server.
    pub fn finish(mut self) -> Result<FolderReport, Error> {
        if self.read < self.held.len() {
            return Err(Error::stream("not all files of the folder were read"));
        }
        for held in &self.held {
            let grown = held.settled()?;
            if grown > 0 && self.server.is_none() {
                self.warnings.push(format!(
                    "{} has grown by {grown} bytes since it was opened: a server is running, and what it has written since \
                     then is not taken",
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

/// Opens the files; those of a server that is asked must be as long as it says.
async fn open_beside(
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
        // The base that a new server begins with is not in its own count; it holds nothing.
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
