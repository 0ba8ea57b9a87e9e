//! Converts streams to commands: entries with their ids, groups, consumers, pending entries.
//!
//! `XCLAIM … FORCE` only makes existing entries pending. For pending entries that were deleted, the stream is first
//! filled with placeholders of the same ids; these are claimed, then trimmed (which does not affect pending lists), the
//! last id is reset, and the real entries follow. For that, entries are buffered until the groups are known, up to
//! [`super::Limits::stream`].

use std::collections::BTreeMap;

use crate::rdb::{StreamId, StreamMeta, estimate_entries_read};

use super::keys::Commands;
use super::{Emitter, Features, Unsupported};

/// The state of the current stream.
#[derive(Debug, Default)]
pub(super) struct StreamState {
    /// Buffered entries.
    held: Commands,
    /// True once entries are no longer buffered.
    flowing: bool,
    ids: Ids,
    pub(super) meta: StreamMeta,
    groups: Vec<Group>,
}

#[derive(Debug, Default)]
struct Group {
    name: Vec<u8>,
    last_id: StreamId,
    entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Delivery>,
    consumers: Vec<Vec<u8>>,
    strays: u64,
}

#[derive(Debug, Clone, Copy)]
struct Delivery {
    at: i64,
    count: u64,
    /// Index of the consumer.
    owner: Option<usize>,
}

impl StreamState {
    pub(super) fn begin(&mut self) {
        self.held.resp.clear();
        self.held.replies = 0;
        self.flowing = false;
        self.ids.clear();
        self.meta = StreamMeta::default();
        self.groups = Vec::new();
    }

    pub(super) fn group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        self.groups.push(Group { name: name.to_vec(), last_id, entries_read, ..Group::default() });
    }

    pub(super) fn pending(&mut self, id: StreamId, at: i64, count: u64) {
        if let Some(group) = self.groups.last_mut() {
            group.pending.insert(id, Delivery { at, count, owner: None });
        }
    }

    pub(super) fn consumer(&mut self, name: &[u8]) {
        if let Some(group) = self.groups.last_mut() {
            group.consumers.push(name.to_vec());
        }
    }

    pub(super) fn owned(&mut self, id: StreamId) {
        let Some(group) = self.groups.last_mut() else { return };
        match group.pending.get_mut(&id) {
            Some(delivery) => delivery.owner = group.consumers.len().checked_sub(1),
            None => group.strays += 1,
        }
    }
}

/// A compact list of entry ids, delta-encoded in their order.
#[derive(Debug, Default)]
struct Ids {
    bytes: Vec<u8>,
    first: Option<StreamId>,
    last: StreamId,
    sorted: bool,
}

impl Ids {
    fn clear(&mut self) {
        *self = Ids { bytes: std::mem::take(&mut self.bytes), sorted: true, ..Ids::default() };
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
    }

    fn push(&mut self, id: StreamId) {
        self.sorted &= self.first.is_none() || id > self.last;
        self.first.get_or_insert(id);
        let ms = id.ms.wrapping_sub(self.last.ms);
        let seq = if ms == 0 { id.seq.wrapping_sub(self.last.seq) } else { id.seq };
        varint(&mut self.bytes, ms);
        varint(&mut self.bytes, seq);
        self.last = id;
    }

    fn iter(&self) -> impl Iterator<Item = StreamId> + '_ {
        let mut rest = self.bytes.iter();
        let mut last = StreamId::default();
        std::iter::from_fn(move || {
            let ms = unvarint(&mut rest)?;
            let seq = unvarint(&mut rest)?;
            let seq = if ms == 0 { last.seq.wrapping_add(seq) } else { seq };
            last = StreamId { ms: last.ms.wrapping_add(ms), seq };
            Some(last)
        })
    }
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    loop {
        let low = u8::try_from(n & 0x7f).unwrap_or_default();
        n >>= 7;
        if n == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn unvarint<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<u64> {
    let (mut n, mut shift) = (0_u64, 0);
    loop {
        let byte = *bytes.next()?;
        n |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(n);
        }
        shift += 7;
    }
}

