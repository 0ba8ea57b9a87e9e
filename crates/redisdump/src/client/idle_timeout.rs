//! Detection of dead connections.
//!
//! A peer that has vanished (its host was switched off, a firewall dropped the connection) is detected by TCP
//! keepalive. A server that hangs while its host still answers is detected by the idle timeout: no data in either
//! direction for a long time during a wait.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Enables TCP keepalive: a dead peer is detected after about two minutes.
pub(crate) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// A connection on which waits end after an idle period. Traffic in one direction counts for the other too, because a
/// large request is not answered before its end.
pub(crate) struct IdleTimeout<S> {
    inner: S,
    idle_timeout: Duration,
    moved: Instant,
    reading: Wait,
    writing: Wait,
}

/// The wait in one direction.
#[derive(Default)]
struct Wait {
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<S> IdleTimeout<S> {
    pub(crate) fn new(inner: S, idle_timeout: Duration) -> IdleTimeout<S> {
        IdleTimeout {
            inner,
            idle_timeout,
            moved: Instant::now(),
            reading: Wait::default(),
            writing: Wait::default(),
        }
    }
}

impl Wait {
    /// Pending until the idle period is over.
    fn poll(&mut self, moved: Instant, idle_timeout: Duration, context: &mut Context<'_>) -> Poll<io::Error> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let Some(until) = since.max(moved).checked_add(idle_timeout) else { return Poll::Pending };
        if until <= now {
            self.since = None;
            let message = format!(
                "connection idle for {} s (?timeout=SECONDS in the URL allows more)",
                idle_timeout.as_secs()
            );
            return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        // The timer is only moved when it fires, so that traffic costs nothing.
        while sleep.as_mut().poll(context).is_ready() {
            sleep.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for IdleTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Pending => {
                Poll::Ready(Err(ready!(this.reading.poll(this.moved, this.idle_timeout, context))))
            }
            done => {
                this.reading.since = None;
                this.moved = Instant::now();
                done
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> IdleTimeout<S> {
    fn written<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending => {
                Poll::Ready(Err(ready!(self.writing.poll(self.moved, self.idle_timeout, context))))
            }
            done => {
                self.writing.since = None;
                self.moved = Instant::now();
                done
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for IdleTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.written(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_dead_peer_is_asked_after() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        keep_alive(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        let idle = socket.tcp_keepalive_time().unwrap();
        let more = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        assert_eq!((idle + more).as_secs(), 120);
    }

    #[tokio::test]
    async fn what_moves_in_one_direction_counts_for_the_other() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = tokio::io::split(IdleTimeout::new(stream, Duration::from_millis(400)));
        let began = Instant::now();
        let mut bytes = [0; 1];
        let busy = async {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                write.write_all(b"x").await.unwrap();
            }
        };
        let (error, ()) = tokio::join!(async { read.read(&mut bytes).await.unwrap_err() }, busy);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(1100), "{:?}", began.elapsed());
        // Delegates to the inner connection.
        peer.write_all(b"y").await.unwrap();
        assert_eq!(read.read(&mut bytes).await.unwrap(), 1);
    }
}
