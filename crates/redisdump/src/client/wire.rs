//! RESP2 over a stream: writes commands and reads replies. Nothing is read ahead of a request, and a length field alone
//! allocates nothing.
//!
//! Replies become values of the `redis` crate. Its own parser is not used, because it buffers a reply completely, of any
//! length. Here a caller reads a reply in parts, skips it, or keeps only its errors.

use redis::{ServerError, Value};
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf,
};

use crate::Error;
use crate::client::dialer::ByteStream;
pub(crate) use crate::client::resp::command;

/// A reply, or the server's error message. An error within an array is a [`Value::ServerError`].
pub(crate) type Reply = Result<Value, String>;

pub(crate) type Socket = Box<dyn ByteStream>;

/// Maximum length of a line (simple strings, errors, lengths).
const LINE: u64 = 64 << 10;
/// Bulk strings are read in steps of this size, so that memory grows with the received data.
const STEP: usize = 1 << 20;
/// Maximum depth of nested arrays (FUNCTION LIST has three levels).
const DEPTH: usize = 8;
/// Maximum memory of a reply that is read whole. The largest is that of FUNCTION DUMP, and a server accepts no argument,
/// and so no function library, of more than 512 MiB by default.
const REPLY: u64 = 512 << 20;

/// Errors in a reply.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The position of the first failed element in an array of replies, as returned by EXEC.
    pub(crate) place: Option<u64>,
    /// The first error message.
    pub(crate) message: String,
    /// The number of errors.
    pub(crate) errors: u64,
}

/// The header of a reply.
#[derive(Debug)]
pub(crate) enum Head {
    /// A string of this length follows: [`Reader::part`] reads it, and [`Reader::end`] the line end after it.
    Bulk(u64),
    /// This number of replies follows.
    Array(u64),
    /// The complete reply.
    Other(Reply),
}

/// The reading half.
pub(crate) struct Reader {
    pub(crate) socket: BufReader<ReadHalf<Socket>>,
    target: String,
}

/// The writing half.
pub(crate) struct Writer {
    socket: WriteHalf<Socket>,
    target: String,
}

/// The two halves of a connection.
pub(crate) fn halves(socket: Socket, target: &str) -> (Reader, Writer) {
    let (read, write) = tokio::io::split(socket);
    (
        Reader { socket: BufReader::with_capacity(64 << 10, read), target: target.to_owned() },
        Writer { socket: write, target: target.to_owned() },
    )
}

impl Writer {
    pub(crate) async fn send(&mut self, bytes: &[u8], operation: &str) -> Result<(), Error> {
        let sent = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        sent.await.map_err(|source| Error::Lost {
            target: self.target.clone(),
            operation: operation.to_owned(),
            source,
        })
    }
}

impl Reader {
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    pub(crate) fn lost(&self, operation: &str, source: std::io::Error) -> Error {
        Error::Lost { target: self.target.clone(), operation: operation.to_owned(), source }
    }