impl Emitter {
    pub(super) fn stream_entry(&mut self, id: StreamId, fields: &[u8]) {
        if !self.fits(&[]) {
            return;
        }
        let texts = match split(fields) {
            Some(texts) if !texts.is_empty() => texts,
            _ => {
                return self
                    .fail(Unsupported::Damaged { problem: "a stream's entry has no fields".to_owned() });
            }
        };
        for text in &texts {
            if !self.fits(text) {
                return;
            }
        }
        self.stream.ids.push(id);
        let out = if self.stream.flowing { &mut self.out } else { &mut self.stream.held };
        out.begin(3 + texts.len() as u64);
        out.argument(b"XADD");
        out.argument(&self.name);
        out.argument(id.to_string().as_bytes());
        for text in texts {
            out.argument(text);
        }
        if !self.stream.flowing && self.stream.held.resp.len() > self.limits.stream {
            self.stream.flowing = true;
            release(&mut self.stream.held, &mut self.out);
        }
    }

    pub(super) fn end_stream(&mut self) {
        let mut stream = std::mem::take(&mut self.stream);
        self.finish_stream(&mut stream);
        self.stream = stream;
    }

    fn finish_stream(&mut self, stream: &mut StreamState) {
        let strays: u64 = stream
            .groups
            .iter()
            .map(|group| group.strays + group.pending.values().filter(|d| d.owner.is_none()).count() as u64)
            .sum();
        if strays > 0 {
            return self.fail(Unsupported::PendingWithoutOwner { count: strays });
        }
        let meta = stream.meta;
        if !stream.ids.sorted || stream.ids.last > meta.last_id || meta.max_deleted > meta.last_id {
            return self.fail(Unsupported::Contradiction);
        }
        if !self.features.stream_counters && stream.has_counters() {
            self.harmless.push(Unsupported::StreamCounters);
        }
        let deleted = stream.deleted();
        if !deleted.is_empty() {
            if stream.flowing {
                return self.fail(Unsupported::PendingOfDeleted {
                    count: deleted.len() as u64,
                    limit: self.limits.stream as u64,
                });
            }
            self.placeholders(stream, &deleted);
        }
        let empty = stream.ids.first.is_none();
        release(&mut stream.held, &mut self.out);
        let (name, out, features) = (&self.name, &mut self.out, self.features);
        let last_id = meta.last_id.to_string();
        if empty && deleted.is_empty() {
            // An empty stream is created by adding an entry that is trimmed at once.
            let id = if meta.last_id == StreamId::default() { "0-1" } else { &last_id };
            out.push(&[b"XADD", name, b"MAXLEN", b"0", id.as_bytes(), b"x", b"y"]);
        }
        if features.stream_counters {
            let (added, max_deleted) = (meta.entries_added.to_string(), meta.max_deleted.to_string());
            out.push(&[
                b"XSETID",
                name,
                last_id.as_bytes(),
                b"ENTRIESADDED",
                added.as_bytes(),
                b"MAXDELETEDID",
                max_deleted.as_bytes(),
            ]);
        } else {
            out.push(&[b"XSETID", name, last_id.as_bytes()]);
        }
        for group in &stream.groups {
            // Sets the position of groups that had to be created first.
            let verb: &[u8] = if deleted.is_empty() { b"CREATE" } else { b"SETID" };
            group_command(out, name, group, verb, group.last_id, features);
            group.consumers(out, name, features);
            for (id, delivery) in &group.pending {
                if deleted.binary_search(id).is_err() {
                    group.claim(out, name, *id, *delivery);
                }
            }
        }
    }

