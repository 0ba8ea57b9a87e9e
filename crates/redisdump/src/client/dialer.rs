//! Connections other than TCP and sockets, such as tunnels.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream to and from a server.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// The future that a dialer returns.
pub type Dialing<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Makes the connections to a server instead of TCP. TLS, the login and everything above are unchanged.
pub trait Dialer: Send + Sync {
    /// Opens the route if it is not open yet. Called before each connection.
    fn open(&self) -> Dialing<'_, Route>;

    /// Connects.
    fn dial<'a>(&'a self, to: Destination<'a>) -> Dialing<'a, Box<dyn ByteStream>>;
}

/// The destination of a connection, as named by the options or by a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A host and a port.
    Tcp(&'a str, u16),
    /// A socket.
    Unix(&'a Path),
}

/// The open route to a server.
#[derive(Clone, Default)]
pub struct Route {
    /// What was reached, for display and reports: `pod shop/redis-0 (uid …)`.
    pub via: String,
    /// The password, if the tunnel provides it; it overrides that of the options.
    pub password: Option<String>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("via", &self.via).finish_non_exhaustive()
    }
}
