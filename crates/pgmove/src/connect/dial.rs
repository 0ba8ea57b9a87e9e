//! Opens one connection: tries the hosts, negotiates TLS according to `sslmode`, and detects a pooler.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode as DriverSslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::dialer::{Dialed as Through, Route, Shared};
use super::options::{Host, SslMode};
use super::{ConnectOptions, tls};
use crate::Error;

/// A connection on which nothing has been sent yet.
pub(super) struct Dialed {
    pub(super) client: Client,
    pub(super) connection: JoinHandle<()>,
    pub(super) host: Host,
    /// True when a pooler rejected the startup parameter [`MARK`].
    pub(super) refused_mark: bool,
    pub(super) cancel: Cancel,
    /// What the dialer connected through.
    pub(super) via: Option<String>,
}

/// What a cancel request for the connection needs.
pub(super) struct Cancel {
    token: CancelToken,
    tls: Option<MakeRustlsConnect>,
    dialer: Option<(Shared, Host)>,
}

impl Cancel {
    pub(super) async fn send(self) {
        // Whether it arrives or not, the connection is gone and the server will notice.
        let _ = match (self.dialer, self.tls) {
            (None, Some(tls)) => self.token.cancel_query(tls).await,
            (None, None) => self.token.cancel_query(NoTls).await,
            (Some((dialer, host)), tls) => {
                let dialed = dialer.dial(&host.name, host.port).await;
                let Ok(stream) = dialed.map(Through) else { return };
                match tls {
                    Some(mut tls) => match make_tls(&mut tls, &host) {
                        Ok(tls) => self.token.cancel_query_raw(stream, tls).await,
                        Err(_) => return,
                    },
                    None => self.token.cancel_query_raw(stream, NoTls).await,
                }
            }
        };
    }
}

fn make_tls(
    tls: &mut MakeRustlsConnect,
    host: &Host,
) -> Result<<MakeRustlsConnect as MakeTlsConnect<Through>>::TlsConnect, std::io::Error> {
    MakeTlsConnect::<Through>::make_tls_connect(tls, &host.name).map_err(std::io::Error::other)
}

/// A setting of our own in the startup parameters. A server keeps it; PgBouncer rejects or drops it.
pub(super) const MARK: &str = "dbhaul.session";

/// Tries the hosts in order. Stops at the first host that answers, even if it rejects the connection.
pub(super) async fn dial(options: &ConnectOptions) -> Result<Dialed, Error> {
    let route = match &options.dialer {
        Some(dialer) => Some(dialer.open().await.map_err(|error| {
            let host = options.hosts.first().map(|host| options.display_host(host)).unwrap_or_default();
            Error::unreachable(host, &error)
        })?),
        None => None,
    };
    let mut last = None;
    for host in &options.hosts {
        match dial_host(options, host, route.as_ref()).await {
            Ok(dialed) => return Ok(dialed),
            // 57P03 (cannot_connect_now): the server is starting up or shutting down.
            Err(error) if error.is_unreachable() || error.sqlstate() == Some("57P03") => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::options("no host given")))
}

async fn dial_host(options: &ConnectOptions, host: &Host, route: Option<&Route>) -> Result<Dialed, Error> {
    let mut config = options.driver.clone();
    if let Some(route) = route {
        if let Some(user) = &route.user {
            config.user(user);
        }
        if let Some(password) = &route.password {
            config.password(password);
        }
    }
    match (&host.address, host.name.as_str()) {
        (Some(address), name) => config.hostaddr(*address).host(name),
        (None, name) => config.host(name),
    };
    config.port(host.port);
    let marked = {
        // Startup parameters take precedence over settings of the role: its timeouts could fire before ours are set.
        let timeouts = if options.keep_timeouts { "" } else { " -c statement_timeout=0 -c lock_timeout=0" };
        let mark = format!("-c {MARK}=direct{timeouts}");
        let options = options.startup_options.iter().cloned().chain([mark]);
        let mut config = config.clone();
        config.options(options.collect::<Vec<_>>().join(" "));
        config
    };
    let attempt = Attempt { options, host };
    let dialed = match attempt.within_time(&marked).await {
        // 08P01: "unsupported startup parameter".
        Err(error) if error.sqlstate() == Some("08P01") => {
            if let Some(options) = &options.startup_options {
                config.options(options);
            }
            let dialed = attempt.within_time(&config).await?;
            Ok(Dialed { refused_mark: true, ..dialed })
        }
        result => result,
    };
    dialed.map(|dialed| Dialed { via: route.map(|route| route.via.clone()), ..dialed })
}

