//! Streams: entries in listpacks after their master ids, then the stream's metadata, then consumer groups with pending
//! entries and consumers; `rdbSaveObject` in `rdb.c`, and `t_stream.c` for the entries.
//!
//! Versions extend the same layout: 2 (7.0) adds the first id, the greatest deleted id, the number of entries added and
//! each group's number of entries read; 3 (7.2) a consumer's active time; 4 (8.6) the table of idempotent producers
//! after the groups; 5 (8.8) each group's pending entries without a consumer, after its consumers.

use super::cursor::{Cursor, Stop};
use super::error::Problem;
use super::lint::Lint;
use super::listpack::Listpack;
use super::value::{Elements, StreamId, StreamMeta};

const BAD: Problem = Problem::Item("a stream's listpack is damaged");
/// Flags of an entry (`t_stream.c`).
const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// The position in a stream's value.
#[derive(Debug)]
pub(crate) struct StreamWalk {
    version: u8,
    at: At,
    first_id: Option<StreamId>,
    meta: StreamMeta,
    groups_left: u64,
    consumers_left: u64,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Begin,
    Nodes(u64),
    Meta,
    Groups,
    Pending(u64),
    Consumers,
    Owned(u64),
    Nacked(u64),
    Idempotency,
    Producers(u64),
    Iids { left: u64, producers: u64 },
    Totals,
    Done,
}

impl StreamWalk {
    pub(crate) fn new(version: u8) -> StreamWalk {
        StreamWalk {
            version,
            at: At::Begin,
            first_id: None,
            meta: StreamMeta::default(),
            groups_left: 0,
            consumers_left: 0,
        }
    }

    /// Takes one step; returns true at the end.
    pub(crate) fn step<E: Elements>(
        &mut self,
        cursor: &mut Cursor<'_>,
        scratch: &mut Vec<u8>,
        fields: &mut Vec<u8>,
        out: &mut E,
    ) -> Result<bool, Stop> {
        self.at = match self.at {
            At::Begin => {
                let nodes = cursor.count()?;
                out.elements(nodes);
                At::Nodes(nodes)
            }
            At::Nodes(0) => At::Meta,
            At::Nodes(left) => {
                let master = cursor.text()?;
                let list = cursor.text()?;
                let master: [u8; 16] = master
                    .bytes(scratch)?
                    .try_into()
                    .map_err(|_| Problem::Item("a stream node's key is not an id of 16 bytes"))?;
                let (master, list) = (StreamId::from_bytes(master), list.bytes(scratch)?);
                out.node(master, list);
                if self.node(master, list, fields, out)? {
                    out.lint(Lint::ListpackLinks);
                }
                At::Nodes(left - 1)
            }
            At::Meta => {
                let meta = self.read_meta(cursor)?;
                let groups = cursor.count()?;
                self.meta = StreamMeta { groups, ..meta };
                self.groups_left = groups;
                out.stream(&self.meta);
                At::Groups
            }
            At::Groups if self.groups_left == 0 => {
                if self.version >= 4 {
                    At::Idempotency
                } else {
                    At::Done
                }
            }
            At::Groups => self.group(cursor, scratch, out)?,
            At::Pending(0) => {
                self.consumers_left = cursor.count()?;
                At::Consumers
            }
            At::Pending(left) => {
                let id = StreamId::from_bytes(cursor.array()?);
                let at = cursor.millis()?;
                let count = cursor.count()?;
                out.pending(id, at, count);
                At::Pending(left - 1)
            }
            At::Consumers if self.consumers_left == 0 => {
                At::Nacked(if self.version >= 5 { cursor.count()? } else { 0 })
            }
            At::Nacked(0) => {
                out.group_end();
                At::Groups
            }
            At::Nacked(left) => {
                out.nacked(StreamId::from_bytes(cursor.array()?));
                At::Nacked(left - 1)
            }
            At::Consumers => self.consumer(cursor, scratch, out)?,
            At::Owned(0) => At::Consumers,
            At::Owned(left) => {
                out.owned(StreamId::from_bytes(cursor.array()?));
                At::Owned(left - 1)
            }
            At::Idempotency | At::Producers(_) | At::Iids { .. } | At::Totals => {
                idempotency(self.at, cursor, out)?
            }
            At::Done => At::Done,
        };
        Ok(matches!(self.at, At::Done))
    }

    /// The header of a consumer group.
    fn group<E: Elements>(
        &mut self,
        cursor: &mut Cursor<'_>,
        scratch: &mut Vec<u8>,
        out: &mut E,
    ) -> Result<At, Stop> {
        let name = cursor.text()?;
        let last_id = id(cursor)?;
        let read = match self.version {
            1 => estimate_entries_read(&self.meta, self.first_id, last_id),
            // The server stores -1 for "unknown".
            _ => Some(cursor.count()?).filter(|read| *read != u64::MAX),
        };
        let pending = cursor.count()?;
        out.group(name.bytes(scratch)?, last_id, read);
        self.groups_left -= 1;
        Ok(At::Pending(pending))
    }

    /// The header of a consumer.
    fn consumer<E: Elements>(
        &mut self,
        cursor: &mut Cursor<'_>,
        scratch: &mut Vec<u8>,
        out: &mut E,
    ) -> Result<At, Stop> {
        let name = cursor.text()?;
        let seen = cursor.millis()?;
        let active = if self.version >= 3 { Some(cursor.millis()?) } else { None };
        let owned = cursor.count()?;
        out.consumer(name.bytes(scratch)?, seen);
        if let Some(at) = active {
            out.active(at);
        }
        self.consumers_left -= 1;
        Ok(At::Owned(owned))
    }