    /// One line without its end.
    pub(crate) async fn line(&mut self, operation: &str) -> Result<String, Error> {
        let mut line = Vec::new();
        let read = (&mut self.socket).take(LINE).read_until(b'\n', &mut line).await;
        read.map_err(|e| self.lost(operation, e))?;
        if line.pop() != Some(b'\n') {
            if line.len() as u64 >= LINE - 1 {
                return Err(self.protocol("unterminated line".to_owned()));
            }
            return Err(self.lost(operation, std::io::ErrorKind::UnexpectedEof.into()));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads a whole reply.
    pub(crate) async fn reply(&mut self, operation: &str) -> Result<Reply, Error> {
        let mut left = REPLY;
        Ok(match self.head(operation).await? {
            Head::Other(reply) => reply,
            Head::Bulk(length) => Ok(self.string(length, operation, &mut left).await?),
            Head::Array(length) => Ok(self.array(length, operation, 0, &mut left).await?),
        })
    }

    /// Reads a string within `left` bytes of memory.
    async fn string(&mut self, length: u64, operation: &str, left: &mut u64) -> Result<Value, Error> {
        self.spend(left, length)?;
        self.bulk(length, operation).await.map(Value::BulkString)
    }

    /// Reads the elements of an array at this depth, within `left` bytes of memory.
    async fn array(
        &mut self,
        length: u64,
        operation: &str,
        depth: usize,
        left: &mut u64,
    ) -> Result<Value, Error> {
        if depth == DEPTH {
            return Err(self.protocol("the reply contains arrays that are nested too deeply".to_owned()));
        }
        let mut items = Vec::new();
        for _ in 0..length {
            self.spend(left, size_of::<Value>() as u64)?;
            items.push(match self.head(operation).await? {
                Head::Other(reply) => reply.unwrap_or_else(|message| error_value(&message)),
                Head::Bulk(length) => self.string(length, operation, left).await?,
                Head::Array(length) => Box::pin(self.array(length, operation, depth + 1, left)).await?,
            });
        }
        Ok(Value::Array(items))
    }

    fn spend(&self, left: &mut u64, bytes: u64) -> Result<(), Error> {
        let rest = left.checked_sub(bytes);
        *left = rest.ok_or_else(|| self.protocol(format!("the reply is larger than {} MiB", REPLY >> 20)))?;
        Ok(())
    }

    /// Reads the header of a reply; the caller reads the rest.
    pub(crate) async fn head(&mut self, operation: &str) -> Result<Head, Error> {
        let line = self.line(operation).await?;
        let (kind, rest) = line.split_at_checked(1).unwrap_or(("", ""));
        Ok(match (kind, rest.parse::<i64>()) {
            ("+", _) if rest == "OK" => Head::Other(Ok(Value::Okay)),
            ("+", _) => Head::Other(Ok(Value::SimpleString(rest.to_owned()))),
            ("-", _) => Head::Other(Err(rest.to_owned())),
            (":", Ok(n)) => Head::Other(Ok(Value::Int(n))),
            ("$" | "*", Ok(-1)) => Head::Other(Ok(Value::Nil)),
            ("$", Ok(n)) if n >= 0 => Head::Bulk(n.unsigned_abs()),
            ("*", Ok(n)) if n >= 0 => Head::Array(n.unsigned_abs()),
            _ => {
                let shown: String = line.chars().take(60).collect();
                return Err(self.protocol(format!("unexpected reply {shown:?}")));
            }
        })
    }

    /// Reads a reply and keeps only its errors.
    pub(crate) async fn outcome(&mut self, operation: &str) -> Result<Option<Failed>, Error> {
        let mut failed: Option<Failed> = None;
        // The number of missing elements at each depth, and the current element of the outermost array.
        let mut missing: Vec<u64> = Vec::new();
        let mut element = 0;
        loop {
            let line = self.line(operation).await?;
            let (kind, rest) = line.split_at_checked(1).unwrap_or(("", ""));
            match (kind, rest.parse::<i64>()) {
                ("-", _) => {
                    let place = (!missing.is_empty()).then_some(element);
                    let first = || Failed { place, message: rest.to_owned(), errors: 0 };
                    failed.get_or_insert_with(first).errors += 1;
                }
                ("+", _) | (":", Ok(_)) | ("$" | "*", Ok(-1)) => {}
                ("$", Ok(n)) if n >= 0 => self.skip(n.unsigned_abs().saturating_add(2), operation).await?,
                ("*", Ok(n)) if n >= 0 && missing.len() < DEPTH => {
                    missing.push(n.unsigned_abs().saturating_add(1));
                }
                _ => {
                    let shown: String = line.chars().take(60).collect();
                    return Err(self.protocol(format!("unexpected reply {shown:?}")));
                }
            }
            // Completes an array, and the arrays around it that it completes.
            while let Some(left) = missing.last_mut() {
                *left -= 1;
                if *left > 0 {
                    break;
                }
                missing.pop();
            }
            match missing.as_slice() {
                [] => return Ok(failed),
                [_] => element += 1,
                _ => {}
            }
        }
    }

    /// Consumes buffered `+OK` replies, at most this many: a fast path for millions of them.
    pub(crate) fn take_ok(&mut self, most: usize) -> usize {
        const OK: &[u8; 5] = b"+OK\r\n";
        let (replies, _) = self.socket.buffer().as_chunks::<5>();
        let count = replies.iter().take(most).take_while(|reply| *reply == OK).count();
        self.socket.consume(count * OK.len());
        count
    }

    /// Consumes a buffered integer reply: a fast path for millions of them. `None` if the next reply is another one, or
    /// has not arrived completely.
    pub(crate) fn take_int(&mut self) -> Option<i64> {
        let (number, used) = short_number(self.socket.buffer(), b':')?;
        self.socket.consume(used);
        Some(number)
    }

    /// The same for a string, which is read in place.
    pub(crate) fn take_bulk<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let buffer = self.socket.buffer();
        let (length, head) = short_number(buffer, b'$')?;
        let end = head.checked_add(usize::try_from(length).ok()?)?;
        if buffer.len() < end.checked_add(2)? {
            return None;
        }
        let out = read(buffer.get(head..end)?);
        self.socket.consume(end + 2);
        Some(out)
    }

    /// Skips bytes of a reply whose header was read.
    pub(crate) async fn skip(&mut self, bytes: u64, operation: &str) -> Result<(), Error> {
        let skipped = tokio::io::copy(&mut (&mut self.socket).take(bytes), &mut tokio::io::sink()).await;
        match skipped.map_err(|e| self.lost(operation, e))? == bytes {
            true => Ok(()),
            false => Err(self.lost(operation, std::io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Appends available bytes of a reply whose header was read, at most `most`; returns their number, at least one.
    pub(crate) async fn some(
        &mut self,
        out: &mut Vec<u8>,
        most: usize,
        operation: &str,
    ) -> Result<usize, Error> {
        let before = out.len();
        out.resize(before + most, 0);
        let read = self.socket.read(out.get_mut(before..).unwrap_or_default()).await;
        out.truncate(before + read.as_ref().map_or(0, |n| *n));
        match read.map_err(|e| self.lost(operation, e))? {
            0 => Err(self.lost(operation, std::io::ErrorKind::UnexpectedEof.into())),
            n => Ok(n),
        }
    }

    /// Reads a string whose header was read, and its line end.
    pub(crate) async fn bulk(&mut self, length: u64, operation: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.part(&mut bytes, length, operation).await?;
        self.end(operation).await?;
        Ok(bytes)
    }

    /// Appends the next bytes of a string.
    pub(crate) async fn part(
        &mut self,
        into: &mut Vec<u8>,
        bytes: u64,
        operation: &str,
    ) -> Result<(), Error> {
        let mut left = bytes;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(STEP).min(STEP);
            let before = into.len();
            into.resize(before + step, 0);
            let part = into.get_mut(before..).unwrap_or_default();
            let read = self.socket.read_exact(part).await;
            read.map_err(|e| self.lost(operation, e))?;
            left -= step as u64;
        }
        Ok(())
    }

    /// Reads the line end after a string.
    pub(crate) async fn end(&mut self, operation: &str) -> Result<(), Error> {
        let read = self.socket.read_exact(&mut [0; 2]).await;
        read.map(drop).map_err(|e| self.lost(operation, e))
    }

    pub(crate) fn protocol(&self, message: String) -> Error {
        Error::Protocol { target: self.target.clone(), message }
    }
}

/// The number in the first line of a buffer, if it is complete and of this kind, and the length of the line.
fn short_number(buffer: &[u8], kind: u8) -> Option<(i64, usize)> {
    /// Of a sign, the digits of an `i64`, and the line end.
    const MOST: usize = 22;
    let rest = buffer.strip_prefix(&[kind])?;
    let digits = rest.iter().take(MOST).position(|byte| *byte == b'\r')?;
    let (number, end) = rest.split_at_checked(digits)?;
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    end.starts_with(b"\r\n").then_some((number, digits + 3))
}

/// An error within an array. The `redis` crate has no other constructor of such errors than its parser.
fn error_value(message: &str) -> Value {
    let line = format!("-{message}\r\n");
    redis::parse_redis_value(line.as_bytes()).unwrap_or_else(|_| Value::SimpleString(message.to_owned()))
}

/// The error message of an error within an array.
pub(crate) fn words(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader of these bytes.
    async fn reader(bytes: &[u8]) -> Reader {
        let (mut server, client) = tokio::io::duplex(bytes.len().max(1));
        server.write_all(bytes).await.unwrap();
        halves(Box::new(client), "server").0
    }

    #[tokio::test]
    async fn errors_contain_the_servers_message() {
        for message in ["NOPERM this user has no permissions", "ERR", "CUSTOM  two spaces ", "", "ERR - x: y"]
        {
            let mut reader = reader(format!("-{message}\r\n*1\r\n-{message}\r\n").as_bytes()).await;
            assert_eq!(reader.reply("GET").await.unwrap(), Err(message.to_owned()));
            let Ok(Value::Array(items)) = reader.reply("EXEC").await.unwrap() else { panic!("{message}") };
            let [Value::ServerError(error)] = items.as_slice() else { panic!("{items:?}") };
            assert_eq!(words(error), message);
        }
    }

    #[tokio::test]
    async fn replies_are_values() {
        let mut reader = reader(b"*5\r\n+OK\r\n+PONG\r\n:-7\r\n$-1\r\n$2\r\n\xff\n\r\n*-1\r\n").await;
        let items = vec![
            Value::Okay,
            Value::SimpleString("PONG".to_owned()),
            Value::Int(-7),
            Value::Nil,
            Value::BulkString(vec![0xff, b'\n']),
        ];
        assert_eq!(reader.reply("X").await.unwrap(), Ok(Value::Array(items)));
        assert_eq!(reader.reply("X").await.unwrap(), Ok(Value::Nil));
    }

    #[tokio::test]
    async fn a_reply_is_bounded_in_size_and_depth() {
        let refused = |error: Error| match error {
            Error::Protocol { message, .. } => message,
            other => panic!("{other}"),
        };
        // The length alone shows it; nothing is read or allocated.
        let large = format!("*2\r\n$1\r\nx\r\n${REPLY}\r\n");
        let error = reader(large.as_bytes()).await.reply("INFO").await.unwrap_err();
        assert_eq!(refused(error), "the reply is larger than 512 MiB");
        // Elements count too, however short.
        let many = ":1\r\n".repeat(100);
        let mut numbers = reader(many.as_bytes()).await;
        let error = numbers.array(4_000_000_000, "KEYS", 0, &mut 1000).await.unwrap_err();
        assert_eq!(refused(error), "the reply is larger than 512 MiB");
        let error = reader("*1\r\n".repeat(9).as_bytes()).await.reply("COMMAND").await.unwrap_err();
        assert_eq!(refused(error), "the reply contains arrays that are nested too deeply");
    }
}
