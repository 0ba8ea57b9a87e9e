//! A value that goes as commands: because no single argument can hold it, because it is so large that it must not be in
//! memory whole, or because the server takes no payloads.

use super::lane::{Lane, What};
use crate::convert::commands::{Emitter, Inexpressible, Pieced};
use crate::rdb::{Kind, ValueType};

/// A value under way.
pub(super) struct Pieces {
    value: Pieced,
    /// The name under which it is put together where the key's own may be another's; it gets that at its end, if nobody
    /// has it.
    stand_in: Option<Vec<u8>>,
    /// A command whose reply is not noted yet: the last one of all completes the key.
    held: bool,
    key: Key,
}

/// What the replies are noted for.
pub(super) struct Key {
    pub(super) db: u64,
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) expiry: Option<i64>,
}

impl Pieces {
    /// Begins a key of this type.
    pub(super) fn begin(
        mut emitter: Emitter,
        key: Key,
        stand_in: Option<Vec<u8>>,
        value_type: ValueType,
    ) -> Result<Pieces, Inexpressible> {
        let name = stand_in.as_deref().unwrap_or(&key.name);
        // The connection has chosen the database already.
        emitter.begin(0, name, key.kind, key.expiry)?;
        Ok(Pieces { value: Pieced::new(emitter, value_type), stand_in, held: false, key })
    }

    /// Takes raw bytes: as many elements as a reader has found whole.
    pub(super) fn feed(&mut self, raw: &[u8]) {
        self.value.feed(raw);
    }

    /// Hands over what is ready, in the middle of the value.
    pub(super) fn take_into(&mut self, lane: &mut Lane) {
        let replies = self.value.emitter.take_into(&mut lane.out);
        lane.commands += usize::try_from(replies).unwrap_or(usize::MAX);
        let all = replies + u64::from(self.held);
        self.held = all > 0;
        for _ in 1..all {
            self.note_part(lane);
        }
    }

    /// Ends the key, and says what of it was left out. Its commands are taken back, or undone, if the server cannot hold it.
    pub(super) fn end(mut self, lane: &mut Lane) -> Result<Vec<Inexpressible>, Inexpressible> {
        let ended = self.value.emitter.end();
        self.take_into(lane);
        let Key { db, ref name, kind, .. } = self.key;
        match &self.stand_in {
            None if ended.is_ok() => lane.note_counted(What::Key(kind), db, name),
            _ if !self.held => {}
            _ => self.note_part(lane),
        }
        if let Some(stand_in) = self.stand_in.as_ref().filter(|_| ended.is_ok()) {
            lane.rename(stand_in, db, name, kind);
        }
        ended.map(|()| self.value.emitter.harmless().to_vec())
    }

    fn note_part(&self, lane: &mut Lane) {
        let Key { db, ref name, kind, .. } = self.key;
        lane.note_counted(What::Part(kind), db, name);
    }
}
