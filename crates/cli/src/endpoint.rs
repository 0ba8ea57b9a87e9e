//! A server at one end of a job: its kind, how to reach it, and which baseline it must meet.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{Kind, SourceConfig};
use crate::context::Context;
use crate::transport::{self, Dialing, Transport};
use crate::{exit, failure};

/// How to reach a server.
#[derive(Clone)]
pub(crate) enum Connection {
    /// A PostgreSQL database.
    Postgres(Box<pgmove::ConnectOptions>),
    /// A Redis or Valkey server.
    Redis(Box<redisdump::ConnectOptions>),
    /// The data folder of a Redis or Valkey server. The server itself is not contacted.
    Folder(PathBuf),
}

/// A named server.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The source's name: in the manifest, in reports, for `--source`.
    pub(crate) name: String,
    /// How it is reached.
    pub(crate) connection: Connection,
    /// Every database of the PostgreSQL server, each as a source of its own.
    pub(crate) every_database: bool,
    /// Baseline that its schema must meet.
    pub(crate) baseline: Option<PathBuf>,
    /// Environment whose part of the baseline applies.
    pub(crate) environment: Option<String>,
    /// Part of the database to read.
    pub(crate) filter: pgmove::Filter,
    /// Which objects of the server, outside the database, to include.
    pub(crate) globals: Globals,
    /// How to capture Redis keys.
    pub(crate) capture: redisdump::CaptureMethod,
    /// Include the Redis server's users and settings.
    pub(crate) access: bool,
    /// Data folder of a Redis server, to read instead of asking the server.
    pub(crate) data_dir: Option<PathBuf>,
    /// The tunnel that leads to it.
    pub(crate) transport: Option<Arc<Transport>>,
}

/// Which objects of a PostgreSQL server, outside the database, to include.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Globals {
    /// None.
    #[default]
    Leave,
    /// Roles without passwords, memberships, role settings, tablespaces.
    Take,
    /// The same with password hashes.
    TakeWithPasswords,
}

impl Globals {
    /// From the two flags.
    pub(crate) fn of(globals: bool, passwords: bool) -> Globals {
        match (globals, passwords) {
            (_, true) => Globals::TakeWithPasswords,
            (true, false) => Globals::Take,
            (false, false) => Globals::Leave,
        }
    }
}

impl Endpoint {
    /// A server given by a URL on the command line. If `kind` is given, the URL must be of that kind.
    pub(crate) fn from_url(
        name: &str,
        url: &str,
        kind: Option<Kind>,
        context: &Context,
    ) -> anyhow::Result<Endpoint> {
        let (connection, transport) = match transport::inner(url, kind, has_user(context))? {
            Some(inner) => {
                (connection(inner.kind, &inner.url, Some(&inner.transport))?, Some(inner.transport))
            }
            None => (connection(kind_of(url)?, url, None)?, None),
        };
        if kind.is_some_and(|kind| kind != connection.kind()) {
            return Err(exit::usage(format!("--{name} was given the URL of another kind of server")));
        }
        if connection.password_in_url() {
            context.progress.warn(format!(
                "the password of {name} is on the command line, where other users of this host can read it; \
                 better: PGPASSWORD, ~/.pgpass, REDISCLI_AUTH, a password file, or a source of dbhaul.toml"
            ));
        }
        Ok(Endpoint::of(name, connection, transport))
    }

    /// A server of which the configuration says nothing more.
    pub(crate) fn of(name: &str, connection: Connection, transport: Option<Arc<Transport>>) -> Endpoint {
        Endpoint {
            name: name.to_owned(),
            connection,
            every_database: false,
            baseline: None,
            environment: None,
            filter: pgmove::Filter::default(),
            globals: Globals::Leave,
            capture: redisdump::CaptureMethod::Auto,
            access: false,
            data_dir: None,
            transport,
        }
    }

