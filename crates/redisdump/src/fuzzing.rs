//! Entry points for fuzzers and for the damage tests: any bytes must give a result or an error.
//!
//! Besides panics, they detect violations of what must hold for any input: the same answer however the bytes are cut,
//! and what was read whole, exported and read again, means the same. `fuzz/` has one target for each.

use crate::aof;
use crate::capture::stats::CaptureStats;
use crate::compare::digest::{CanonicalDigest, Digester};
use crate::convert::commands::{Emitter, Target};
use crate::convert::export::{ExportOptions, Format, through};
use crate::rdb::{
    Corrupt, Elements, Key, Lint, Problem, Reader, ValueType, Visitor, Walker, dump, packed_fuzzing,
};
use crate::verify::structure::Structure;

pub use packed_fuzzing::{blob, intset, listpack, lzf, ziplist, zipmap};

/// Reads an RDB in pieces of a size.
fn read(data: &[u8], step: usize) -> (Result<(), Corrupt>, CaptureStats) {
    let (mut reader, mut stats) = (Reader::new().try_newer(true), CaptureStats::default());
    let mut fed = Ok(());
    for piece in data.chunks(step.max(1)) {
        match reader.feed(piece, &mut stats) {
            Ok(used) if used == piece.len() => {}
            Ok(_) => break,
            Err(corrupt) => {
                fed = Err(corrupt);
                break;
            }
        }
    }
    (fed.and_then(|()| reader.finish().map(drop)), stats)
}

/// An RDB. Its last eight bytes are taken for zero: no checksum, so that what is damaged is read to its end.
pub fn rdb(data: &[u8]) {
    let mut unsummed = data.to_vec();
    if let Some(footer) = unsummed.last_chunk_mut::<8>() {
        *footer = [0; 8];
    }
    let data = unsummed.as_slice();
    let (whole, stats) = read(data, data.len());
    let step = usize::from(data.get(20).copied().unwrap_or(0) % 61) + 1;
    let (cut, stats_cut) = read(data, step);
    assert_eq!(whole, cut, "the same bytes in other pieces");
    if whole.is_err() {
        return;
    }
    assert_eq!(stats.digest, stats_cut.digest);
    for (format, target) in [
        (Format::Rdb, Target::redis(5, 0)),
        (Format::Rdb, Target::redis(3, 0)),
        (Format::Rdb, Target::valkey(9, 0)),
        (Format::Restore, Target::redis(7, 0)),
        (Format::Resp, Target::redis(8, 2)),
        (Format::Json, Target::redis(8, 2)),
    ] {
        let mut options = ExportOptions::new(format, target);
        options.try_newer = true;
        let Ok((bytes, unsupported)) = through(data, options) else { continue };
        if format == Format::Rdb {
            let (again, exported) = read(&bytes, bytes.len());
            assert_eq!(again, Ok(()), "what was exported cannot be read");
            if unsupported.is_empty() {
                assert_eq!(exported.digest, stats.digest, "what was exported means something else: {target}");
            }
        }
    }
}

/// An AOF file.
pub fn aof(data: &[u8]) {
    let read = |step: usize, keep| {
        let (mut reader, mut seen) = (aof::Reader::new(keep), Commands::default());
        let fed = data.chunks(step.max(1)).try_for_each(|piece| reader.feed(piece, &mut seen));
        (fed.and_then(|()| reader.finish(&mut seen)), seen.0)
    };
    let step = usize::from(data.first().copied().unwrap_or(0) % 61) + 1;
    let whole = read(data.len(), aof::Keep::default());
    assert_eq!(whole, read(step, aof::Keep::default()), "the same bytes in other pieces");
    let _ = read(data.len(), aof::Keep::All { bytes: 1000 });
    if let Ok(end) = whole.0
        && let Some(tail) = end.tail
    {
        assert!(tail.offset + tail.bytes == end.bytes, "a tail that is not at the end");
    }
}

/// Where commands were, and how many arguments they had.
#[derive(Debug, Default, PartialEq, Eq)]
struct Commands(Vec<(u64, u64, u64)>);
impl Elements for Commands {}
impl Visitor for Commands {}
impl aof::Visitor for Commands {
    fn command(&mut self, command: &aof::Command<'_>) {
        self.0.push((command.offset, command.length, command.arguments));
    }
}

