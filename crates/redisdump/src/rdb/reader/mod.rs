//! The reader of a whole RDB: opcodes, keys and their values, as bytes arrive.

mod opcodes;

use super::crc::Crc64;
use super::cursor::{Cursor, Stop};
use super::error::{Corrupt, Problem};
use super::module;
use super::template::Templates;
use super::value::{Dialect, Walker};
use super::version::header;
use super::visitor::{Checksum, Visitor};

/// Reads an RDB from the bytes it is fed.
#[derive(Debug)]
pub struct Reader {
    dialect: Dialect,
    version: u16,
    state: State,
    /// Unconsumed bytes: the beginning of an incomplete item.
    pending: Vec<u8>,
    /// The length that `pending` must reach before the item can be complete.
    want: usize,
    /// Total number of consumed bytes.
    offset: u64,
    /// Bytes of a value before its fault.
    right: usize,
    crc: Crc64,
    walker: Option<Walker>,
    db: u64,
    name: Vec<u8>,
    metadata: Vec<u8>,
    expiry: Option<i64>,
    idle: Option<u64>,
    frequency: Option<u8>,
    checksum: Option<Checksum>,
    /// The end of the last complete key, and the database selected there.
    key_end: Option<(u64, u64)>,
    try_newer: bool,
    templates: Templates,
    scratch: Vec<u8>,
    scratch2: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Items,
    Value,
    ModuleAux,
    /// Module metadata of the next key: number of remaining classes, and whether one has begun.
    Metadata {
        left: u64,
        open: bool,
    },
    /// Slot ranges of a migration that follow.
    Slots {
        left: u64,
    },
    /// Field names of a hash template that follow.
    Template {
        id: u64,
        left: u64,
    },
    /// A hash with a template: its values are in a listpack, or follow one by one.
    Templated {
        packed: bool,
    },
    /// Values of such a hash that follow.
    TemplateValues {
        left: u64,
    },
    Footer,
    End,
}

impl Default for Reader {
    fn default() -> Self {
        Reader {
            dialect: Dialect::Redis,
            version: 0,
            state: State::Header,
            pending: Vec::new(),
            want: 0,
            offset: 0,
            right: 0,
            crc: Crc64::default(),
            walker: None,
            db: 0,
            name: Vec::new(),
            metadata: Vec::new(),
            expiry: None,
            idle: None,
            frequency: None,
            checksum: None,
            key_end: None,
            try_newer: false,
            templates: Templates::default(),
            scratch: Vec::new(),
            scratch2: Vec::new(),
        }
    }
}

impl Reader {
    /// Starts at the first byte.
    pub fn new() -> Reader {
        Reader::default()
    }

    /// Tries to read versions newer than the known ones instead of rejecting them: most of a newer version's format is
    /// usually unchanged.
    #[must_use]
    pub fn try_newer(mut self, try_newer: bool) -> Reader {
        self.try_newer = try_newer;
        self
    }

    /// True when the end was reached and its checksum was checked.
    pub fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// Number of consumed bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The result of the checksum; `None` before the end.
    pub fn checksum(&self) -> Option<Checksum> {
        self.checksum
    }

    /// The version and dialect; valid once the header was read.
    pub fn version(&self) -> (Dialect, u16) {
        (self.dialect, self.version)
    }

    /// The offset of the end of the last complete key, and the database selected there; `None` before the first key.
    pub(crate) fn key_end(&self) -> Option<(u64, u64)> {
        self.key_end
    }

    /// Feeds the next bytes. Returns how many of them belong to the RDB: fewer than given only after its end.
    ///
    /// # Errors
    /// The first fault, with its offset. Do not feed a reader that has failed.
    pub fn feed<V: Visitor>(&mut self, chunk: &[u8], visitor: &mut V) -> Result<usize, Corrupt> {
        let mut rest = chunk;
        // A pending item is completed with few more bytes than it needs; the rest is read in place.
        while !self.pending.is_empty() && !rest.is_empty() {
            const STEP: usize = 512;
            let missing = self.want.saturating_sub(self.pending.len()).max(STEP);
            let (more, after) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
            let before = self.pending.len();
            self.pending.extend_from_slice(more);
            if self.pending.len() < self.want {
                return Ok(chunk.len());
            }
            let mut pending = std::mem::take(&mut self.pending);
            let used = self.run(&pending, visitor)?;
            match used.checked_sub(before) {
                Some(of_more) => {
                    rest = rest.get(of_more..).unwrap_or_default();
                    pending.clear();
                    pending.shrink_to(1 << 20);
                }
                None => {
                    rest = after;
                    pending.drain(..used);
                }
            }
            self.pending = pending;
            if self.state == State::End {
                return Ok(chunk.len() - rest.len());
            }
        }
        if !self.pending.is_empty() {
            return Ok(chunk.len());
        }
        let used = self.run(rest, visitor)?;
        let left = rest.get(used..).unwrap_or_default();
        if self.state == State::End {
            return Ok(chunk.len() - left.len());
        }
        self.pending.extend_from_slice(left);
        Ok(chunk.len())
    }

