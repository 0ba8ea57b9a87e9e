//! Merges several RDBs into one: those of a cluster's masters, whose keys form one keyspace.
//!
//! The streams are read concurrently, because servers send them concurrently and do not wait long for a reader.
//! Switching streams only after complete keys makes the output an ordinary RDB: one header, the front matter of the
//! first stream, each function library once, all keys, and a checksum.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use futures::{Stream, TryStreamExt as _};

use crate::Error;
use crate::rdb::{Crc64, Dialect, Head, Reader};

/// The end mark and the checksum of an RDB.
const FOOTER: usize = 9;
/// The first version with a checksum.
const CHECKSUMS: u16 = 5;

/// Merges several RDBs into one.
///
/// # Errors
/// The stream ends with [`Error::Corrupt`] if one of them is damaged, and with [`Error::Stream`] if one fails or if
/// some are of Redis and some of Valkey.
pub fn merge_rdb<'a, E>(
    streams: Vec<BoxStream<'a, Result<Bytes, E>>>,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'a
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'a,
{
    merge(streams.into_iter().map(|stream| stream.map_err(Error::stream).boxed()).collect())
}

/// The same for streams with this crate's errors.
pub(crate) fn merge(
    streams: Vec<BoxStream<'_, Result<Bytes, Error>>>,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + '_ {
    let merge = Merge {
        sources: streams.into_iter().map(Source::new).collect(),
        current: None,
        next: 0,
        last: None,
        begun: false,
        ended: false,
        crc: Crc64::default(),
    };
    futures::stream::try_unfold(merge, |mut merge| async move {
        Ok(merge.step().await?.map(|piece| (piece, merge)))
    })
}

struct Merge<'a> {
    sources: Vec<Source<'a>>,
    /// The stream that is in the middle of a key.
    current: Option<usize>,
    /// The stream that is polled first.
    next: usize,
    /// The stream whose bytes were forwarded last.
    last: Option<usize>,
    begun: bool,
    ended: bool,
    crc: Crc64,
}

struct Source<'a> {
    stream: BoxStream<'a, Result<Bytes, Error>>,
    reader: Reader,
    /// Bytes that were read and not forwarded: after the last complete key, or the last few of a long one.
    held: Vec<u8>,
    /// The offset of the first of them.
    at: u64,
    /// The database selected there.
    db: u64,
    state: State,
    /// The stream has ended.
    exhausted: bool,
    /// The forwarded bytes end in the middle of a key.
    within: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes that were read together with the front matter still have to be forwarded.
    Begun,
    Reading,
    /// The RDB has ended, but its stream has not.
    Draining,
    Ended,
}

impl Merge<'_> {
    async fn step(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.begun {
            self.begun = true;
            return self.begin().await.map(Some);
        }
        while let Some((at, piece)) = poll_fn(|context| self.poll(context)).await {
            let piece = piece?;
            let Some(source) = self.sources.get_mut(at) else { continue };
            let taken = source.take(&piece)?;
            self.current = taken.within.then_some(at);
            self.next = (at + 1) % self.sources.len().max(1);
            if !taken.bytes.is_empty() {
                return Ok(Some(self.forward(at, taken)));
            }
        }
        if std::mem::replace(&mut self.ended, true) {
            return Ok(None);
        }
        self.crc.update(&[255]);
        let mut footer = vec![255];
        footer.extend_from_slice(&self.crc.value().to_le_bytes());
        Ok(Some(Bytes::from(footer)))
    }

    /// The header, and what precedes the keys.
    async fn begin(&mut self) -> Result<Bytes, Error> {
        let mut out = Vec::new();
        let mut known: HashSet<Vec<u8>> = HashSet::new();
        let mut kind: Option<(Dialect, u16)> = None;
        for source in &mut self.sources {
            let head = source.head().await?;
            match &mut kind {
                None => {
                    kind = Some((head.dialect, head.version));
                    out.extend_from_slice(&head.rest);
                }
                Some((dialect, _)) if *dialect != head.dialect => {
                    return Err(Error::stream("RDBs of Redis and of Valkey cannot be merged"));
                }
                Some((_, version)) => *version = (*version).max(head.version),
            }
            for (raw, code) in head.functions {
                if known.insert(code) {
                    out.extend_from_slice(&raw);
                }
            }
        }
        let (dialect, version) = kind.ok_or_else(|| Error::stream("no RDB was given"))?;
        let version = version.max(CHECKSUMS);
        let mut header = match dialect {
            Dialect::Redis => format!("REDIS{version:04}"),
            Dialect::Valkey => format!("VALKEY{version:03}"),
        }
        .into_bytes();
        header.append(&mut out);
        self.crc.update(&header);
        Ok(Bytes::from(header))
    }

    /// The next chunk of the stream that is in the middle of a key, otherwise of any stream.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Result<Bytes, Error>)>> {
        let count = self.sources.len();
        let order: Vec<usize> = match self.current {
            Some(current) => vec![current],
            None => (0..count).map(|step| (self.next + step) % count.max(1)).collect(),
        };
        let mut waiting = false;
        for at in order {
            let Some(source) = self.sources.get_mut(at).filter(|source| source.state != State::Ended) else {
                continue;
            };
            if source.state == State::Begun {
                source.state = State::Reading;
                return Poll::Ready(Some((at, Ok(Bytes::new()))));
            }
            if source.exhausted {
                source.state = State::Ended;
                continue;
            }
            match Pin::new(&mut source.stream).poll_next(context) {
                Poll::Ready(Some(piece)) => return Poll::Ready(Some((at, piece))),
                Poll::Ready(None) => match source.end() {
                    Ok(()) => {}
                    Err(error) => return Poll::Ready(Some((at, Err(error)))),
                },
                Poll::Pending => waiting = true,
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(None) }
    }

    fn forward(&mut self, at: usize, taken: ForwardedBytes) -> Bytes {
        let ForwardedBytes { mut bytes, db, .. } = taken;
        if self.last != Some(at) {
            self.last = Some(at);
            let mut chosen = vec![254];
            crate::capture::length(&mut chosen, db);
            bytes.splice(..0, chosen);
        }
        self.crc.update(&bytes);
        Bytes::from(bytes)
    }
}

