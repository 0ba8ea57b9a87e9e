//! RESP2 over a connection: sends commands and reads replies. Nothing is read ahead of a request, and a length field
//! alone allocates nothing.

use std::time::Duration;

use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf,
};
use tokio::net::{TcpStream, UnixStream};

use crate::client::address::Address;
use crate::client::dialer::{ByteStream, Destination, Dialer};
use crate::client::idle_timeout::{IdleTimeout, keep_alive};
pub(crate) use crate::client::resp::command;
use crate::client::tls::{connector, secured};
use crate::{ConnectOptions, Error};

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
}

impl Reply {
    /// The bytes of a string reply, simple or bulk.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Bulk(bytes) => Some(bytes),
            Reply::Simple(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The server's clock in milliseconds since the epoch, from a reply to TIME.
    pub(crate) fn clock(&self) -> Option<i64> {
        let Reply::Array(parts) = self else { return None };
        let part = |at: usize| parts.get(at).and_then(Reply::int);
        Some(part(0)?.saturating_mul(1000).saturating_add(part(1)? / 1000))
    }

    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Reply::Int(n) => Some(*n),
            other => other.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok()),
        }
    }
}

pub(crate) type Socket = Box<dyn ByteStream>;

/// Maximum length of a line (simple strings, errors, lengths).
const LINE: u64 = 64 << 10;
/// Bulk strings are read in steps of this size, so that memory grows with the received data.
const STEP: usize = 1 << 20;
/// Maximum depth of nested arrays (FUNCTION LIST has three levels).
const DEPTH: usize = 8;

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