    /// Ends the input.
    ///
    /// # Errors
    /// [`Problem::Truncated`] unless the RDB has ended.
    pub fn finish(&self) -> Result<Checksum, Corrupt> {
        match self.checksum {
            Some(checksum) if self.state == State::End => Ok(checksum),
            _ => {
                Err(Corrupt { offset: self.offset + self.pending.len() as u64, problem: Problem::Truncated })
            }
        }
    }

    /// Reads as far as the bytes reach; returns how many were consumed.
    fn run<V: Visitor>(&mut self, input: &[u8], visitor: &mut V) -> Result<usize, Corrupt> {
        let mut at = 0;
        // The checksum covers everything before it; it is computed over long runs.
        let mut summed = 0;
        let result = loop {
            let rest = input.get(at..).unwrap_or_default();
            let in_value = self.state == State::Value;
            let step = match self.state {
                State::End => break Ok(()),
                State::Value => self.value(rest, visitor),
                State::Footer => {
                    self.crc.update(input.get(summed..at).unwrap_or_default());
                    summed = at;
                    self.footer(rest)
                }
                _ => self.item(rest, visitor),
            };
            match step {
                Ok(n) => {
                    at += n;
                    if in_value && self.state == State::Items {
                        self.key_end = Some((self.offset + at as u64, self.db));
                    }
                }
                Err(Stop::More(want)) => {
                    self.want = want;
                    break Ok(());
                }
                Err(Stop::Bad(problem)) => {
                    at += std::mem::take(&mut self.right);
                    break Err(problem);
                }
            }
        };
        if self.state != State::End {
            self.crc.update(input.get(summed..at).unwrap_or_default());
        }
        self.offset += at as u64;
        result.map(|()| at).map_err(|problem| Corrupt { offset: self.offset, problem })
    }

    fn value<V: Visitor>(&mut self, rest: &[u8], visitor: &mut V) -> Result<usize, Stop> {
        let Some(walker) = &mut self.walker else {
            return Err(Problem::Item("a value has no type").into());
        };
        let walked = walker.walk(rest, visitor).map_err(|(right, problem)| {
            self.right = right;
            problem
        })?;
        if walked.consumed > 0 {
            visitor.raw(rest.get(..walked.consumed).unwrap_or_default());
        }
        if walked.done {
            self.end_value(visitor);
        } else if walked.consumed == 0 {
            return Err(Stop::More(walked.want));
        }
        Ok(walked.consumed)
    }

    /// Ends the current value.
    fn end_value<V: Visitor>(&mut self, visitor: &mut V) {
        visitor.key_end();
        self.state = State::Items;
    }

    /// Reports bytes that replace those of the file, in a form that does not depend on the file.
    fn expanded<V: Visitor>(&mut self, raw: &[u8], visitor: &mut V) -> Result<(), Problem> {
        if let Some(walker) = &mut self.walker {
            let walked = walker.walk(raw, visitor).map_err(|(_, problem)| problem)?;
            if walked.consumed != raw.len() {
                return Err(Problem::Item("a hash does not match its template"));
            }
        }
        visitor.raw(raw);
        Ok(())
    }

    fn footer(&mut self, rest: &[u8]) -> Result<usize, Stop> {
        let mut used = 0;
        self.checksum = Some(if self.version < 5 {
            Checksum::Absent
        } else {
            let mut cursor = Cursor::new(rest);
            let stored = u64::from_le_bytes(cursor.array()?);
            let computed = self.crc.value();
            used = cursor.position();
            match stored {
                0 => Checksum::Disabled,
                _ if stored == computed => Checksum::Verified,
                _ => return Err(Problem::Checksum { stored, computed }.into()),
            }
        });
        self.state = State::End;
        Ok(used)
    }

