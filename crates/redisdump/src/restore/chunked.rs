//! Chunked restore: a value that is sent as several commands, because it is longer than any argument may be, because it
//! is too large to hold in memory, or because the server does not accept payloads.

use super::pipeline::{Operation, Pipeline};
use crate::convert::commands::{ChunkedValue, Emitter, Unsupported};
use crate::rdb::{Kind, ValueType};

/// A value that is being sent.
pub(super) struct ChunkedRestore {
    value: ChunkedValue,
    /// The temporary name under which the value is built if a key of its own name may exist; it is renamed at the end
    /// if that name is still free.
    temporary_name: Option<Vec<u8>>,
    /// A command whose reply is not registered yet: the last command completes the key.
    held: bool,
    key: Key,
}

/// The key to which the replies belong.
pub(super) struct Key {
    pub(super) db: u64,
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) expiry: Option<i64>,
}

impl ChunkedRestore {
    /// Begins a key of this type.
    pub(super) fn begin(
        mut emitter: Emitter,
        key: Key,
        temporary_name: Option<Vec<u8>>,
        value_type: ValueType,
    ) -> Result<ChunkedRestore, Unsupported> {
        let name = temporary_name.as_deref().unwrap_or(&key.name);
        // The database is already selected on the connection.
        emitter.begin(0, name, key.kind, key.expiry)?;
        Ok(ChunkedRestore { value: ChunkedValue::new(emitter, value_type), temporary_name, held: false, key })
    }

    /// Feeds raw bytes: all elements that the reader has decoded completely.
    pub(super) fn feed(&mut self, raw: &[u8]) {
        self.value.feed(raw);
    }

    /// Takes the commands that are ready in the middle of the value.
    pub(super) fn take_into(&mut self, pipeline: &mut Pipeline) {
        let replies = self.value.emitter.take_into(&mut pipeline.out);
        pipeline.commands += usize::try_from(replies).unwrap_or(usize::MAX);
        let all = replies + u64::from(self.held);
        self.held = all > 0;
        for _ in 1..all {
            self.note_part(pipeline);
        }
    }

    /// Ends the key, and returns what was left out of it. If the server does not support the value, its commands are
    /// withdrawn or undone.
    pub(super) fn end(mut self, pipeline: &mut Pipeline) -> Result<Vec<Unsupported>, Unsupported> {
        let ended = self.value.emitter.end();
        self.take_into(pipeline);
        let Key { db, ref name, kind, .. } = self.key;
        match &self.temporary_name {
            None if ended.is_ok() => pipeline.note_counted(Operation::Key(kind), db, name),
            _ if !self.held => {}
            _ => self.note_part(pipeline),
        }
        if let Some(temporary_name) = self.temporary_name.as_ref().filter(|_| ended.is_ok()) {
            pipeline.rename(temporary_name, db, name, kind);
        }
        ended.map(|()| self.value.emitter.harmless().to_vec())
    }

    fn note_part(&self, pipeline: &mut Pipeline) {
        let Key { db, ref name, kind, .. } = self.key;
        pipeline.note_counted(Operation::Part(kind), db, name);
    }
}
