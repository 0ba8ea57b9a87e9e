//! Servers behind kubectl, docker and ssh: converts a tunnel's URL to connection options whose streams go through the
//! tunnel.
//!
//! The tunnel is opened on first use, so that one unreachable source does not prevent the backup of others.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OnceCell;
use tunnel::{Address, Programs, Target, Tunnel};

use crate::config::Kind;
use crate::exit;

/// A tunnel that is opened on first use.
pub(crate) struct Transport {
    address: Address,
    default_port: u16,
    /// For a pod or a container: the server's address in the options. Only connections to it go through the tunnel.
    server: Option<(String, u16)>,
    /// Whether the container's environment may provide the user name.
    asks_user: bool,
    opened: OnceCell<Tunnel>,
    /// Output of the programs when a connection was cut.
    cut: Mutex<Option<String>>,
}

/// The server behind a tunnel.
pub(crate) struct Inner {
    /// Kind of the server.
    pub(crate) kind: Kind,
    /// A URL for pgmove or redisdump.
    pub(crate) url: String,
    /// The tunnel.
    pub(crate) transport: Arc<Transport>,
}

/// The kind of server that a tunnel's URL names.
pub(crate) fn kind_of(url: &str) -> anyhow::Result<Kind> {
    kind(&parse(url)?, None)
}

fn parse(url: &str) -> anyhow::Result<Address> {
    Address::parse(url).map_err(|error| exit::usage(error.to_string()))
}

/// The kind: from the URL behind ssh, otherwise from `kind`, otherwise from what is known, otherwise from the port,
/// otherwise from the presence of a database, which only PostgreSQL has.
fn kind(address: &Address, known: Option<Kind>) -> anyhow::Result<Kind> {
    if let Some(inner) = address.inner_url() {
        return crate::endpoint::kind_of(inner);
    }
    let named = match address.kind() {
        None => None,
        Some("postgres" | "postgresql") => Some(Kind::Postgres),
        Some("redis" | "rediss" | "valkey" | "valkeys") => Some(Kind::Redis),
        Some(_) => {
            return Err(exit::usage(
                "`kind` must be one of postgres, redis, valkey, and rediss or valkeys for TLS",
            ));
        }
    };
    if let (Some(named), Some(known)) = (named, known)
        && named != known
    {
        return Err(exit::usage(format!(
            "the URL says kind={}, but a server of kind {} is expected",
            named.as_str(),
            known.as_str()
        )));
    }
    let by_port = match address.port() {
        Some(5432) => Some(Kind::Postgres),
        Some(6379) => Some(Kind::Redis),
        _ => None,
    };
    let by_database = address.database().map(|_| Kind::Postgres);
    named.or(known).or(by_port).or(by_database).ok_or_else(|| {
        exit::usage(format!(
            "`{address}` may be PostgreSQL or Redis: add ?kind=postgres or ?kind=redis (a database in the path, or the port \
             5432 or 6379, is sufficient too)"
        ))
    })
}

/// Parses a tunnel's URL; `None` for any other URL. `known` is the required kind of server, and `has_user` is true if
/// the environment sets the PostgreSQL user.
pub(crate) fn inner(url: &str, known: Option<Kind>, has_user: bool) -> anyhow::Result<Option<Inner>> {
    if !Address::recognizes(url) {
        return Ok(None);
    }
    let address = parse(url)?;
    let kind = kind(&address, known)?;
    let default_port = match kind {
        Kind::Postgres => 5432,
        Kind::Redis => 6379,
    };
    let mut server = None;
    let url = match address.inner_url() {
        Some(inner) => inner.to_owned(),
        None => {
            let host = address.server_name().unwrap_or_default();
            let port = address.port().unwrap_or(default_port);
            server = Some((host.clone(), port));
            server_url(&address, kind, &host, port)
        }
    };
    let transport = Transport {
        asks_user: kind == Kind::Postgres && address.user().is_none() && !has_user,
        address,
        default_port,
        server,
        opened: OnceCell::new(),
        cut: Mutex::default(),
    };
    Ok(Some(Inner { kind, url, transport: Arc::new(transport) }))
}

fn server_url(address: &Address, kind: Kind, host: &str, port: u16) -> String {
    let scheme = match (kind, address.kind()) {
        (Kind::Postgres, _) => "postgres",
        (Kind::Redis, Some("rediss" | "valkeys")) => "rediss",
        (Kind::Redis, _) => "redis",
    };
    // If neither is named, use the database that every server has.
    let postgres = (kind == Kind::Postgres).then(|| address.user().unwrap_or("postgres"));
    let database = address.database().or(postgres).unwrap_or_default();
    let user = address.user().map(|user| ("user".to_owned(), user.to_owned()));
    let options: Vec<String> = user
        .iter()
        .chain(address.options())
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    let mut url = format!("{scheme}://{}:{port}", encode(host));
    if !database.is_empty() {
        url += &format!("/{}", encode(database));
    }
    if !options.is_empty() {
        url += &format!("?{}", options.join("&"));
    }
    url
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Transport {
    /// Output of the programs, if a connection was cut.
    pub(crate) fn cut(&self) -> Option<String> {
        self.cut.lock().ok()?.clone()
    }

    /// What was reached, once it was.
    pub(crate) fn reached(&self) -> Option<&tunnel::Reached> {
        self.opened.get().map(Tunnel::reached)
    }

    async fn tunnel(&self) -> io::Result<&Tunnel> {
        let programs = Programs::default();
        let open = || Tunnel::open(&self.address, self.default_port, &programs);
        self.opened.get_or_try_init(open).await.map_err(io::Error::from)
    }

    /// The address that was reached, the user and the password.
    async fn route(&self) -> io::Result<(String, Option<String>, Option<String>)> {
        let tunnel = self.tunnel().await?;
        let password = tunnel.password().map(|secret| secret.expose().to_owned());
        let image_user = || {
            let named = tunnel.variable("POSTGRES_USER").filter(|user| !user.is_empty());
            // The default user of the PostgreSQL image.
            named.or_else(|| tunnel.variable("PGDATA").map(|_| "postgres")).map(str::to_owned)
        };
        let user = self.asks_user.then(image_user).flatten();
        Ok((tunnel.reached().to_string(), user, password))
    }

    async fn connect(self: &Arc<Self>, target: Target) -> io::Result<ErrorRecorder> {
        if let (Some((host, port)), target) = (&self.server, &target)
            && *target != Target::Tcp(host.clone(), *port)
        {
            let message = format!("{self} leads to one server, not to other servers that it names");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let stream = self.tunnel().await?.connect(&target).await?;
        Ok(ErrorRecorder { stream, transport: Arc::clone(self) })
    }
}

/// The tunnel, without secrets; for ssh only the hosts.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.inner_url() {
            Some(_) => write!(f, "ssh {}", self.address.hosts().join(", ")),
            None => self.address.fmt(f),
        }
    }
}

