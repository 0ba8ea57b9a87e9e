//! Reads parts: every chunk is checked against its id, and the whole against the part's own hash.

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::crypto::crypt::Unpack;
use crate::format::document::hex;
use crate::tasks::{Task, blocking};
use crate::{ByteSize, ChunkRef, Error, Part, Repository};

/// Number of chunks to fetch ahead of the reader.
const PREFETCH: usize = 3;

impl Repository {
    /// The bytes of a part in memory, for documents such as a catalog.
    ///
    /// A manifest can reference one chunk thousands of times, so that a small repository contains a part larger than
    /// memory: a part that exceeds [`Repository::at_most_in_memory`] fails with [`Error::TooLarge`] before anything
    /// is read. Its size is the sum of its chunks, which was checked when the manifest was read, and each chunk has
    /// the size that the manifest states or is damaged.
    pub async fn read_whole(&self, part: &Part) -> Result<Vec<u8>, Error> {
        let (bytes, limit) = (ByteSize(part.bytes), ByteSize(self.most_in_memory));
        if bytes > limit {
            return Err(Error::TooLarge { object: format!("part `{}`", part.name), bytes, limit });
        }
        // The limit bounds this allocation.
        let mut whole = Vec::with_capacity(usize::try_from(part.bytes).unwrap_or(0));
        let mut stream = Box::pin(self.read_part(part));
        while let Some(piece) = stream.try_next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// The bytes of a part, in order. The stream ends with an error if a chunk or the whole differs from what was
    /// stored.
    pub fn read_part<'a>(&'a self, part: &'a Part) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'a {
        let chunks = stream::iter(part.chunks.iter().copied())
            .map(move |chunk| {
                // A task of its own, because a busy reader does not poll for the next chunk.
                let repository = self.clone();
                let reading = Task::start(async move { repository.read_chunk(chunk).await });
                async move {
                    let read = reading.await.unwrap_or_else(|e| {
                        Err(Error::Stream { part: part.name.clone(), source: Box::new(e) })
                    });
                    read.map_err(|error| match error {
                        Error::Damaged { object, message } => {
                            Error::Damaged { object: format!("part `{}`, {object}", part.name), message }
                        }
                        other => other,
                    })
                }
            })
            .buffered(PREFETCH);
        let state = (Box::pin(chunks), Some(Sha256::new()));
        stream::unfold(state, move |(mut chunks, whole)| async move {
            let mut whole = whole?;
            match chunks.next().await {
                Some(Ok(bytes)) => {
                    whole.update(&bytes);
                    Some((Ok(bytes), (chunks, Some(whole))))
                }
                Some(Err(error)) => Some((Err(error), (chunks, None))),
                None => {
                    let found = hex(&whole.finalize());
                    if found == part.sha256 {
                        return None;
                    }
                    let message = format!("its chunks are intact, but their combined hash is {found}");
                    Some((
                        Err(Error::Damaged { object: format!("part `{}`", part.name), message }),
                        (chunks, None),
                    ))
                }
            }
        })
    }

    pub(crate) async fn read_chunk(&self, chunk: ChunkRef) -> Result<Bytes, Error> {
        let object = chunk.object().to_string();
        let damaged = |message: String| Error::Damaged { object: object.clone(), message };
        // The chunker's limit also bounds the memory that a malicious manifest can make us allocate.
        if chunk.bytes > self.chunker.max {
            return Err(damaged(format!("{} bytes are more than any chunk has", chunk.bytes)));
        }
        // Compression and encryption add only a little; a larger object cannot be this chunk, and is not fetched.
        let limit = u64::from(self.chunker.max) + (64 << 10);
        let packed = self
            .store
            .get_at_most(&object, limit)
            .await?
            .ok_or_else(|| damaged("it is missing".to_owned()))?;
        let crypt = self.crypt.clone();
        let plain = blocking(move || {
            let plain = crypt.unpack(&packed, chunk.bytes as usize)?;
            if crypt.name(&plain) == chunk.id {
                Ok(plain)
            } else {
                Err(Unpack::Damaged("its content does not match its name".to_owned()))
            }
        })
        .await?;
        match plain {
            Ok(plain) => Ok(Bytes::from(plain)),
            Err(Unpack::Damaged(message)) => Err(damaged(message)),
            Err(Unpack::Locked) => Err(Error::Locked { what: object }),
            Err(Unpack::OtherRecipients) => Err(Error::OtherRecipients { what: object }),
        }
    }
}
