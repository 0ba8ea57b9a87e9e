//! Checks and counts the files of a folder while they are read.

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;

use super::held::OpenFile;
use super::{AofContents, Persistence};
use crate::aof::{self, FileError, Keep};
use crate::capture::stats::{CaptureReport, CaptureStats};
use crate::rdb::{self, Dialect, Elements, Key, Tee, Visitor};
use crate::verify::uniqueness::Uniqueness;
use crate::{Error, ServerIdentity};

/// Number of bytes read at a time.
const PIECE: u64 = 256 << 10;
/// The auxiliary fields of an RDB are within this many bytes.
const HEADER_BYTES: usize = 64 << 10;

impl OpenFile {
    /// The next bytes of the file after `done`; empty at the end of the captured part.
    pub(super) async fn piece(&self, file: &mut tokio::fs::File, done: u64) -> Result<Option<Bytes>, Error> {
        let most = self.bytes.saturating_sub(done).min(PIECE);
        if most == 0 {
            return Ok(None);
        }
        let io = |source| FileError::Io { path: self.path.clone(), source };
        let mut piece = Vec::with_capacity(usize::try_from(most).unwrap_or_default());
        if file.take(most).read_buf(&mut piece).await.map_err(io)? == 0 {
            let message = "it was truncated while it was read; the data is not used".to_owned();
            return Err(FileError::NotFound { path: self.path.clone(), message }.into());
        }
        Ok(Some(Bytes::from(piece)))
    }
}

/// Inspects the bytes while they are read.
pub(super) struct Pass {
    what: What,
    uniqueness: Uniqueness,
    /// The RDB has ended and was checked.
    looked_over: bool,
    /// The last file may end early.
    last: bool,
    front: Vec<u8>,
}

enum What {
    Rdb(Box<rdb::Reader>, Box<CaptureStats>),
    Aof(Option<Box<aof::Reader>>, Counts, AofContents),
}

impl Pass {
    pub(super) fn new(persistence: Persistence) -> Pass {
        let what = match persistence {
            Persistence::Rdb => What::Rdb(Box::default(), Box::default()),
            Persistence::Aof => What::Aof(None, Counts::default(), AofContents::default()),
        };
        Pass { what, uniqueness: Uniqueness::default(), looked_over: false, last: false, front: Vec::new() }
    }

    pub(super) fn begin(&mut self, last: bool) {
        self.last = last;
        if let What::Aof(reader, ..) = &mut self.what {
            // Names and keys are not needed here, but transactions are: the first word is sufficient.
            *reader = Some(Box::new(aof::Reader::new(Keep::Beginning { arguments: 2, bytes: 64 })));
        }
    }

    /// Number of bytes that belong to it: no server looks at bytes after the end of an RDB.
    pub(super) fn feed(&mut self, file: &OpenFile, piece: &[u8]) -> Result<usize, Error> {
        if self.front.len() < HEADER_BYTES {
            let missing = HEADER_BYTES - self.front.len();
            self.front.extend_from_slice(piece.get(..missing).unwrap_or(piece));
        }
        let corrupt = |source| FileError::Corrupt { path: file.path.clone(), source };
        let uniqueness = &mut self.uniqueness;
        match &mut self.what {
            What::Rdb(reader, _) if reader.is_complete() => return Ok(0),
            What::Rdb(reader, stats) => {
                return Ok(reader.feed(piece, &mut Tee(stats.as_mut(), uniqueness)).map_err(corrupt)?);
            }
            What::Aof(Some(reader), counts, _) => {
                reader.feed(piece, &mut Tee(counts, uniqueness)).map_err(corrupt)?;
            }
            What::Aof(None, ..) => {}
        }
        Ok(piece.len())
    }

    pub(super) fn end(&mut self, file: &OpenFile) -> Result<(), Error> {
        let corrupt = |source| FileError::Corrupt { path: file.path.clone(), source };
        match &mut self.what {
            What::Rdb(reader, _) => drop(reader.finish().map_err(corrupt)?),
            What::Aof(reader, counts, contents) => {
                let Some(reader) = reader.take() else { return Ok(()) };
                let end = reader.finish(counts).map_err(corrupt)?;
                contents.commands += end.commands;
                contents.timestamp = end.timestamp.or(contents.timestamp);
                if let Some(tail) = end.tail {
                    if !self.last {
                        return Err(FileError::CutInside { path: file.path.clone(), tail }.into());
                    }
                    contents.cut_bytes = tail.bytes;
                }
            }
        }
        self.check_file(file)
    }

    /// Checks the RDB for duplicate keys, once, at the end of its file.
    fn check_file(&mut self, file: &OpenFile) -> Result<(), Error> {
        if std::mem::replace(&mut self.looked_over, true) {
            return Ok(());
        }
        let spill = |source| FileError::Io { path: std::env::temp_dir(), source };
        if let Some(twice) = self.uniqueness.finish().map_err(spill)? {
            let again = std::fs::File::open(&file.path).ok();
            let what = twice.shown(&self.uniqueness, again);
            return Err(FileError::Duplicate { path: file.path.clone(), what }.into());
        }
        Ok(())
    }

    /// The server according to its RDB: version and flavor. For an AOF without a preamble, nothing is known.
    pub(super) fn origin(&self, address: String) -> ServerIdentity {
        let mut aux = AuxFields::default();
        if self.front.starts_with(b"REDIS") || self.front.starts_with(b"VALKEY") {
            // Errors were reported when it was read completely.
            let _ = rdb::Reader::new().try_newer(true).feed(&self.front, &mut aux);
        }
        let flavor = if aux.valkey { Dialect::Valkey } else { Dialect::Redis };
        ServerIdentity {
            flavor,
            version: aux.version,
            run_id: String::new(),
            role: String::new(),
            address,
            cluster: false,
            masters: 0,
            via: None,
        }
    }

    pub(super) fn contents(
        &self,
        server: &ServerIdentity,
        warnings: &[String],
    ) -> Result<(Option<CaptureReport>, Option<AofContents>), Error> {
        match &self.what {
            What::Rdb(reader, stats) => {
                let report = stats.report(server.clone(), reader)?;
                Ok((Some(CaptureReport { warnings: warnings.to_vec(), ..report }), None))
            }
            What::Aof(_, counts, contents) => {
                let contents =
                    AofContents { base_keys: counts.keys, functions: counts.functions, ..contents.clone() };
                Ok((None, Some(contents)))
            }
        }
    }
}

/// Counts a preamble.
#[derive(Debug, Default)]
struct Counts {
    keys: u64,
    functions: u64,
}

impl Elements for Counts {}

impl Visitor for Counts {
    fn key(&mut self, _key: &Key<'_>) {
        self.keys += 1;
    }

    fn function(&mut self, _code: &[u8]) {
        self.functions += 1;
    }
}

impl aof::Visitor for Counts {}

/// The server that wrote an RDB.
#[derive(Debug, Default)]
struct AuxFields {
    version: String,
    valkey: bool,
}

impl Elements for AuxFields {}

impl Visitor for AuxFields {
    fn header(&mut self, dialect: Dialect, _version: u16) {
        self.valkey |= dialect == Dialect::Valkey;
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) {
        if matches!(name, b"redis-ver" | b"valkey-ver") {
            self.valkey |= name == b"valkey-ver";
            self.version = String::from_utf8_lossy(value).into_owned();
        }
    }
}
