//! The stream of a connection, which reports why it ended.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{ChildStdin, ChildStdout};

use crate::Error;
use crate::process::Running;

/// How long to wait for the message of a program whose output has ended.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The same for a program that continues after the connection.
const BACKGROUND_MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to a server.
///
/// If the route is cut, reads and writes fail with the output of the program that carried it. Dropping the stream
/// ends its programs.
pub struct Stream {
    ends: Ends,
    /// The program of this connection, and those that it depends on.
    running: Vec<Used>,
    ending: Option<ExitReason>,
}

/// A program, with the amount of its output when the stream began: earlier output belongs to other streams.
pub(crate) type Used = (Arc<Running>, usize);

/// A program as used from now on.
pub(crate) fn used(running: Arc<Running>) -> Used {
    let mark = running.mark();
    (running, mark)
}

type ExitReason = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

enum Ends {
    Pipes(Option<ChildStdin>, ChildStdout),
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How long to wait for a refusal that no handshake reports.
const REFUSAL: Duration = Duration::from_millis(800);

impl Stream {
    pub(crate) fn pipes(stdin: ChildStdin, stdout: ChildStdout, running: Vec<Used>) -> Stream {
        Stream { ends: Ends::Pipes(Some(stdin), stdout), running, ending: None }
    }

    pub(crate) fn tcp(stream: TcpStream) -> Stream {
        Stream { ends: Ends::Tcp(stream), running: Vec::new(), ending: None }
    }

    pub(crate) fn unix(stream: UnixStream, running: Vec<Used>) -> Stream {
        Stream { ends: Ends::Unix(stream), running, ending: None }
    }

    /// The same stream, which depends on another program too.
    pub(crate) fn with(mut self, running: Running) -> Stream {
        // All of its output belongs to this connection.
        self.running.insert(0, (Arc::new(running), 0));
        self
    }

    /// Waits briefly for a refusal: pipes exist before it is known whether there is a server at their end.
    pub(crate) async fn survives(mut self) -> Result<(), Error> {
        if matches!(self.ends, Ends::Tcp(_)) {
            return Ok(());
        }
        let mut byte = [0; 1];
        match tokio::time::timeout(REFUSAL, self.read(&mut byte)).await {
            Ok(Err(error)) => Err(Error::io("connecting", error)),
            Ok(Ok(0)) => Err(Error::io("connecting", io::ErrorKind::ConnectionReset.into())),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Asks each program why the stream ended.
    fn poll_why(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        let own = matches!(self.ends, Ends::Pipes(..));
        let running = &self.running;
        let ending = self.ending.get_or_insert_with(|| {
            let running = running.clone();
            Box::pin(async move {
                let mut said = Vec::new();
                for (at, (running, mark)) in running.iter().enumerate() {
                    // The end of a pipe is the end of its program; the others may continue.
                    let time = if at == 0 && own { MESSAGE_TIMEOUT } else { BACKGROUND_MESSAGE_TIMEOUT };
                    said.extend(running.message_within(time, *mark).await);
                }
                (!said.is_empty()).then(|| said.join("; "))
            })
        });
        let said = ready!(ending.as_mut().poll(context));
        self.ending = None;
        Poll::Ready(said)
    }

    /// An I/O error with the output of the programs.
    fn poll_failed(&mut self, error: io::Error, context: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Ready(match ready!(self.poll_why(context)) {
            Some(words) => io::Error::new(error.kind(), words),
            None => error,
        })
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands: Vec<&str> = self.running.iter().map(|(running, _)| running.what.as_str()).collect();
        f.debug_tuple("Stream").field(&commands).finish()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ending.is_none() {
            let before = buffer.filled().len();
            let read = match &mut this.ends {
                Ends::Pipes(_, stdout) => Pin::new(stdout).poll_read(context, buffer),
                Ends::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
                Ends::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            };
            match ready!(read) {
                Ok(()) if buffer.filled().len() > before || buffer.remaining() == 0 => {
                    return Poll::Ready(Ok(()));
                }
                Ok(()) => {}
                Err(error) => return this.poll_failed(error, context).map(Err),
            }
        }
        Poll::Ready(match ready!(this.poll_why(context)) {
            Some(words) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, words)),
            None => Ok(()),
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = match &mut this.ends {
            Ends::Pipes(Some(stdin), _) => Pin::new(stdin).poll_write(context, bytes),
            Ends::Pipes(None, _) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Ends::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Ends::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        match ready!(written) {
            Ok(written) => Poll::Ready(Ok(written)),
            Err(error) => this.poll_failed(error, context).map(Err),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.ends {
            Ends::Pipes(Some(stdin), _) => Pin::new(stdin).poll_flush(context),
            Ends::Pipes(None, _) => Poll::Ready(Ok(())),
            Ends::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Ends::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.ends {
            Ends::Pipes(stdin, _) => {
                // A pipe is shut down by closing it.
                if let Some(stdin) = stdin {
                    ready!(Pin::new(stdin).poll_flush(context))?;
                }
                *stdin = None;
                Poll::Ready(Ok(()))
            }
            Ends::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Ends::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
