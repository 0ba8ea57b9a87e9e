//! The emitter: strings, lists, sets, sorted sets and hashes, and the commands around every key.

mod elements;

use crate::client::resp::{array, bulk};
use crate::rdb::{Kind, ValueType, Walker};

use super::streams::StreamState;
use super::{Features, PlaceholderExpiries, Unsupported, UnsupportedValues};

/// Size limits of commands and buffers.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Approximate number of arguments in one command.
    pub arguments: u64,
    /// Approximate number of bytes of one command; a single element may be longer.
    pub bytes: usize,
    /// Maximum number of bytes of one argument: the server's `proto-max-bulk-len`.
    pub bulk: u64,
    /// Maximum number of bytes for which a stream's entries are buffered, in case pending entries of deleted entries
    /// must be created first.
    pub stream: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { arguments: 512, bytes: 128 << 10, bulk: 512 << 20, stream: 12 << 20 }
    }
}

/// Commands, ready to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commands {
    /// In RESP.
    pub resp: Vec<u8>,
    /// Number of commands, and of replies to expect; none is an error if all goes well.
    pub replies: u64,
}

impl Commands {
    /// Adds one command.
    pub fn push(&mut self, arguments: &[&[u8]]) {
        self.begin(arguments.len() as u64);
        for argument in arguments {
            self.argument(argument);
        }
    }

    pub(crate) fn begin(&mut self, arguments: u64) {
        array(&mut self.resp, arguments);
        self.replies += 1;
    }

    pub(crate) fn argument(&mut self, bytes: &[u8]) {
        bulk(&mut self.resp, bytes);
    }
}

