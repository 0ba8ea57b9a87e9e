//! How a private server can be reached.

/// How a private server can be reached; never by other users of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listen {
    /// On a Unix socket in the server's folder, which other users cannot enter, without a port. There is no password
    /// unless one is given.
    #[default]
    Socket,
    /// Also on a free port of 127.0.0.1, which all users of the host can reach: every connection needs a password,
    /// which is random unless one is given.
    Port,
}
