//! Writes large objects, which arrive as rows of COPY text: object, offset, bytes in hexadecimal.

use bytes::{Buf as _, Bytes, BytesMut};
use futures::stream::{FuturesUnordered, Stream, StreamExt as _};

use crate::Error;
use crate::connect::Session;
use crate::dump::copy_statement::LARGE_OBJECT_PIECE;
use crate::error::BoxError;

/// Number of writes in flight; each holds one piece.
const IN_FLIGHT: usize = 8;

/// Maximum length of a row: twice the piece, the two numbers, and separators.
const LONGEST_ROW: usize = 2 * LARGE_OBJECT_PIECE + 64;

/// Writes every piece into its object, in one transaction; returns the number of rows.
pub(super) async fn write<E>(
    session: &Session,
    stream: impl Stream<Item = Result<Bytes, E>>,
) -> Result<u64, Error>
where
    E: Into<BoxError>,
{
    let object = "large objects";
    let put = "SELECT pg_catalog.lo_put($1, $2, $3)";
    let rows_failed =
        |source: Box<dyn std::error::Error + Send + Sync>| Error::Rows { object: object.to_owned(), source };
    session.execute(object, "BEGIN").await?;
    let client = session.client();
    let statement = client.prepare(put).await.map_err(|e| Error::from_server(object, put, e))?;
    let mut stream = std::pin::pin!(stream);
    let mut rest = BytesMut::new();
    let mut writes = FuturesUnordered::new();
    let mut rows = 0;
    while let Some(piece) = stream.next().await {
        rest.extend_from_slice(&piece.map_err(|e| rows_failed(e.into()))?);
        while let Some(end) = memchr::memchr(b'\n', &rest) {
            let row = rest.split_to(end);
            rest.advance(1);
            let piece = Piece::parse(&row)
                .ok_or_else(|| rows_failed("a row is not an object, an offset and bytes".into()))?;
            rows += 1;
            if piece.bytes.is_empty() {
                continue;
            }
            if writes.len() >= IN_FLIGHT {
                finished(writes.next().await, put)?;
            }
            let statement = statement.clone();
            writes.push(async move {
                let done = client.execute(&statement, &[&piece.object, &piece.offset, &piece.bytes]).await;
                (piece.object, done)
            });
        }
        if rest.len() > LONGEST_ROW {
            return Err(rows_failed("a row is longer than any page of a large object".into()));
        }
    }
    if !rest.is_empty() {
        return Err(rows_failed("the last row is cut off".into()));
    }
    while let Some(done) = writes.next().await {
        finished(Some(done), put)?;
    }
    session.execute(object, "COMMIT").await?;
    Ok(rows)
}

type Written = (u32, Result<u64, tokio_postgres::Error>);

fn finished(written: Option<Written>, statement: &str) -> Result<(), Error> {
    match written {
        Some((oid, Err(error))) => Err(Error::from_server(format!("large object {oid}"), statement, error)),
        _ => Ok(()),
    }
}

/// A row.
#[derive(Debug, PartialEq)]
struct Piece {
    object: u32,
    offset: i64,
    bytes: Vec<u8>,
}

impl Piece {
    fn parse(row: &[u8]) -> Option<Piece> {
        let mut fields = row.splitn(3, |byte| *byte == b'\t');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse::<i64>().ok();
        let (object, offset) = (number()?, number()?);
        // COPY text doubles the backslash of `\x`.
        let digits = fields.next()?.strip_prefix(br"\\x")?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let pairs = digits.chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        Some(Piece { object: u32::try_from(object).ok()?, offset, bytes: pairs.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_apart() {
        let piece = Piece::parse(b"16400\t262144\t\\\\x00ff1A").unwrap();
        assert_eq!(piece, Piece { object: 16400, offset: 262_144, bytes: vec![0, 255, 26] });
        assert_eq!(Piece::parse(b"1\t0\t\\\\x").unwrap().bytes, Vec::<u8>::new());
        for broken in [&b"1\t0\t\\\\x0"[..], b"1\t0\t\\\\xzz", b"1\t0", b"-1\t0\t\\\\x", b"1\t0\tabc", b""] {
            assert_eq!(Piece::parse(broken), None, "{broken:?}");
        }
    }
}