    /// A server of our own in a container, to which nothing in this process's environment applies.
    pub(crate) fn in_own_container(name: &str, kind: Kind, url: &str) -> anyhow::Result<Endpoint> {
        let inner = transport::inner(url, Some(kind), true)?
            .ok_or_else(|| exit::usage("a container is named by a docker:// URL"))?;
        let connection = match kind {
            Kind::Postgres => {
                let options = pgmove::ConnectOptions::parse(&inner.url, &pgmove::Environment::default())?;
                let dialing = Arc::new(Dialing(Arc::clone(&inner.transport)));
                Connection::Postgres(Box::new(options.with_dialer(dialing)?))
            }
            Kind::Redis => {
                let options =
                    redisdump::ConnectOptions::parse(&inner.url, &redisdump::Environment::default())?;
                Connection::Redis(Box::new(through(options, Some(&inner.transport))))
            }
        };
        Ok(Endpoint::of(name, connection, Some(inner.transport)))
    }

    /// The same server with another password.
    #[must_use]
    pub(crate) fn with_password(self, password: &str) -> Endpoint {
        Endpoint { connection: self.connection.with_password(password), ..self }
    }

    /// A server from the configuration.
    pub(crate) fn from_config(source: &SourceConfig, context: &Context) -> anyhow::Result<Endpoint> {
        let url = source.expanded_url(&context.secrets)?;
        let password = source.resolve_password(&context.config.folder, &context.secrets)?;
        let named = || format!("source `{}`", source.name);
        let data_dir = source.data_dir.as_ref().map(|path| context.config.folder.join(path));
        let inner = transport::inner(&url, Some(source.kind), has_user(context)).with_context(named)?;
        let transport = inner.as_ref().map(|inner| Arc::clone(&inner.transport));
        let url = inner.map_or(url, |inner| inner.url);
        let connection = match source.kind {
            Kind::Redis if url.is_empty() => Connection::Folder(data_dir.clone().unwrap_or_default()),
            Kind::Postgres => {
                let connection = connection(source.kind, &url, transport.as_ref()).with_context(named)?;
                match source.database.as_deref().filter(|_| !source.every_database()) {
                    Some(database) => connection.with_database(database),
                    None => connection,
                }
            }
            Kind::Redis => {
                let at = |file: &Option<PathBuf>| file.as_ref().map(|path| context.config.folder.join(path));
                let files = redisdump::TlsFiles {
                    cacert: at(&source.tls_cacert),
                    cert: at(&source.tls_cert),
                    key: at(&source.tls_key),
                };
                let options = redisdump::ConnectOptions::parse(&url, &redisdump::Environment::from_process());
                let options = options.and_then(|options| options.with_tls_files(&files));
                Connection::Redis(Box::new(through(options.with_context(named)?, transport.as_ref())))
            }
        };
        Ok(Endpoint {
            name: source.name.clone(),
            connection: match password {
                Some(password) => connection.with_password(&password),
                None => connection,
            },
            every_database: source.every_database(),
            baseline: source.baseline.as_ref().map(|path| context.config.folder.join(path)),
            environment: source.environment.clone(),
            filter: source.filter.clone().map(Into::into).unwrap_or_default(),
            globals: Globals::of(source.globals, source.role_passwords),
            capture: source.capture,
            access: source.with_acl,
            data_dir,
            transport,
        })
    }

    /// One database of the server, as the source `NAME/DATABASE`.
    pub(crate) fn one_database(&self, database: &str) -> Endpoint {
        Endpoint {
            name: format!("{}/{database}", self.name),
            connection: self.connection.clone().with_database(database),
            every_database: false,
            ..self.clone()
        }
    }

    /// Kind of the server.
    pub(crate) fn kind(&self) -> Kind {
        self.connection.kind()
    }

    /// Adds the output of the tunnel's programs to an error that they caused.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match self.transport.as_ref().and_then(|transport| transport.cut()) {
            Some(words) => failure::with_cause(error, words),
            None => error,
        }
    }

    /// Address, without secrets.
    pub(crate) fn shown(&self) -> String {
        let shown = match &self.connection {
            Connection::Postgres(options) => options.display().to_string(),
            Connection::Redis(options) => match &self.data_dir {
                Some(folder) => format!("{} of {}", folder.display(), options.display()),
                None => options.display().to_string(),
            },
            Connection::Folder(folder) => folder.display().to_string(),
        };
        match &self.transport {
            Some(transport) => format!("{shown} through {transport}"),
            None => shown,
        }
    }
}

