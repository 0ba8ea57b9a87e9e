//! The JSON of a value in pieces: that of a large schema is larger than the schema itself in memory.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::mpsc::{Sender, channel};

const PIECE: usize = 256 << 10;

/// Serializes the value on another thread while the pieces are read.
pub(crate) fn json_pieces<T: Serialize + Send + Sync + 'static>(
    value: Arc<T>,
) -> impl Stream<Item = io::Result<Bytes>> {
    let (sender, pieces) = channel(1);
    let serializer = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE, Pieces(sender));
        serde_json::to_writer(&mut out, &*value)?;
        out.flush()
    });
    stream::try_unfold(Some((pieces, serializer)), async |state| {
        let Some((mut pieces, serializer)) = state else { return Ok(None) };
        if let Some(piece) = pieces.recv().await {
            return Ok(Some((piece, Some((pieces, serializer)))));
        }
        // Without an error, and only then, the pieces are the whole document.
        serializer.await.map_err(io::Error::other)??;
        Ok(None)
    })
}

struct Pieces(Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn the_pieces_form_the_whole_document() {
        let value: Vec<String> = (0..100_000).map(|n| format!("{n} \"quoted\"")).collect();
        let pieces: Vec<Bytes> = json_pieces(Arc::new(value.clone())).try_collect().await.unwrap();
        assert!(pieces.len() > 4 && pieces.iter().all(|piece| piece.len() <= PIECE));
        assert_eq!(pieces.concat(), serde_json::to_vec(&value).unwrap());
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_serialized_is_an_error() {
        let value = BTreeMap::from([(vec![1_u8], 2)]);
        let failed = json_pieces(Arc::new(value)).try_collect::<Vec<Bytes>>().await.unwrap_err();
        assert!(failed.to_string().contains("key must be a string"), "{failed}");
    }
}
