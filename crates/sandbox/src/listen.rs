//! How a private server is reached.

/// How a private server is reached. Other users of the host cannot reach it either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listen {
    /// On a Unix socket in the server's own folder, which nobody else can enter, and on no port. There is no password
    /// unless one is named.
    #[default]
    Socket,
    /// Also on a free port of 127.0.0.1, which everybody on the host can reach: each connection needs a password. It is
    /// random unless one is named.
    Port,
}
