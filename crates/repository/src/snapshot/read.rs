//! Reading a part back: every chunk is checked against its name, and the whole against the part's own hash.

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::crypto::crypt::Unpack;
use crate::format::document::hex;
use crate::tasks::{Task, blocking};
use crate::{ByteSize, ChunkRef, Error, Part, Repository};

/// Chunks that are fetched ahead of the reader.
const AHEAD: usize = 3;

impl Repository {
    /// A part's bytes in memory, for documents such as a catalog.
    ///
    /// A manifest can name one chunk thousands of times, so that a small repository holds a part larger than any memory:
    /// one that is larger than [`Repository::at_most_in_memory`] allows is [`Error::TooLarge`], and nothing of it is
    /// read. Its size is that of its chunks together, which was checked when the manifest was read, and each chunk has
    /// the size that the manifest gives or is damaged.
    pub async fn read_whole(&self, part: &Part) -> Result<Vec<u8>, Error> {
        let (bytes, limit) = (ByteSize(part.bytes), ByteSize(self.most_in_memory));
        if bytes > limit {
            return Err(Error::TooLarge { object: format!("part `{}`", part.name), bytes, limit });
        }
        // The limit is what may be reserved at once.
        let mut whole = Vec::with_capacity(usize::try_from(part.bytes).unwrap_or(0));
        let mut stream = Box::pin(self.read_part(part));
        while let Some(piece) = stream.try_next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// A part's bytes, in order. The stream ends with an error if a chunk or the whole is not what was stored.
    pub fn read_part<'a>(&'a self, part: &'a Part) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'a {
        let chunks = stream::iter(part.chunks.iter().copied())
            .map(move |chunk| {
                // A task of its own, since a reader that is busy with what it has does not ask for what comes next.
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
            .buffered(AHEAD);
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
                    let message = format!("its chunks are whole, but together they hash to {found}");
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
        // The chunker's bound also bounds what a malicious manifest can make us allocate.
        if chunk.bytes > self.chunker.max {
            return Err(damaged(format!("{} bytes are more than any chunk has", chunk.bytes)));
        }
        // Compression and encryption never add more than a little; a larger object is not this chunk, and is not fetched.
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
                Err(Unpack::Damaged("its bytes are not those of its name".to_owned()))
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