    /// Creates the groups and those of their pending entries whose entries are deleted, and leaves the stream empty.
    fn placeholders(&mut self, stream: &StreamState, deleted: &[StreamId]) {
        let (name, out) = (&self.name, &mut self.out);
        for id in deleted {
            out.push(&[b"XADD", name, id.to_string().as_bytes(), b"x", b"y"]);
        }
        for group in &stream.groups {
            out.push(&[b"XGROUP", b"CREATE", name, &group.name, b"0"]);
            for (id, delivery) in &group.pending {
                if deleted.binary_search(id).is_ok() {
                    group.claim(out, name, *id, *delivery);
                }
            }
        }
        out.push(&[b"XTRIM", name, b"MAXLEN", b"0"]);
        out.push(&[b"XSETID", name, b"0-0"]);
    }
}

impl StreamState {
    /// Ids that are pending but not among the entries, sorted.
    fn deleted(&self) -> Vec<StreamId> {
        let mut pending: Vec<StreamId> =
            self.groups.iter().flat_map(|group| group.pending.keys().copied()).collect();
        if pending.is_empty() {
            return pending;
        }
        pending.sort_unstable();
        pending.dedup();
        let mut present = self.ids.iter().peekable();
        pending.retain(|id| {
            while present.next_if(|next| next < id).is_some() {}
            present.peek() != Some(id)
        });
        pending
    }

    /// True when its counters differ from what a server would derive without them.
    fn has_counters(&self) -> bool {
        let meta = &self.meta;
        meta.entries_added != meta.length
            || meta.max_deleted != StreamId::default()
            || self
                .groups
                .iter()
                .any(|group| group.entries_read != estimate_entries_read(meta, self.ids.first, group.last_id))
    }
}

impl Group {
    fn consumers(&self, out: &mut Commands, key: &[u8], features: Features) {
        for consumer in &self.consumers {
            if features.create_consumer {
                out.push(&[b"XGROUP", b"CREATECONSUMER", key, &self.name, consumer]);
            } else {
                // Reading its own history creates a consumer without delivering new entries.
                out.push(&[
                    b"XREADGROUP",
                    b"GROUP",
                    &self.name,
                    consumer,
                    b"COUNT",
                    b"1",
                    b"STREAMS",
                    key,
                    b"0",
                ]);
            }
        }
    }

    fn claim(&self, out: &mut Commands, key: &[u8], id: StreamId, delivery: Delivery) {
        let Some(owner) = delivery.owner.and_then(|owner| self.consumers.get(owner)) else { return };
        out.push(&[
            b"XCLAIM",
            key,
            &self.name,
            owner,
            b"0",
            id.to_string().as_bytes(),
            b"TIME",
            delivery.at.to_string().as_bytes(),
            b"RETRYCOUNT",
            delivery.count.to_string().as_bytes(),
            b"FORCE",
            b"JUSTID",
        ]);
    }
}

fn group_command(
    out: &mut Commands,
    key: &[u8],
    group: &Group,
    verb: &[u8],
    last_id: StreamId,
    features: Features,
) {
    let id = last_id.to_string();
    match group.entries_read.filter(|_| features.stream_counters) {
        Some(read) => {
            let read = read.to_string();
            out.push(&[b"XGROUP", verb, key, &group.name, id.as_bytes(), b"ENTRIESREAD", read.as_bytes()]);
        }
        None => out.push(&[b"XGROUP", verb, key, &group.name, id.as_bytes()]),
    }
}

/// Moves commands, and releases a buffer that has grown large.
fn release(from: &mut Commands, to: &mut Commands) {
    to.resp.extend_from_slice(&from.resp);
    to.replies += std::mem::take(&mut from.replies);
    from.resp.clear();
    from.resp.shrink_to(1 << 20);
}