/// An authenticated connection.
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
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

    pub(crate) async fn reply(&mut self, operation: &str) -> Result<Reply, Error> {
        self.nested(operation, 0).await
    }

    async fn nested(&mut self, operation: &str, depth: usize) -> Result<Reply, Error> {
        match self.head(operation).await? {
            Head::Bulk(n) => self.bulk(n, operation).await.map(Reply::Bulk),
            Head::Array(n) if depth < DEPTH => {
                let mut items = Vec::new();
                for _ in 0..n {
                    items.push(Box::pin(self.nested(operation, depth + 1)).await?);
                }
                Ok(Reply::Array(items))
            }
            Head::Array(_) => {
                Err(self.protocol("the reply contains arrays that are nested too deeply".to_owned()))
            }
            Head::Other(reply) => Ok(reply),
        }
    }

    /// Reads the header of a reply; the caller reads the rest.
    pub(crate) async fn head(&mut self, operation: &str) -> Result<Head, Error> {
        let line = self.line(operation).await?;
        let (kind, rest) = line.split_at_checked(1).unwrap_or(("", ""));
        Ok(match (kind, rest.parse::<i64>()) {
            ("+", _) => Head::Other(Reply::Simple(rest.to_owned())),
            ("-", _) => Head::Other(Reply::Error(rest.to_owned())),
            (":", Ok(n)) => Head::Other(Reply::Int(n)),
            ("$" | "*", Ok(-1)) => Head::Other(Reply::Nil),
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

impl Connection {
    /// Connects to the server at an address, and authenticates. [`Connection::open`] accepts all URLs.
    pub(crate) async fn to_server(options: &ConnectOptions) -> Result<Connection, Error> {
        let target = options.display().to_string();
        let failed = |message: String| Error::Connect { target: target.clone(), message };
        let way = match &options.dialer {
            Some(dialer) => Some(dialer.open().await.map_err(|error| failed(error.to_string()))?),
            None => None,
        };
        let socket = match tokio::time::timeout(Duration::from_secs(30), dial(options)).await {
            Ok(dialled) => dialled.map_err(failed)?,
            Err(_) => return Err(failed("it did not answer within 30 s".to_owned())),
        };
        let (read, write) = tokio::io::split(socket);
        let mut connection = Connection {
            reader: Reader { socket: BufReader::with_capacity(64 << 10, read), target: target.clone() },
            writer: Writer { socket: write, target: target.clone() },
        };
        // Only the first reply shows that the server accepts the connection without a client certificate.
        let closed = |error: Error| match error {
            Error::Lost { target, operation, source } if options.wants_certificate() => {
                let operation = format!(
                    "{operation}, the first question (a server with `tls-auth-clients yes` wants a client's certificate: \
                     ?cert=FILE&key=FILE)"
                );
                Error::Lost { target, operation, source }
            }
            other => other,
        };
        // A user without a known password may need none.
        let known = way.as_ref().and_then(|way| way.password.as_deref()).or(options.password.as_deref());
        let password = known.or(options.user.as_ref().map(|_| ""));
        if let Some(password) = password {
            let mut arguments: Vec<&[u8]> = vec![b"AUTH"];
            arguments.extend(options.user.as_ref().map(String::as_bytes));
            arguments.push(password.as_bytes());
            match connection.ask_raw(&arguments).await.map_err(closed)? {
                Reply::Error(message) if !(options.user.is_none() && has_no_password(&message)) => {
                    return Err(failed(message));
                }
                _ => {}
            }
        }
        match connection.ask_raw(&[b"PING"]).await.map_err(closed)? {
            Reply::Error(message) if message.starts_with("NOAUTH") => Err(failed(format!(
                "{message} Set a password: REDISCLI_AUTH, redis://:password@…, or the configuration"
            ))),
            // A user without permission for PING may have all others that are needed; a loading server reports it
            // later.
            _ => Ok(connection),
        }
    }

    /// Sends a command and returns its reply, including errors.
    pub(crate) async fn ask_raw(&mut self, arguments: &[&[u8]]) -> Result<Reply, Error> {
        let operation =
            arguments.first().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
        let mut out = Vec::new();
        command(&mut out, arguments);
        self.writer.send(&out, &operation).await?;
        self.reader.reply(&operation).await
    }

    /// Sends a command and returns its reply; an error reply is an error.
    pub(crate) async fn ask(&mut self, arguments: &[&[u8]]) -> Result<Reply, Error> {
        match self.ask_raw(arguments).await? {
            Reply::Error(message) => {
                let operation = arguments
                    .iter()
                    .take(2)
                    .map(|a| String::from_utf8_lossy(a))
                    .collect::<Vec<_>>()
                    .join(" ");
                Err(Error::Server { target: self.reader.target.clone(), operation, message })
            }
            reply => Ok(reply),
        }
    }
}

/// Whether a server rejects a password because it has none. It accepts everyone, so a password meant for another server
/// of the job does no harm.
fn has_no_password(message: &str) -> bool {
    // Before and from Redis 6.0 on.
    message.contains("no password is set") || message.contains("without any password configured")
}

async fn dial(options: &ConnectOptions) -> Result<Socket, String> {
    let socket: Socket = match &options.address {
        // The master was resolved before.
        Address::Sentinel(_) => return Err("Sentinels store no keys".to_owned()),
        // A node was chosen before.
        Address::Cluster(_) => return Err("a cluster is reached by its nodes".to_owned()),
        Address::Unix(path) => match &options.dialer {
            Some(dialer) => dialed(dialer.as_ref(), Destination::Unix(path.as_ref())).await?,
            None => Box::new(UnixStream::connect(path).await.map_err(|e| e.to_string())?),
        },
        Address::Tcp { host, port, tls } => {
            let connector = tls.as_ref().map(connector).transpose()?;
            let stream: Socket = match &options.dialer {
                Some(dialer) => dialed(dialer.as_ref(), Destination::Tcp(host, *port)).await?,
                None => {
                    let stream =
                        TcpStream::connect((host.as_str(), *port)).await.map_err(|e| e.to_string())?;
                    stream.set_nodelay(true).map_err(|e| e.to_string())?;
                    keep_alive(&stream).map_err(|e| e.to_string())?;
                    Box::new(stream)
                }
            };
            match (tls, connector) {
                (Some(tls), Some(connector)) => Box::new(secured(connector, tls, host, stream).await?),
                _ => stream,
            }
        }
    };
    Ok(match options.idle_timeout {
        Some(idle_timeout) => Box::new(IdleTimeout::new(socket, idle_timeout)),
        None => socket,
    })
}

async fn dialed(dialer: &dyn Dialer, to: Destination<'_>) -> Result<Socket, String> {
    dialer.dial(to).await.map_err(|error| error.to_string())
}