/// A transport as the database crates use it.
pub(crate) struct Dialing(pub(crate) Arc<Transport>);

impl pgmove::Dialer for Dialing {
    fn open(&self) -> pgmove::Dialing<'_, pgmove::Route> {
        Box::pin(async {
            let (via, user, password) = self.0.route().await?;
            Ok(pgmove::Route { via, user, password })
        })
    }

    fn dial<'a>(&'a self, host: &'a str, port: u16) -> pgmove::Dialing<'a, Box<dyn pgmove::ByteStream>> {
        Box::pin(async move {
            let target = match host.starts_with('/') {
                true => Target::Unix(Path::new(host).join(format!(".s.PGSQL.{port}"))),
                false => Target::Tcp(host.to_owned(), port),
            };
            Ok(Box::new(self.0.connect(target).await?) as Box<dyn pgmove::ByteStream>)
        })
    }
}

impl redisdump::Dialer for Dialing {
    fn open(&self) -> redisdump::Dialing<'_, redisdump::Route> {
        Box::pin(async {
            let (via, _, password) = self.0.route().await?;
            Ok(redisdump::Route { via, password })
        })
    }

    fn dial<'a>(
        &'a self,
        to: redisdump::Destination<'a>,
    ) -> redisdump::Dialing<'a, Box<dyn redisdump::ByteStream>> {
        Box::pin(async move {
            let target = match to {
                redisdump::Destination::Tcp(host, port) => Target::Tcp(host.to_owned(), port),
                redisdump::Destination::Unix(path) => Target::Unix(path.to_owned()),
            };
            Ok(Box::new(self.0.connect(target).await?) as Box<dyn redisdump::ByteStream>)
        })
    }
}

/// A stream that records why it was cut: the PostgreSQL driver only reports that the connection is closed.
struct ErrorRecorder {
    stream: tunnel::Stream,
    transport: Arc<Transport>,
}

impl ErrorRecorder {
    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let (Poll::Ready(Err(error)), Ok(mut cut)) = (&polled, self.transport.cut.lock()) {
            cut.get_or_insert_with(|| error.to_string());
        }
        polled
    }
}

impl AsyncRead for ErrorRecorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(task, buffer);
        self.note(polled)
    }
}

impl AsyncWrite for ErrorRecorder {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(task);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_detected_from_the_content() {
        for (url, expected) in [
            ("docker://db/app", Kind::Postgres),
            ("docker://db:5432", Kind::Postgres),
            ("docker://r:6379", Kind::Redis),
            ("docker://r?kind=valkey", Kind::Redis),
            ("k8s://ns/svc/r:6379", Kind::Redis),
            ("ssh://vm/redis://localhost", Kind::Redis),
            ("ssh://vm/postgres://localhost/db", Kind::Postgres),
            ("ssh://vm/docker://coinpilot-db/coinpilot", Kind::Postgres),
        ] {
            assert_eq!(kind_of(url).unwrap(), expected, "{url}");
        }
        let error = kind_of("docker://coinpilot-redis").unwrap_err().to_string();
        assert!(error.contains("?kind=redis"), "{error}");
        assert_eq!(
            inner("docker://coinpilot-redis", Some(Kind::Redis), false).unwrap().unwrap().kind,
            Kind::Redis
        );
        assert!(inner("docker://r?kind=redis", Some(Kind::Postgres), false).is_err());
        assert!(kind_of("docker://r?kind=mysql").is_err());
        assert!(inner("postgres://h/d", None, false).unwrap().is_none());
    }

    #[test]
    fn the_servers_url_inherits_options_of_the_tunnels() {
        let url = |text: &str| inner(text, None, false).unwrap().unwrap().url;
        assert_eq!(
            url("k8s://minikube/coin-pilot-ns/svc/db/coin%20pilot?user=a%26b&secret=s/K&sslmode=disable"),
            "postgres://db.coin-pilot-ns:5432/coin%20pilot?user=a%26b&sslmode=disable"
        );
        assert_eq!(url("docker://coinpilot_db:5433?kind=postgres"), "postgres://coinpilot_db:5433/postgres");
        assert_eq!(url("docker://r?kind=rediss&sni=x"), "rediss://r:6379?sni=x");
        assert_eq!(url("ssh://vm/redis+unix:///run/r.sock"), "redis+unix:///run/r.sock");
    }
}