/// The manifest of a multi-part AOF.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = aof::Manifest::parse(data) {
        assert!(manifest.loaded().all(|file| !file.name.contains('/')), "a name that leaves the folder");
    }
}

/// A `DUMP` payload; one whose footer is missing or wrong is read as if it were right.
pub fn payload(data: &[u8]) {
    let _ = dump::open(data);
    let Some((body, version)) = data.split_last_chunk::<10>().map(|(body, footer)| {
        let [low, high, ..] = *footer;
        (body, u16::from_le_bytes([low, high]))
    }) else {
        return;
    };
    let Some((&code, raw)) = body.split_first() else { return };
    for dialect in [dump::dialect(version), dump::dialect(version ^ 80)] {
        if let Ok(value_type) = ValueType::new(code, dialect) {
            value(value_type, raw);
        }
    }
}

/// What a `DUMP` payload means, where it can be read. As in a server, bytes behind the value do not matter here, and a
/// value may reach into the footer.
pub fn canonical_digest(data: &[u8]) -> Result<CanonicalDigest, Problem> {
    let (_, version) = dump::open(data)?;
    let (&code, raw) = data.split_first().ok_or(Problem::Truncated)?;
    let value_type = ValueType::new(code, dump::dialect(version))?;
    let mut digester = Digester::default();
    digester.begin(value_type.kind());
    let walked = Walker::new(value_type).walk(raw, &mut digester).map_err(|(_, problem)| problem)?;
    if walked.done { Ok(digester.digest()) } else { Err(Problem::Truncated) }
}

/// What is wrong with the value of a `DUMP` payload that [`canonical_digest`] reads, in the words of [`Lint`](crate::rdb::Lint), and
/// whether it is an empty list, set, sorted set or hash; duplicates also where a server looks for them only when it is
/// told to, when it is to be `thorough`.
pub fn lints(data: &[u8], thorough: bool) -> (Vec<Lint>, bool) {
    let mut structure = Structure::default();
    if let (Ok((_, version)), Some((&code, raw))) = (dump::open(data), data.split_first())
        && let Ok(value_type) = ValueType::new(code, dump::dialect(version))
    {
        structure.begin(value_type);
        let _ = Walker::new(value_type).walk(raw, &mut structure);
        structure.end();
    }
    let found = structure.found().filter(|lint| thorough || *lint != Lint::PackedTwice).collect();
    (found, structure.is_empty_collection())
}

/// A stream's value, in the layout that the first byte chooses.
pub fn stream(data: &[u8]) {
    let Some((&layout, raw)) = data.split_first() else { return };
    let code = [15, 19, 21, 26].get(usize::from(layout % 4)).copied().unwrap_or(15);
    if let Ok(value_type) = ValueType::new(code, dump::dialect(10)) {
        value(value_type, raw);
    }
}

fn value(value_type: ValueType, raw: &[u8]) {
    let _ = Walker::new(value_type).walk(raw, &mut ());
    for target in [Target::redis(3, 0), Target::redis(7, 0), Target::valkey(9, 0)] {
        let mut emitter = Emitter::new(target.features());
        let _ = crate::convert::commands::emit(&mut emitter, 0, b"k", None, value_type, raw);
        let mut out = Vec::new();
        let _ = crate::convert::export::convert(value_type, raw, target, &mut out);
    }
}

/// The raw values of an RDB's keys with their types: seeds for the other entry points.
pub fn values(data: &[u8]) -> Vec<(ValueType, Vec<u8>)> {
    #[derive(Default)]
    struct Values(Vec<(ValueType, Vec<u8>)>);
    impl Elements for Values {}
    impl Visitor for Values {
        fn key(&mut self, key: &Key<'_>) {
            self.0.push((key.value_type, Vec::new()));
        }
        fn raw(&mut self, bytes: &[u8]) {
            if let Some((_, raw)) = self.0.last_mut() {
                raw.extend_from_slice(bytes);
            }
        }
    }
    let mut values = Values::default();
    let _ = Reader::new().feed(data, &mut values);
    values.0
}
