//! Connections other than TCP and sockets, such as tunnels.

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

/// The future that a dialer returns.
pub type Dialing<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Makes the connections to a server instead of TCP.
///
/// TLS, login and everything above are unchanged. `sslmode=verify-full` verifies the host given in the options.
pub trait Dialer: Send + Sync {
    /// Opens the route if it is not open yet. Called before each connection, outside of `connect_timeout`.
    fn open(&self) -> Dialing<'_, Route>;

    /// Connects to a host and port of the options. A host that begins with a slash is the folder of a socket.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialing<'a, Box<dyn ByteStream>>;
}

/// The open route to a server.
#[derive(Clone, Default)]
pub struct Route {
    /// What was reached, for reports: `pod shop/db-0 (uid …)`.
    pub via: String,
    /// The user, if the tunnel provides it. Overrides that of the options.
    pub user: Option<String>,
    /// The password, if the tunnel provides it. Overrides that of the options.
    pub password: Option<String>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("via", &self.via).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Interval of keep-alive queries: kubectl forwards, and middleboxes on the way to the pod, drop connections that are
/// idle for some minutes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Keeps a connection alive until it is closed. An empty query changes nothing in any transaction state, and is
/// queued behind the running statement.
pub(super) async fn keep_alive(client: Weak<Client>, silence: Option<Duration>) {
    loop {
        tokio::time::sleep(silence.unwrap_or(KEEP_ALIVE_INTERVAL)).await;
        let Some(client) = client.upgrade().filter(|client| !client.is_closed()) else { return };
        // The answer does not matter, and may take hours.
        let _ = tokio::time::timeout(Duration::from_secs(1), client.simple_query("")).await;
    }
}

/// A dialer's stream as a named type, because the compiler cannot infer the lifetimes of the boxed one.
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

#[cfg(test)]
mod tests {
    use futures::{SinkExt as _, StreamExt as _};
    use tokio_postgres::NoTls;

    use super::*;

    /// In a transaction, in a failed one, and in the middle of a COPY in both directions.
    #[tokio::test]
    async fn a_connection_is_kept_alive_without_harm() {
        let Some(binaries) = sandbox::testing::require_postgres(15) else { return };
        let server = sandbox::Postgres::start(&binaries, sandbox::PostgresOptions::default()).unwrap();
        let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls).await.unwrap();
        tokio::spawn(connection);
        let client = Arc::new(client);
        let silence = Duration::from_millis(2);
        let keeping = tokio::spawn(keep_alive(Arc::downgrade(&client), Some(silence)));
        let wait = || tokio::time::sleep(20 * silence);

        client.batch_execute("BEGIN; CREATE TABLE t (n int)").await.unwrap();
        wait().await;
        let mut sink = std::pin::pin!(client.copy_in::<_, bytes::Bytes>("COPY t FROM STDIN").await.unwrap());
        for n in 0..100 {
            sink.send(format!("{n}\n").into()).await.unwrap();
            tokio::time::sleep(silence).await;
        }
        assert_eq!(sink.finish().await.unwrap(), 100);
        client.batch_execute("COMMIT; BEGIN").await.unwrap();
        let sql = "COPY (SELECT n, pg_sleep(0.002) FROM t) TO STDOUT";
        let rows = client.copy_out(sql).await.unwrap().count().await;
        assert_eq!(rows, 100);
        client.batch_execute("SELECT 1/0").await.unwrap_err();
        wait().await;
        let error = client.batch_execute("SELECT 1").await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "25P02");
        client.batch_execute("ROLLBACK").await.unwrap();
        assert!(!keeping.is_finished());
        drop(client);
        keeping.await.unwrap();
    }
}
