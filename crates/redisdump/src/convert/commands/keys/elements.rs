//! What the emitter does with the elements of values, and with the keys of a whole RDB.

use super::{Emitter, score_text};
use crate::client::resp::bulk_head;
use crate::convert::commands::Unsupported;
use crate::rdb::{Elements, Key, Kind, StreamId, StreamMeta, Visitor, module_name};

impl Elements for Emitter {
    fn string(&mut self, bytes: &[u8]) {
        if self.fits(bytes) {
            self.out.push(&[b"SET", &self.name, bytes]);
        }
    }

    fn long_string(&mut self, length: u64) {
        if length > self.limits.bulk {
            self.fail(Unsupported::TooLong { bytes: length });
        }
        if self.fits(&[]) {
            self.out.begin(3);
            // Its reply can be expected only when all of it was emitted.
            self.out.replies -= 1;
            self.out.argument(b"SET");
            self.out.argument(&self.name);
            bulk_head(&mut self.out.resp, length);
        }
        self.long = length;
    }

    fn long_part(&mut self, bytes: &[u8]) {
        self.long = self.long.saturating_sub(bytes.len() as u64);
        if self.fits(&[]) {
            self.out.resp.extend_from_slice(bytes);
            if self.long == 0 {
                self.out.resp.extend_from_slice(b"\r\n");
                self.out.replies += 1;
            }
        }
    }

    fn item(&mut self, bytes: &[u8]) {
        self.add(&[bytes]);
    }

    fn member(&mut self, bytes: &[u8]) {
        self.add(&[bytes]);
    }

    fn scored(&mut self, member: &[u8], score: f64) {
        self.add(&[score_text(score).as_bytes(), member]);
    }

    fn field(&mut self, field: &[u8], value: &[u8], mut expiry: Option<i64>) {
        if let (Some(moment), Some(at)) = (self.unexpiring, expiry) {
            if at <= moment {
                self.dropped.1 += 1;
                return;
            }
            self.dropped.0 += 1;
            expiry = None;
        }
        self.fields += 1;
        if let Some(at) = expiry {
            if self.features.field_expiry {
                let at = self.placeholders.map_or(at, |placeholders| placeholders.placeholder(at));
                self.expiring.push((at, field.to_vec()));
            } else {
                self.fail(Unsupported::FieldExpiry);
            }
        }
        self.add(&[field, value]);
    }

    fn entry(&mut self, id: StreamId, fields: &[u8]) {
        self.stream_entry(id, fields);
    }

    fn stream(&mut self, meta: &StreamMeta) {
        self.stream.meta = *meta;
    }

    fn group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        self.stream.group(name, last_id, entries_read);
    }

    fn pending(&mut self, id: StreamId, at: i64, count: u64) {
        self.stream.pending(id, at, count);
    }

    fn consumer(&mut self, name: &[u8], _seen: i64) {
        self.stream.consumer(name);
    }

    fn owned(&mut self, id: StreamId) {
        self.stream.owned(id);
    }

    fn nacked(&mut self, _id: StreamId) {
        self.fail(Unsupported::Nacked);
    }

    fn group_end(&mut self) {}

    fn producers(&mut self, count: u64) {
        if count > 0 {
            self.harmless.push(Unsupported::Producers);
        }
    }

    fn opaque(&mut self, raw: &[u8]) {
        if self.kind == Kind::Module && self.failed.is_none() && !self.skip {
            let id = raw.first_chunk::<8>().map_or(0, |id| u64::from_le_bytes(*id));
            self.fail(Unsupported::Module { module: module_name(id) });
        }
    }
}

impl Visitor for Emitter {
    fn function(&mut self, code: &[u8]) {
        if let Err(value) = Emitter::function(self, code) {
            self.unsupported.add(&value, 0, b"");
        }
    }

    fn module_aux(&mut self, module: &str) {
        self.unsupported.add(&Unsupported::ModuleData { module: module.to_owned() }, 0, b"");
    }

    fn key(&mut self, key: &Key<'_>) {
        if let Err(value) = self.begin(key.db, key.name, key.value_type.kind(), key.expiry) {
            self.unsupported.add(&value, key.db, key.name);
            self.skip = true;
        }
    }

    fn key_end(&mut self) {
        if std::mem::take(&mut self.skip) {
            return;
        }
        let ended = self.end();
        self.keys += u64::from(ended.is_ok());
        for value in ended.as_ref().err().into_iter().chain(&self.harmless) {
            self.unsupported.add(value, self.db.unwrap_or(0), &self.name);
        }
    }
}