    fn read_meta(&self, cursor: &mut Cursor<'_>) -> Result<StreamMeta, Stop> {
        let length = cursor.count()?;
        let last_id = id(cursor)?;
        Ok(if self.version >= 2 {
            let _first = id(cursor)?;
            let max_deleted = id(cursor)?;
            StreamMeta { length, last_id, max_deleted, entries_added: cursor.count()?, groups: 0 }
        } else {
            StreamMeta { length, last_id, max_deleted: StreamId::default(), entries_added: length, groups: 0 }
        })
    }

    /// Reads the entries of one node. The listpack begins with a master entry (number of entries, number of deleted
    /// ones, field names, a zero); entries store their ids as differences to the node's, and may share the master's
    /// field names. Returns true if the listpack cannot be traversed backwards.
    fn node<E: Elements>(
        &mut self,
        master: StreamId,
        list: &[u8],
        fields: &mut Vec<u8>,
        out: &mut E,
    ) -> Result<bool, Problem> {
        let mut list = Listpack::new(list)?;
        let live = count(list.integer()?)?;
        let deleted = count(list.integer()?)?;
        let names = count(list.integer()?)?;
        let shared = list.clone();
        for _ in 0..names {
            list.expect()?;
        }
        if list.integer()? != 0 {
            return Err(BAD);
        }
        let mut number = Vec::new();
        let mut broken_links = false;
        let total = live.checked_add(deleted).ok_or(BAD)?;
        for _ in 0..total {
            let flags = list.integer()?;
            let ms = list.integer()?;
            let seq = list.integer()?;
            // Differences are stored as signed numbers and wrap, as in the server.
            let id =
                StreamId { ms: master.ms.wrapping_add_signed(ms), seq: master.seq.wrapping_add_signed(seq) };
            let same = flags & SAME_FIELDS != 0;
            let pairs = if same { names } else { count(list.integer()?)? };
            let mut shared = shared.clone();
            fields.clear();
            for _ in 0..pairs {
                let name = if same { shared.expect()? } else { list.expect()? };
                push(fields, name.bytes(&mut number)?);
                push(fields, list.expect()?.bytes(&mut number)?);
            }
            // The number of listpack entries of this one, for traversal backwards.
            let own =
                if same { pairs.checked_add(3) } else { pairs.checked_mul(2).and_then(|n| n.checked_add(4)) };
            broken_links |= u64::try_from(list.integer()?).ok() != own;
            if flags & DELETED == 0 {
                self.first_id.get_or_insert(id);
                out.entry(id, fields);
            }
        }
        match list.next()? {
            None => Ok(broken_links || list.has_broken_links()),
            Some(_) => Err(BAD),
        }
    }
}

/// One step in a stream's table of idempotent producers: the settings (duration, maximum), then for each producer its ids
/// and their entries, then two counters. Only the number of producers is reported: the table is a cache that expires by
/// itself.
fn idempotency<E: Elements>(at: At, cursor: &mut Cursor<'_>, out: &mut E) -> Result<At, Stop> {
    Ok(match at {
        At::Idempotency => {
            cursor.count()?;
            cursor.count()?;
            let producers = cursor.count()?;
            out.producers(producers);
            At::Producers(producers)
        }
        At::Producers(0) => At::Totals,
        At::Producers(left) => {
            cursor.text()?;
            At::Iids { left: cursor.count()?, producers: left - 1 }
        }
        At::Iids { left: 0, producers } => At::Producers(producers),
        At::Iids { left, producers } => {
            cursor.text()?;
            id(cursor)?;
            At::Iids { left: left - 1, producers }
        }
        At::Totals => {
            cursor.count()?;
            cursor.count()?;
            At::Done
        }
        other => other,
    })
}

/// The number of entries that a group has read, for streams from before 7.0, which do not store it: the rule by which
/// 7.0 derives it on loading (`streamEstimateDistanceFromFirstEverEntry`, with no known deletions). `first_id` is the
/// id of the first entry, if any.
pub(crate) fn estimate_entries_read(
    meta: &StreamMeta,
    first_id: Option<StreamId>,
    id: StreamId,
) -> Option<u64> {
    if meta.entries_added == 0 {
        return Some(0);
    }
    match id.cmp(&meta.last_id) {
        std::cmp::Ordering::Equal => Some(meta.entries_added),
        std::cmp::Ordering::Greater => None,
        std::cmp::Ordering::Less => {
            let before = meta.entries_added.saturating_sub(meta.length);
            match id.cmp(&first_id.unwrap_or_default()) {
                std::cmp::Ordering::Less => Some(before),
                std::cmp::Ordering::Equal => Some(before + 1),
                std::cmp::Ordering::Greater => None,
            }
        }
    }
}

fn push(fields: &mut Vec<u8>, bytes: &[u8]) {
    // A listpack is at most 4 GiB, and so are its strings.
    fields.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    fields.extend_from_slice(bytes);
}

fn count(n: i64) -> Result<u64, Problem> {
    u64::try_from(n).map_err(|_| BAD)
}

fn id(cursor: &mut Cursor<'_>) -> Result<StreamId, Stop> {
    Ok(StreamId { ms: cursor.count()?, seq: cursor.count()? })
}