/// Splits the encoded fields and values of an entry.
fn split(mut fields: &[u8]) -> Option<Vec<&[u8]>> {
    let mut texts = Vec::new();
    while let Some((len, rest)) = fields.split_first_chunk::<4>() {
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        texts.push(text);
        fields = rest;
    }
    (fields.is_empty() && texts.len() % 2 == 0).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_in_few_bytes_and_whole() {
        let ids = [(0, 1), (0, 5), (7, 0), (7, u64::MAX), (u64::MAX, 0), (u64::MAX, 3), (1, 1)];
        let ids: Vec<StreamId> = ids.iter().map(|(ms, seq)| StreamId { ms: *ms, seq: *seq }).collect();
        let mut kept = Ids { sorted: true, ..Ids::default() };
        for id in &ids {
            kept.push(*id);
        }
        assert_eq!(kept.iter().collect::<Vec<_>>(), ids);
        assert!(!kept.sorted && kept.first == Some(ids[0]));
        assert!(kept.bytes.len() < 70);
    }

    fn entry(text: &str) -> Vec<u8> {
        let mut fields = Vec::new();
        for part in [text, "v"] {
            fields.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
            fields.extend(part.as_bytes());
        }
        fields
    }

    /// A stream of entries 1-0, 2-0 … with one pending entry that is not among them.
    fn emitted(entries: u64, limits: super::super::Limits) -> (Result<(), Unsupported>, Commands, usize) {
        use crate::rdb::{Elements as _, Kind};
        let mut emitter =
            Emitter::with_limits(crate::convert::commands::Target::redis(7, 0).features(), limits);
        emitter.begin(0, b"s", Kind::Stream, None).unwrap();
        let (mut all, mut most) = (Commands::default(), 0);
        for ms in 2..entries + 2 {
            emitter.entry(StreamId { ms, seq: 0 }, &entry(&"f".repeat(100)));
            most = most.max(emitter.stream.held.resp.len());
            let ready = emitter.take();
            all.resp.extend(ready.resp);
        }
        let last_id = StreamId { ms: entries + 1, seq: 0 };
        let length = entries;
        emitter.stream(&StreamMeta { length, last_id, entries_added: length + 1, ..StreamMeta::default() });
        emitter.group(b"g", last_id, Some(length));
        emitter.pending(StreamId { ms: 1, seq: 0 }, 5, 1);
        emitter.consumer(b"c", 0);
        emitter.owned(StreamId { ms: 1, seq: 0 });
        let ended = emitter.end();
        all.resp.extend(emitter.take().resp);
        (ended, all, most)
    }

    #[test]
    fn a_large_stream_is_not_held_back_whole() {
        let limits = super::super::Limits { stream: 10_000, ..Default::default() };
        let (ended, all, most) = emitted(2, limits);
        assert_eq!(ended, Ok(()));
        let text = String::from_utf8(all.resp).unwrap();
        // The placeholder is claimed before the first entry arrives.
        assert!(text.find("XCLAIM").unwrap() < text.find("ffff").unwrap() && most < 1000);
        let (ended, all, most) = emitted(5000, limits);
        assert_eq!(ended, Err(Unsupported::PendingOfDeleted { count: 1, limit: 10_000 }));
        assert!(most < 11_000);
        // What was sent is deleted.
        assert!(all.resp.ends_with(b"*2\r\n$3\r\nDEL\r\n$1\r\ns\r\n"));
    }

    #[test]
    fn a_group_that_contradicts_itself_is_named() {
        use crate::rdb::{Elements as _, Kind};
        let mut emitter = Emitter::new(crate::convert::commands::Target::redis(7, 0).features());
        let stream = |emitter: &mut Emitter, last: u64| {
            emitter.begin(0, b"s", Kind::Stream, None).unwrap();
            emitter.entry(StreamId { ms: 2, seq: 0 }, &entry("f"));
            let last_id = StreamId { ms: last, seq: 0 };
            emitter.stream(&StreamMeta { length: 1, last_id, entries_added: 1, ..StreamMeta::default() });
        };
        stream(&mut emitter, 1);
        assert_eq!(emitter.end(), Err(Unsupported::Contradiction));
        stream(&mut emitter, 2);
        emitter.group(b"g", StreamId::default(), None);
        emitter.pending(StreamId { ms: 2, seq: 0 }, 5, 1);
        assert_eq!(emitter.end(), Err(Unsupported::PendingWithoutOwner { count: 1 }));
        assert!(emitter.take().resp.is_empty());
    }
}