struct Attempt<'a> {
    options: &'a ConnectOptions,
    host: &'a Host,
}

impl Attempt<'_> {
    /// The driver's timeout covers the TCP handshake only; a server that accepts and then stays silent would block
    /// forever.
    async fn within_time(&self, config: &Config) -> Result<Dialed, Error> {
        let seconds = self.options.connect_timeout;
        if seconds == 0 {
            return self.by_mode(config).await;
        }
        match tokio::time::timeout(Duration::from_secs(seconds), self.by_mode(config)).await {
            Ok(result) => result,
            Err(_) => Err(Error::silent(self.options.display_host(self.host), seconds)),
        }
    }

    async fn by_mode(&self, config: &Config) -> Result<Dialed, Error> {
        let encrypted = |mode| {
            let mut config = config.clone();
            config.ssl_mode(mode);
            config
        };
        match self.options.ssl_mode {
            SslMode::Disable => self.plain(config).await,
            // Without TLS first, then with TLS: whichever the server requires succeeds.
            SslMode::Allow => match self.plain(config).await {
                Err(error) if error.sqlstate() == Some("28000") => {
                    self.with_tls(&encrypted(DriverSslMode::Require)).await.map_err(|_| error)
                }
                result => result,
            },
            SslMode::Prefer => match self.with_tls(&encrypted(DriverSslMode::Prefer)).await {
                // As in libpq: in mode `prefer`, a failed TLS handshake or a rejection by pg_hba.conf falls back to no
                // TLS.
                Err(error) if error.sqlstate() == Some("28000") || error.is_tls() => {
                    self.plain(config).await.map_err(|_| error)
                }
                result => result,
            },
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                self.with_tls(&encrypted(DriverSslMode::Require)).await
            }
        }
    }

    async fn plain(&self, config: &Config) -> Result<Dialed, Error> {
        let mut config = config.clone();
        config.ssl_mode(DriverSslMode::Disable);
        // Whoever waits for an answer on the connection gets its error; this task has nowhere to report it.
        match &self.options.dialer {
            None => {
                let (client, connection) = config.connect(NoTls).await.map_err(|e| self.failed(e))?;
                Ok(self.dialed(client, tokio::spawn(async move { drop(connection.await) }), None))
            }
            Some(dialer) => {
                let stream = self.through(dialer).await?;
                let (client, connection) =
                    config.connect_raw(stream, NoTls).await.map_err(|e| self.failed(e))?;
                Ok(self.dialed(client, tokio::spawn(async move { drop(connection.await) }), None))
            }
        }
    }

    async fn with_tls(&self, config: &Config) -> Result<Dialed, Error> {
        let mut tls = tls::connector(self.options.ssl_mode, &self.options.tls)?;
        match &self.options.dialer {
            None => {
                let (client, connection) = config.connect(tls.clone()).await.map_err(|e| self.failed(e))?;
                Ok(self.dialed(client, tokio::spawn(async move { drop(connection.await) }), Some(tls)))
            }
            // Sockets have no TLS.
            Some(_) if self.host.name.starts_with('/') => self.plain(config).await,
            Some(dialer) => {
                let stream = self.through(dialer).await?;
                let named =
                    make_tls(&mut tls, self.host).map_err(|e| Error::unreachable(self.shown(), &e))?;
                let (client, connection) =
                    config.connect_raw(stream, named).await.map_err(|e| self.failed(e))?;
                Ok(self.dialed(client, tokio::spawn(async move { drop(connection.await) }), Some(tls)))
            }
        }
    }

    async fn through(&self, dialer: &Shared) -> Result<Through, Error> {
        let dialed = dialer.dial(&self.host.name, self.host.port).await;
        dialed.map(Through).map_err(|error| Error::unreachable(self.shown(), &error))
    }

    fn dialed(&self, client: Client, connection: JoinHandle<()>, tls: Option<MakeRustlsConnect>) -> Dialed {
        let dialer = self.options.dialer.clone().map(|dialer| (dialer, self.host.clone()));
        let cancel = Cancel { token: client.cancel_token(), tls, dialer };
        Dialed { client, connection, host: self.host.clone(), refused_mark: false, cancel, via: None }
    }

    fn shown(&self) -> String {
        self.options.display_host(self.host)
    }

    fn failed(&self, source: tokio_postgres::Error) -> Error {
        Error::connect(self.options.display_host(self.host), source)
    }
}