    fn item<V: Visitor>(&mut self, rest: &[u8], visitor: &mut V) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(rest);
        match self.state {
            State::Header => {
                let (dialect, version) = header(cursor.array()?, self.try_newer)?;
                (self.dialect, self.version) = (dialect, version);
                visitor.header(dialect, version);
                self.state = State::Items;
            }
            State::ModuleAux => {
                if module::piece(&mut cursor)? {
                    self.state = State::Items;
                }
            }
            State::Metadata { left: 0, .. } | State::Slots { left: 0 } | State::Template { left: 0, .. } => {
                self.state = State::Items;
            }
            State::Template { id, left } => {
                let field = cursor.text()?;
                self.templates.add(id, field.bytes(&mut self.scratch)?)?;
                self.state = State::Template { id, left: left - 1 };
            }
            State::Templated { packed: true } => {
                let list = cursor.text()?;
                let raw = self.templates.expand(list.bytes(&mut self.scratch)?, &mut self.scratch2)?;
                self.expanded(&raw, visitor)?;
                self.end_value(visitor);
            }
            State::Templated { packed: false } => {
                let (front, left) = self.templates.front(cursor.count()?)?;
                self.expanded(&front, visitor)?;
                self.state = State::TemplateValues { left };
            }
            State::TemplateValues { left } => {
                cursor.text()?;
                let raw = rest.get(..cursor.position()).unwrap_or_default();
                self.expanded(raw, visitor)?;
                match left.checked_sub(1) {
                    None | Some(0) => self.end_value(visitor),
                    Some(left) => self.state = State::TemplateValues { left },
                }
            }
            State::Slots { left } => {
                cursor.count()?;
                cursor.count()?;
                self.state = State::Slots { left: left - 1 };
            }
            State::Metadata { left, open: false } => {
                cursor.array::<4>()?;
                self.state = State::Metadata { left, open: true };
            }
            State::Metadata { left, open: true } => {
                if module::piece(&mut cursor)? {
                    self.state = State::Metadata { left: left - 1, open: false };
                }
            }
            _ => self.opcode(&mut cursor, visitor)?,
        }
        let used = cursor.position();
        if matches!(self.state, State::Metadata { .. }) {
            self.metadata.extend_from_slice(rest.get(..used).unwrap_or_default());
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Elements;
    use super::super::visitor::Key;
    use super::*;

    /// Keys, and how often raw metadata was reported.
    #[derive(Default)]
    struct Keys(Vec<Vec<u8>>, usize);
    impl Elements for Keys {}
    impl Visitor for Keys {
        fn key(&mut self, key: &Key<'_>) {
            self.0.push(key.name.to_vec());
            self.1 += key.metadata.len();
        }
    }

    fn read(bytes: &[u8], step: usize) -> (Result<Checksum, Corrupt>, Keys) {
        let (mut reader, mut keys) = (Reader::new(), Keys::default());
        let fed = bytes.chunks(step).try_for_each(|piece| reader.feed(piece, &mut keys).map(drop));
        (fed.and_then(|()| reader.finish()), keys)
    }

    const KEY_AND_END: &[u8] = b"\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";

    #[test]
    fn opcode_243_is_a_slot_migration_in_valkey() {
        let job =
            [b"VALKEY080\xf3\x03job\x02".as_slice(), &[0, 10, 0x40, 100, 0x7f, 0xff], KEY_AND_END].concat();
        for step in 1..job.len() {
            let (outcome, keys) = read(&job, step);
            assert_eq!((outcome, keys.0), (Ok(Checksum::Disabled), vec![b"k".to_vec()]));
        }
    }

    #[test]
    fn opcode_243_is_metadata_of_modules_in_redis() {
        // One class, its four bytes, an unsigned number, the end mark.
        let metadata = [b"REDIS0013\xf3\x01".as_slice(), b"abcd", &[2, 7, 0], KEY_AND_END].concat();
        for step in 1..metadata.len() {
            let (outcome, keys) = read(&metadata, step);
            assert_eq!((outcome, keys.0), (Ok(Checksum::Disabled), vec![b"k".to_vec()]));
            assert_eq!(keys.1, 9, "the metadata, with its opcode");
        }
    }

    /// A claimed count costs only what its bytes cost, once.
    #[test]
    fn a_claimed_number_of_slots_is_read_once() {
        let mut bytes = b"VALKEY080\xf3\x03job\x80\xff\xff\xff\xff".to_vec();
        bytes.resize(4 << 20, 1);
        let mut reader = Reader::new();
        for piece in bytes.chunks(1024) {
            reader.feed(piece, &mut ()).unwrap();
            assert!(reader.pending.len() < 16, "what was read is held back");
        }
        assert_eq!(reader.finish().unwrap_err().problem, Problem::Truncated);
    }
}
