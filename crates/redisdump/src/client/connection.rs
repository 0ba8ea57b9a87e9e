//! Connections to a server. Commands and replies of the control plane are those of the `redis` crate; afterwards the same
//! connection carries PSYNC or a pipeline.

use std::time::Duration;

use redis::{Arg, Cmd, FromRedisValue, Pipeline, cmd, from_redis_value};
use tokio::net::{TcpStream, UnixStream};

use crate::client::address::Address;
use crate::client::dialer::{Destination, Dialer};
use crate::client::idle_timeout::{IdleTimeout, keep_alive};
use crate::client::tls::{connector, secured};
use crate::client::wire::{Reader, Reply, Socket, Writer, halves};
use crate::{ConnectOptions, Error};

/// An authenticated connection.
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

impl Connection {
    /// Connects to the server at an address, and authenticates. [`Connection::open`] accepts all URLs.
    pub(crate) async fn to_server(options: &ConnectOptions) -> Result<Connection, Error> {
        let target = options.display().to_string();
        let failed = |message: String| Error::Connect { target: target.clone(), message };
        let route = match &options.dialer {
            Some(dialer) => Some(dialer.open().await.map_err(|error| failed(error.to_string()))?),
            None => None,
        };
        let socket = match tokio::time::timeout(Duration::from_secs(30), dial(options)).await {
            Ok(dialled) => dialled.map_err(failed)?,
            Err(_) => return Err(failed("it did not answer within 30 s".to_owned())),
        };
        let (reader, writer) = halves(socket, &target);
        let mut connection = Connection { reader, writer };
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
        let known =
            route.as_ref().and_then(|route| route.password.as_deref()).or(options.password.as_deref());
        let password = known.or(options.user.as_ref().map(|_| ""));
        if let Some(password) = password {
            let auth = cmd("AUTH").arg(options.user.as_deref()).arg(password).take();
            match connection.reply_to(&auth).await.map_err(closed)? {
                Err(message) if !(options.user.is_none() && has_no_password(&message)) => {
                    return Err(failed(message));
                }
                _ => {}
            }
        }
        match connection.reply_to(&cmd("PING")).await.map_err(closed)? {
            Err(message) if message.starts_with("NOAUTH") => Err(failed(format!(
                "{message} Set a password: REDISCLI_AUTH, redis://:password@…, or the configuration"
            ))),
            // A user without permission for PING may have all others that are needed; a loading server reports it
            // later.
            _ => Ok(connection),
        }
    }

    /// Sends a command; returns its reply, or the server's error message.
    pub(crate) async fn reply_to(&mut self, cmd: &Cmd) -> Result<Reply, Error> {
        self.exchange(cmd, &name(cmd, 1)).await
    }

    /// The same; an error names this operation instead of the command.
    pub(crate) async fn exchange(&mut self, cmd: &Cmd, operation: &str) -> Result<Reply, Error> {
        self.writer.send(&cmd.get_packed_command(), operation).await?;
        self.reader.reply(operation).await
    }

    /// Sends a command; returns its converted reply, or the server's error message.
    pub(crate) async fn attempt<T: FromRedisValue>(&mut self, cmd: &Cmd) -> Result<Result<T, String>, Error> {
        Ok(match self.reply_to(cmd).await? {
            // The crate's error quotes the reply, which may contain secrets.
            Ok(value) => Ok(from_redis_value(value)
                .map_err(|_| self.reader.protocol(format!("unexpected reply to {}", name(cmd, 2))))?),
            Err(message) => Err(message),
        })
    }

    /// Sends a command and returns its converted reply; an error reply is an error.
    pub(crate) async fn query<T: FromRedisValue>(&mut self, cmd: &Cmd) -> Result<T, Error> {
        self.attempt(cmd).await?.map_err(|message| Error::Server {
            target: self.reader.target().to_owned(),
            operation: name(cmd, 2),
            message,
        })
    }

    /// The same for a command that not every server knows or permits: `None` for an error, and for an unexpected reply,
    /// as proxies send it.
    pub(crate) async fn query_optional<T: FromRedisValue>(&mut self, cmd: &Cmd) -> Result<Option<T>, Error> {
        Ok(self.reply_to(cmd).await?.ok().and_then(|value| from_redis_value(value).ok()))
    }

    /// Selects a database.
    pub(crate) async fn select(&mut self, db: u64) -> Result<(), Error> {
        self.query(cmd("SELECT").arg(db)).await
    }

    /// Sends commands together, and returns their replies.
    pub(crate) async fn query_all(
        &mut self,
        pipeline: &Pipeline,
        operation: &str,
    ) -> Result<Vec<Reply>, Error> {
        let Connection { reader, writer } = self;
        let out = pipeline.get_packed_pipeline();
        let replies = async {
            let mut replies = Vec::with_capacity(pipeline.len());
            for _ in 0..pipeline.len() {
                replies.push(reader.reply(operation).await?);
            }
            Ok(replies)
        };
        // Both at once: the server may answer before it has read all commands.
        let ((), replies) = futures::try_join!(writer.send(&out, operation), replies)?;
        Ok(replies)
    }
}

/// The first words of a command: its name, and a second one, which may be that of a subcommand.
fn name(cmd: &Cmd, words: usize) -> String {
    let words = cmd.args_iter().take(words).map(|word| match word {
        Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
        _ => String::new(),
    });
    words.collect::<Vec<_>>().join(" ")
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