/// Bytes forwarded from a stream.
struct ForwardedBytes {
    bytes: Vec<u8>,
    /// The database selected where they begin.
    db: u64,
    /// They end in the middle of a key.
    within: bool,
}

impl<'a> Source<'a> {
    fn new(stream: BoxStream<'a, Result<Bytes, Error>>) -> Source<'a> {
        Source {
            stream,
            // The consumer of the output decides which versions it accepts.
            reader: Reader::new().try_newer(true),
            held: Vec::new(),
            at: 0,
            db: 0,
            state: State::Begun,
            exhausted: false,
            within: false,
        }
    }

    /// Reads up to the first key.
    async fn head(&mut self) -> Result<Head, Error> {
        let mut wanted = 0;
        loop {
            // Not retried with each chunk of a long library.
            if (self.held.len() >= wanted || self.exhausted)
                && let Some(head) = Head::read(&self.held)?
            {
                self.held.drain(..head.length.min(self.held.len()));
                self.at = head.length as u64;
                return Ok(head);
            }
            if self.exhausted {
                return Err(self.reader.finish().map_or_else(Error::from, |_| mismatched_end()));
            }
            wanted = self.held.len() * 2;
            match self.stream.next().await.transpose()? {
                Some(piece) => {
                    self.feed(&piece)?;
                    self.held.extend_from_slice(&piece);
                }
                None => {
                    self.reader.finish()?;
                    self.exhausted = true;
                }
            }
        }
    }

    fn feed(&mut self, piece: &[u8]) -> Result<(), Error> {
        let used = self.reader.feed(piece, &mut ())?;
        match used < piece.len() {
            true => Err(mismatched_end()),
            false => Ok(()),
        }
    }

    /// Takes the next bytes, and forwards those up to the end of a key; for a key longer than a chunk, all of them.
    fn take(&mut self, piece: &[u8]) -> Result<ForwardedBytes, Error> {
        self.feed(piece)?;
        self.held.extend_from_slice(piece);
        self.ready()
    }

    fn ready(&mut self) -> Result<ForwardedBytes, Error> {
        let db = self.db;
        let key_end = self.reader.key_end().filter(|(at, _)| *at > self.at);
        let mut within = false;
        let tail = if self.reader.is_complete() {
            self.state = State::Draining;
            self.held.truncate(self.held.len().saturating_sub(self.footer()));
            Vec::new()
        } else if let Some((end, db)) = key_end {
            self.db = db;
            let whole = usize::try_from(end - self.at).unwrap_or(usize::MAX);
            self.held.split_off(whole.min(self.held.len()))
        } else {
            // The end of the RDB may be among the last bytes.
            let tail = self.held.split_off(self.held.len().saturating_sub(FOOTER));
            within = self.within || !self.held.is_empty();
            tail
        };
        let bytes = std::mem::replace(&mut self.held, tail);
        self.at += bytes.len() as u64;
        self.within = within;
        Ok(ForwardedBytes { bytes, db, within })
    }

    fn footer(&self) -> usize {
        if self.reader.version().1 < CHECKSUMS { 1 } else { FOOTER }
    }

    /// The stream has ended.
    fn end(&mut self) -> Result<(), Error> {
        self.reader.finish()?;
        self.state = State::Ended;
        Ok(())
    }
}

fn mismatched_end() -> Error {
    Error::stream("an RDB is followed by bytes that do not belong to it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::{Checksum, Elements, Key, Visitor};

    #[derive(Default)]
    struct Seen {
        keys: Vec<(u64, Vec<u8>, usize)>,
        functions: usize,
        raw: usize,
    }
    impl Elements for Seen {}
    impl Visitor for Seen {
        fn function(&mut self, _: &[u8]) {
            self.functions += 1;
        }
        fn key(&mut self, key: &Key<'_>) {
            self.keys.push((key.db, key.name.to_vec(), 0));
        }
        fn raw(&mut self, bytes: &[u8]) {
            self.raw += bytes.len();
            if let Some(key) = self.keys.last_mut() {
                key.2 += bytes.len();
            }
        }
    }

    /// An RDB of strings in one database.
    fn rdb(version: &str, db: u8, functions: &[&str], keys: &[(&str, usize)]) -> Vec<u8> {
        let mut out = format!("REDIS{version}").into_bytes();
        out.extend(b"\xfa\x01a\x01b");
        for code in functions {
            out.extend([245, u8::try_from(code.len()).unwrap()]);
            out.extend(code.as_bytes());
        }
        out.extend([254, db, 251, 1, 0]);
        for (name, length) in keys {
            // An expiry precedes its key and belongs to it.
            out.push(252);
            out.extend(4_102_444_800_000_i64.to_le_bytes());
            out.extend([0, u8::try_from(name.len()).unwrap()]);
            out.extend(name.as_bytes());
            out.push(0x80);
            out.extend(u32::try_from(*length).unwrap().to_be_bytes());
            out.extend(vec![b'v'; *length]);
        }
        out.push(255);
        let crc = crate::rdb::crc64(&out);
        out.extend(crc.to_le_bytes());
        out
    }

    fn pieces(rdb: &[u8], step: usize) -> BoxStream<'static, Result<Bytes, Error>> {
        let pieces: Vec<_> = rdb.chunks(step).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        futures::stream::iter(pieces).boxed()
    }

    async fn merged(streams: Vec<BoxStream<'static, Result<Bytes, Error>>>) -> Result<Vec<u8>, Error> {
        merge(streams)
            .try_fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await
    }

    #[tokio::test]
    async fn the_output_is_one_rdb_however_the_input_is_split() {
        let one = rdb("0009", 0, &["lib one"], &[("a", 5), ("b", 300), ("c", 0)]);
        let two = rdb("0011", 3, &["lib one", "lib two"], &[("d", 70_000)]);
        let empty = rdb("0006", 0, &[], &[]);
        for steps in [[1, 1, 1], [7, 64, 5], [4096, 1, 1 << 20], [1 << 20, 1 << 20, 1 << 20]] {
            let streams =
                [&one, &two, &empty].into_iter().zip(steps).map(|(rdb, step)| pieces(rdb, step)).collect();
            let all = merged(streams).await.unwrap();
            assert!(all.starts_with(b"REDIS0011"));
            let (mut reader, mut seen) = (Reader::new(), Seen::default());
            assert_eq!(reader.feed(&all, &mut seen).unwrap(), all.len(), "{steps:?}");
            assert_eq!(reader.finish().unwrap(), Checksum::Verified);
            seen.keys.sort();
            let names: Vec<(u64, &[u8])> =
                seen.keys.iter().map(|(db, name, _)| (*db, name.as_slice())).collect();
            assert_eq!(names, [(0, b"a".as_slice()), (0, b"b"), (0, b"c"), (3, b"d")]);
            assert_eq!((seen.functions, seen.raw), (2, 5 + 300 + 70_000 + 4 * 5), "{steps:?}");
        }
    }

    #[tokio::test]
    async fn damage_and_a_missing_end_are_found() {
        let whole = rdb("0011", 0, &[], &[("a", 500)]);
        for cut in [0, 5, 9, 12, 40, whole.len() - 9, whole.len() - 1] {
            let streams = vec![pieces(&whole, 64), pieces(&whole[..cut], 64)];
            assert!(matches!(merged(streams).await, Err(Error::Corrupt(_))), "{cut}");
        }
        let mut damaged = whole.clone();
        damaged[60] ^= 1;
        assert!(merged(vec![pieces(&damaged, 64)]).await.is_err());
        let mut longer = whole.clone();
        longer.push(0);
        assert!(merged(vec![pieces(&longer, 64), pieces(&whole, 9)]).await.is_err());
        let mut valkey = whole.clone();
        valkey.splice(..9, *b"VALKEY080");
        assert!(merged(vec![pieces(&whole, 64), pieces(&valkey, 64)]).await.is_err());
        assert!(merged(Vec::new()).await.is_err());
    }
}