/// A score as the shortest decimal that servers parse back to the same bits.
pub(crate) fn score_text(score: f64) -> String {
    if score.is_infinite() {
        return if score > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    let magnitude = score.abs();
    if magnitude == 0.0 || (1e-5..1e17).contains(&magnitude) {
        format!("{score}")
    } else {
        format!("{score:e}")
    }
}

/// Converts the elements of values to commands; see the module's documentation.
#[derive(Debug)]
pub struct Emitter {
    pub(super) features: Features,
    pub(super) limits: Limits,
    replace: bool,
    pub(super) out: Commands,
    db: Option<u64>,
    pub(super) name: Vec<u8>,
    kind: Kind,
    expiry: Option<i64>,
    /// The elements of the current command.
    arguments: Vec<u8>,
    count: u64,
    /// Its fields with a TTL: expiry, and the field as an argument.
    expiring: Vec<(i64, Vec<u8>)>,
    /// How to replace field expiries, if later commands may change them.
    placeholders: Option<PlaceholderExpiries>,
    /// Drop the expiries of hash fields; fields that had expired at this time are left out.
    unexpiring: Option<i64>,
    /// Fields of this key whose expiries were dropped, and fields that were left out because they had expired.
    dropped: (u64, u64),
    /// Fields that were kept.
    fields: u64,
    pub(super) stream: StreamState,
    pub(super) failed: Option<Unsupported>,
    pub(super) harmless: Vec<Unsupported>,
    /// The offset of this key's commands; `None` if some of them were taken.
    mark: Option<(usize, u64)>,
    /// The key's elements are ignored because it is unsupported.
    skip: bool,
    /// Missing bytes of a long string.
    long: u64,
    unsupported: UnsupportedValues,
    keys: u64,
}

impl Emitter {
    /// For a server with these features, with [`Limits::default`].
    pub fn new(features: Features) -> Emitter {
        Emitter::with_limits(features, Limits::default())
    }

    /// For a server with these features.
    pub fn with_limits(features: Features, limits: Limits) -> Emitter {
        Emitter {
            features,
            limits,
            replace: false,
            out: Commands::default(),
            db: None,
            name: Vec::new(),
            kind: Kind::String,
            expiry: None,
            arguments: Vec::new(),
            count: 0,
            expiring: Vec::new(),
            placeholders: None,
            unexpiring: None,
            dropped: (0, 0),
            fields: 0,
            stream: StreamState::default(),
            failed: None,
            harmless: Vec::new(),
            mark: None,
            skip: false,
            long: 0,
            unsupported: UnsupportedValues::default(),
            keys: 0,
        }
    }

    /// Deletes each key before writing it, so that it does not merge with an existing one, and replaces function
    /// libraries of the same name.
    #[must_use]
    pub fn replacing(mut self, replace: bool) -> Emitter {
        self.replace = replace;
        self
    }

    /// Replaces expiries of hash fields by placeholders.
    pub(crate) fn with_placeholders(mut self, placeholders: PlaceholderExpiries) -> Emitter {
        self.placeholders = Some(placeholders);
        self
    }

    /// Writes hash fields without their expiries, and leaves out those that had expired at this time.
    pub(crate) fn without_field_expiries(mut self, moment: i64) -> Emitter {
        self.unexpiring = Some(moment);
        self
    }

    /// Begins a key; `expiry` in milliseconds since the epoch. A `SELECT` comes first where the database changes (the
    /// first key of database 0 needs none on a fresh connection).
    ///
    /// # Errors
    /// If the type itself is unsupported. Nothing is emitted then, and [`Emitter::end`] must not be called.
    pub fn begin(
        &mut self,
        db: u64,
        name: &[u8],
        kind: Kind,
        expiry: Option<i64>,
    ) -> Result<(), Unsupported> {
        self.failed = None;
        self.skip = false;
        self.harmless.clear();
        if kind == Kind::Stream && !self.features.streams {
            return Err(Unsupported::Stream);
        }
        if kind == Kind::Array {
            return Err(Unsupported::Array);
        }
        if self.db.unwrap_or(0) != db {
            self.out.push(&[b"SELECT", db.to_string().as_bytes()]);
        }
        self.db = Some(db);
        self.mark = Some((self.out.resp.len(), self.out.replies));
        self.name.clear();
        self.name.extend_from_slice(name);
        (self.kind, self.expiry, self.count) = (kind, expiry, 0);
        self.arguments.clear();
        self.expiring.clear();
        (self.dropped, self.fields) = ((0, 0), 0);
        self.stream.begin();
        if self.replace {
            self.out.push(&[b"DEL", name]);
        }
        if name.len() as u64 > self.limits.bulk {
            self.fail(Unsupported::TooLong { bytes: name.len() as u64 });
        }
        Ok(())
    }

    /// Ends the key.
    ///
    /// # Errors
    /// What the target does not support. The key's commands are removed; if some of them were already taken, a `DEL` is
    /// emitted.
    pub fn end(&mut self) -> Result<(), Unsupported> {
        if self.failed.is_none() && self.dropped.1 > 0 && self.fields == 0 {
            self.fail(Unsupported::Expired);
        }
        if self.failed.is_none() {
            self.flush();
            if self.kind == Kind::Stream {
                self.end_stream();
            }
        }
        if let Some(failed) = self.failed.take() {
            match self.mark.take() {
                Some((len, replies)) => {
                    self.out.resp.truncate(len);
                    self.out.replies = replies;
                }
                None => {
                    let Emitter { out, name, .. } = self;
                    out.push(&[b"DEL", name]);
                }
            }
            return Err(failed);
        }
        if self.dropped.0 > 0 {
            self.harmless.push(Unsupported::FieldExpiryDropped);
        }
        if let Some(at) = self.expiry {
            self.out.push(&[b"PEXPIREAT", &self.name, at.to_string().as_bytes()]);
        }
        Ok(())
    }

    /// What the target does not keep of the last key although clients see the same value.
    pub fn harmless(&self) -> &[Unsupported] {
        &self.harmless
    }

    /// Loads a function library.
    ///
    /// # Errors
    /// If the target does not support functions.
    pub fn function(&mut self, code: &[u8]) -> Result<(), Unsupported> {
        if !self.features.functions {
            return Err(Unsupported::Function);
        }
        if self.replace {
            self.out.push(&[b"FUNCTION", b"LOAD", b"REPLACE", code]);
        } else {
            self.out.push(&[b"FUNCTION", b"LOAD", code]);
        }
        Ok(())
    }

    /// What was omitted from the RDB fed by a reader.
    pub fn unsupported(&self) -> &UnsupportedValues {
        &self.unsupported
    }

    /// Number of keys completely emitted from the RDB fed by a reader.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Number of bytes ready to be taken.
    pub fn ready(&self) -> usize {
        self.out.resp.len()
    }

    /// Takes the ready commands, even within a key, which bounds memory.
    pub fn take(&mut self) -> Commands {
        self.mark = None;
        std::mem::take(&mut self.out)
    }

    /// As [`Emitter::take`], into a reused buffer; returns the number of commands.
    pub fn take_into(&mut self, resp: &mut Vec<u8>) -> u64 {
        self.mark = None;
        resp.extend_from_slice(&self.out.resp);
        self.out.resp.clear();
        std::mem::take(&mut self.out.replies)
    }

    /// Marks the current key as unsupported.
    pub(crate) fn fail(&mut self, why: Unsupported) {
        self.failed.get_or_insert(why);
    }

    /// True if an element of this length can be sent and nothing has failed.
    pub(super) fn fits(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() as u64 > self.limits.bulk {
            self.fail(Unsupported::TooLong { bytes: bytes.len() as u64 });
        }
        self.failed.is_none() && !self.skip
    }

    fn add(&mut self, elements: &[&[u8]]) {
        for element in elements {
            if !self.fits(element) {
                return;
            }
        }
        for element in elements {
            bulk(&mut self.arguments, element);
        }
        self.count += elements.len() as u64;
        if self.count >= self.limits.arguments || self.arguments.len() >= self.limits.bytes {
            self.flush();
        }
    }

    /// Emits the current command.
    fn flush(&mut self) {
        if self.count == 0 {
            return;
        }
        let command: &[u8] = match self.kind {
            Kind::List => b"RPUSH",
            Kind::Set => b"SADD",
            Kind::Zset => b"ZADD",
            _ if self.features.many_fields => b"HSET",
            _ => b"HMSET",
        };
        self.out.begin(self.count + 2);
        self.out.argument(command);
        self.out.argument(&self.name);
        self.out.resp.append(&mut self.arguments);
        self.count = 0;
        // Fields with the same expiry share a command. The order of fields has no meaning.
        self.expiring.sort_unstable();
        for group in self.expiring.chunk_by(|a, b| a.0 == b.0) {
            let Some((at, _)) = group.first() else { continue };
            self.out.begin(5 + group.len() as u64);
            self.out.argument(b"HPEXPIREAT");
            self.out.argument(&self.name);
            self.out.argument(at.to_string().as_bytes());
            self.out.argument(b"FIELDS");
            self.out.argument(group.len().to_string().as_bytes());
            for (_, field) in group {
                self.out.argument(field);
            }
        }
        self.expiring.clear();
    }
}

/// Emits one key from its raw value (the body of a `DUMP` payload without the type byte, as passed to
/// [`crate::rdb::Visitor::raw`]).
///
/// # Errors
/// What the target does not support, or damaged bytes: nothing is emitted then.
pub fn emit(
    emitter: &mut Emitter,
    db: u64,
    name: &[u8],
    expiry: Option<i64>,
    value_type: ValueType,
    raw: &[u8],
) -> Result<(), Unsupported> {
    emitter.begin(db, name, value_type.kind(), expiry)?;
    let damaged = match Walker::new(value_type).walk(raw, emitter) {
        Ok(walked) if walked.done && walked.consumed == raw.len() => None,
        Ok(_) => Some("the value does not end with its bytes".to_owned()),
        Err((at, problem)) => Some(format!("byte {at}: {problem}")),
    };
    if let Some(problem) = damaged {
        emitter.fail(Unsupported::Damaged { problem });
    }
    emitter.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::commands::Target;
    use crate::rdb::Elements as _;

    fn text(commands: &Commands) -> String {
        String::from_utf8_lossy(&commands.resp).into_owned()
    }

    #[test]
    fn scores_come_back_to_the_last_bit() {
        for score in [
            0.0,
            -0.0,
            0.1,
            1.0 / 3.0,
            1e308,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            f64::MIN,
            123_456_789.125,
            9_007_199_254_740_993.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
            let written = score_text(score);
            assert!(written.len() <= 24, "{written}");
            assert_eq!(written.parse::<f64>().unwrap().to_bits(), score.to_bits(), "{written}");
        }
    }

    #[test]
    fn a_value_that_exceeds_a_limit_is_refused() {
        let limits = Limits { arguments: 2, bulk: 4, ..Limits::default() };
        let mut emitter = Emitter::with_limits(Target::redis(7, 0).features(), limits);
        emitter.begin(0, b"k", Kind::List, None).unwrap();
        emitter.item(b"12345");
        assert_eq!(emitter.end(), Err(Unsupported::TooLong { bytes: 5 }));
        assert_eq!(emitter.take(), Commands::default());
        // Half of it was already emitted, so it is deleted.
        emitter.begin(0, b"k", Kind::List, None).unwrap();
        emitter.item(b"1");
        emitter.item(b"2");
        assert_eq!(emitter.take().replies, 1);
        emitter.item(b"12345");
        assert!(emitter.end().is_err());
        assert_eq!(text(&emitter.take()), "*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n");
    }

    #[test]
    fn a_field_that_expires_needs_a_server_that_knows() {
        let mut emitter = Emitter::new(Target::redis(7, 2).features());
        emitter.begin(0, b"h", Kind::Hash, None).unwrap();
        emitter.field(b"f", b"v", Some(5));
        assert_eq!(emitter.end(), Err(Unsupported::FieldExpiry));
        let mut emitter = Emitter::new(Target::valkey(9, 0).features());
        emitter.begin(2, b"h", Kind::Hash, None).unwrap();
        emitter.field(b"f", b"v", Some(5));
        emitter.field(b"g", b"v", Some(5));
        emitter.end().unwrap();
        let out = emitter.take();
        assert_eq!(out.replies, 3);
        assert!(text(&out).contains("HPEXPIREAT\r\n$1\r\nh\r\n$1\r\n5\r\n$6\r\nFIELDS\r\n$1\r\n2\r\n"));
    }
}