impl Context {
    /// [`Context::jobs`] for a job with these servers. Through a tunnel, each connection is a child process.
    pub(crate) fn jobs_with<'a>(
        &self,
        flag: Option<usize>,
        servers: impl IntoIterator<Item = &'a Endpoint>,
    ) -> usize {
        let chosen = flag.unwrap_or(self.config.job.jobs) > 0;
        match !chosen && servers.into_iter().any(|server| server.transport.is_some()) {
            true => 2,
            false => self.jobs(flag),
        }
    }
}

impl Connection {
    fn kind(&self) -> Kind {
        match self {
            Connection::Postgres(_) => Kind::Postgres,
            Connection::Redis(_) | Connection::Folder(_) => Kind::Redis,
        }
    }

    fn password_in_url(&self) -> bool {
        match self {
            Connection::Postgres(options) => options.password_in_url(),
            Connection::Redis(options) => options.password_in_url(),
            Connection::Folder(_) => false,
        }
    }

    fn with_database(self, database: &str) -> Connection {
        match self {
            Connection::Postgres(options) => {
                Connection::Postgres(Box::new((*options).with_database(database)))
            }
            other => other,
        }
    }

    fn with_password(self, password: &str) -> Connection {
        match self {
            Connection::Postgres(options) => {
                Connection::Postgres(Box::new((*options).with_password(password)))
            }
            Connection::Redis(options) => Connection::Redis(Box::new((*options).with_password(password))),
            folder @ Connection::Folder(_) => folder,
        }
    }
}

/// The kind of server of a URL. A conninfo string (`host=… dbname=…`) is PostgreSQL's.
pub(crate) fn kind_of(url: &str) -> anyhow::Result<Kind> {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("k8s" | "docker" | "ssh") => transport::kind_of(url),
        Some("postgres" | "postgresql") => Ok(Kind::Postgres),
        Some("redis" | "rediss" | "valkey" | "valkeys" | "redis+unix" | "valkey+unix") => Ok(Kind::Redis),
        Some("redis+sentinel" | "rediss+sentinel" | "valkey+sentinel" | "valkeys+sentinel") => {
            Ok(Kind::Redis)
        }
        Some("redis+cluster" | "rediss+cluster" | "valkey+cluster" | "valkeys+cluster") => Ok(Kind::Redis),
        Some(other) => Err(exit::usage(format!(
            "`{other}://` is not a supported scheme: use postgres://, redis://, rediss://, valkey://, or k8s://, docker:// or ssh:// before them"
        ))),
        None if url.contains('=') => Ok(Kind::Postgres),
        None => Err(exit::usage(
            "a server is named by a URL, postgres://user@host:port/database or redis://host:port, or by libpq's \
             `host=… dbname=…`",
        )),
    }
}

/// Whether the environment sets the PostgreSQL user.
fn has_user(context: &Context) -> bool {
    context.secrets.get("PGUSER").is_some()
}

fn connection(kind: Kind, url: &str, transport: Option<&Arc<Transport>>) -> anyhow::Result<Connection> {
    Ok(match kind {
        Kind::Postgres => {
            let options = pgmove::ConnectOptions::parse(url, &pgmove::Environment::from_process())?;
            Connection::Postgres(Box::new(match transport {
                Some(transport) => options.with_dialer(Arc::new(Dialing(Arc::clone(transport))))?,
                None => options,
            }))
        }
        Kind::Redis => {
            let options = redisdump::ConnectOptions::parse(url, &redisdump::Environment::from_process())?;
            Connection::Redis(Box::new(through(options, transport)))
        }
    })
}

fn through(
    options: redisdump::ConnectOptions,
    transport: Option<&Arc<Transport>>,
) -> redisdump::ConnectOptions {
    match transport {
        Some(transport) => options.with_dialer(Arc::new(Dialing(Arc::clone(transport)))),
        None => options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_a_url_determines_its_kind() {
        assert_eq!(kind_of("postgresql://h/db").unwrap(), Kind::Postgres);
        assert_eq!(kind_of("host=h dbname=x").unwrap(), Kind::Postgres);
        assert_eq!(kind_of("rediss://h").unwrap(), Kind::Redis);
        assert_eq!(kind_of("redis+cluster://h").unwrap(), Kind::Redis);
        assert!(kind_of("mysql://h").is_err());
        assert!(kind_of("h").is_err());
    }
}
