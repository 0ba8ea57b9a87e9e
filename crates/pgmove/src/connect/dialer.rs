//! Connections by other means than TCP and sockets, such as a tunnel.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Client;

/// A stream of bytes to and from a server.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// What a dialer gives, at some time.
pub type Dialing<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Makes the connections of a server, in the place of TCP.
///
/// TLS, the login and everything above are as without it. `sslmode=verify-full` verifies the host that the options name.
pub trait Dialer: Send + Sync {
    /// Opens the way, as far as it is not open yet. It is asked for before each connection, outside of `connect_timeout`.
    fn open(&self) -> Dialing<'_, Way>;

    /// Connects to a host and a port of the options; a host that begins with a slash is the folder of a socket.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialing<'a, Box<dyn ByteStream>>;
}

/// What is known once the way is open.
#[derive(Clone, Default)]
pub struct Way {
    /// What was reached, for people and reports: `pod shop/db-0 (uid …)`.
    pub via: String,
    /// The user, where it is known there; it stands over that of the options.
    pub user: Option<String>,
    /// The password, likewise.
    pub password: Option<String>,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("via", &self.via).field("user", &self.user).finish_non_exhaustive()
    }
}

/// How long a connection through a dialer is silent before something is sent: forwards of kubectl, and what stands
/// between it and the pod, forget connections after some minutes of silence.
const SILENCE: Duration = Duration::from_secs(30);

/// Keeps a connection from being forgotten, until it is closed. An empty query changes nothing, in whatever state a
/// transaction is, and waits its turn behind what the server works on.
pub(super) async fn keep_alive(client: Weak<Client>, silence: Option<Duration>) {
    loop {
        tokio::time::sleep(silence.unwrap_or(SILENCE)).await;
        let Some(client) = client.upgrade().filter(|client| !client.is_closed()) else { return };
        // The answer matters to nobody, and may be hours away.
        let _ = tokio::time::timeout(Duration::from_secs(1), client.simple_query("")).await;
    }
}

/// A stream of some dialer's, as a type of its own: the compiler does not see through the lifetimes of the other.
pub(super) struct Dialed(pub(super) Box<dyn ByteStream>);

impl AsyncRead for Dialed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Dialed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}

/// A shared dialer.
pub(super) type Shared = Arc<dyn Dialer>;
