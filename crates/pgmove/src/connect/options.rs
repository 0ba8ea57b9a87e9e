//! Where a connection's parameters come from: the URL first, then a service, then libpq's environment variables.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use super::text::{self, Parameters};
use super::{passfile, tls::TlsFiles};
use crate::Error;

/// libpq's part of the environment; an argument, so that tests and callers can bring their own.
#[derive(Clone, Default)]
pub struct Environment {
    variables: HashMap<String, String>,
    home: Option<PathBuf>,
    user: Option<String>,
}

impl Environment {
    /// The process's `PG*` variables, home folder and user name.
    pub fn from_process() -> Environment {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Environment {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .filter(|(name, _)| name.starts_with("PG"))
                .collect(),
            home: std::env::var_os("HOME").map(PathBuf::from),
            user: text("USER").or_else(|| text("LOGNAME")),
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn file(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        self.get(variable).map(PathBuf::from).or_else(|| self.home.as_ref().map(|home| home.join(below_home)))
    }
}

/// How much TLS is asked for: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// None.
    Disable,
    /// None, unless the server insists.
    Allow,
    /// TLS if the server offers it. The default.
    Prefer,
    /// TLS, with whatever certificate.
    Require,
    /// TLS, with a certificate that a known authority signed.
    VerifyCa,
    /// The same, and for this very host.
    VerifyFull,
}

/// Where and how to connect. Neither `Debug` nor [`ConnectOptions::display`] shows the password.
#[derive(Clone)]
pub struct ConnectOptions {
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) password: Option<String>,
    pub(super) password_in_url: bool,
    pub(super) ssl_mode: SslMode,
    pub(super) tls: TlsFiles,
    pub(super) connect_timeout: u64,
    pub(super) startup_options: Option<String>,
    pub(super) application_name: String,
    pub(super) warnings: Vec<String>,
}

/// Parameters that are understood and need nothing done, or that only libpq's own innards use.
const IGNORED: &[&str] = &[
    "channel_binding", "client_encoding", "fallback_application_name", "gssencmode", "keepalives", "keepalives_count",
    "keepalives_idle", "keepalives_interval", "krbsrvname", "sslcompression", "sslsni", "tcp_user_timeout",
    "target_session_attrs", "load_balance_hosts", "hostaddr", "require_auth", "min_protocol_version",
    "max_protocol_version", "sslnegotiation",
];

impl ConnectOptions {
    /// Reads a URL or a conninfo string; what it leaves out comes from `PGSERVICE`, `PGHOST`, `PGPORT`, `PGUSER`,
    /// `PGDATABASE`, `PGPASSWORD`, `PGPASSFILE`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`,
    /// `PGCONNECT_TIMEOUT`, `PGOPTIONS` and `PGAPPNAME`, as with libpq.
    pub fn parse(text: &str, env: &Environment) -> Result<ConnectOptions, Error> {
        let given = text::parse(text).map_err(Error::options)?;
        let password_in_url = given.contains_key("password");
        let from_service = service(&given, env)?;
        let get = |name: &str, variable: &str| -> Option<String> {
            given.get(name).or_else(|| from_service.get(name)).cloned().or_else(|| env.get(variable))
        };
        for name in given.keys() {
            if !KNOWN.contains(&name.as_str()) && !IGNORED.contains(&name.as_str()) {
                return Err(Error::options(format!("`{name}` is no connection parameter that dbhaul knows")));
            }
        }
        let user = get("user", "PGUSER")
            .or_else(|| env.user.clone())
            .ok_or_else(|| Error::options("no user is named: postgres://user@host/database, or PGUSER".to_owned()))?;
        let database = get("dbname", "PGDATABASE").unwrap_or_else(|| user.clone());
        let ports = get("port", "PGPORT").unwrap_or_default();
        let hosts = hosts(get("host", "PGHOST"), &ports)?;
        let ssl_mode = ssl_mode(get("sslmode", "PGSSLMODE").as_deref())?;
        let tls = TlsFiles {
            root: get("sslrootcert", "PGSSLROOTCERT"),
            certificate: get("sslcert", "PGSSLCERT"),
            key: get("sslkey", "PGSSLKEY"),
        };
        let connect_timeout = match get("connect_timeout", "PGCONNECT_TIMEOUT") {
            Some(text) => text.parse().map_err(|_| Error::options(format!("connect_timeout=`{text}` is no number of seconds")))?,
            None => 30,
        };
        let mut warnings = Vec::new();
        let mut password = get("password", "PGPASSWORD");
        let passfile = given.get("passfile").map(PathBuf::from).or_else(|| env.file("PGPASSFILE", ".pgpass"));
        if let (None, Some(file), Some((host, port))) = (&password, passfile, hosts.first()) {
            let (found, warning) = passfile::password(&file, host, &port.to_string(), &database, &user);
            password = found;
            warnings.extend(warning);
        }
        Ok(ConnectOptions {
            hosts,
            user,
            database,
            password,
            password_in_url,
            ssl_mode,
            tls,
            connect_timeout,
            startup_options: get("options", "PGOPTIONS"),
            application_name: get("application_name", "PGAPPNAME").unwrap_or_else(|| "dbhaul".to_owned()),
            warnings,
        })
    }

    /// The same connection with another password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> ConnectOptions {
        self.password = Some(password.to_owned());
        self
    }

    /// The same server and user, another database.
    #[must_use]
    pub fn with_database(mut self, database: &str) -> ConnectOptions {
        self.database = database.to_owned();
        self
    }

    /// True when the password stood in the URL: other users of the host may read it there.
    pub fn password_in_url(&self) -> bool {
        self.password_in_url
    }

    /// What is odd about where the parameters came from.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The connection for people: user, host, port and database, and no secret.
    pub fn display(&self) -> impl fmt::Display + '_ {
        Shown(self)
    }
}

/// Parameters that are used.
const KNOWN: &[&str] = &[
    "host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout",
    "options", "application_name", "service", "passfile",
];

struct Shown<'a>(&'a ConnectOptions);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.0.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        write!(f, "postgres://{}@{}/{}", self.0.user, hosts.join(","), self.0.database)
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectOptions({})", Shown(self))
    }
}

fn service(given: &Parameters, env: &Environment) -> Result<Parameters, Error> {
    let Some(name) = given.get("service").cloned().or_else(|| env.get("PGSERVICE")) else {
        return Ok(Parameters::new());
    };
    let mut files: Vec<PathBuf> = env.file("PGSERVICEFILE", ".pg_service.conf").into_iter().collect();
    let system = env.get("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".to_owned());
    files.push(PathBuf::from(system).join("pg_service.conf"));
    passfile::service(&name, &files)
        .ok_or_else(|| Error::options(format!("the service `{name}` is in none of libpq's service files")))
}

fn hosts(hosts: Option<String>, ports: &str) -> Result<Vec<(String, u16)>, Error> {
    let hosts = hosts.unwrap_or_else(|| {
        // libpq's default, where the server's packages put it; else the loopback.
        let socket = "/var/run/postgresql";
        if std::path::Path::new(socket).is_dir() { socket.to_owned() } else { "localhost".to_owned() }
    });
    let ports: Vec<&str> = ports.split(',').collect();
    hosts
        .split(',')
        .enumerate()
        .map(|(at, host)| {
            let text = if ports.len() == 1 { ports.first() } else { ports.get(at) };
            let port = match text.copied().unwrap_or_default() {
                "" => 5432,
                text => text
                    .parse()
                    .map_err(|_| Error::options(format!("the port of {host} is no number from 1 to 65535")))?,
            };
            Ok((host.to_owned(), port))
        })
        .collect()
}

fn ssl_mode(text: Option<&str>) -> Result<SslMode, Error> {
    Ok(match text {
        None | Some("prefer") => SslMode::Prefer,
        Some("disable") => SslMode::Disable,
        Some("allow") => SslMode::Allow,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(other) => {
            return Err(Error::options(format!(
                "sslmode=`{other}` is none of disable, allow, prefer, require, verify-ca, verify-full"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment {
            variables: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            home: None,
            user: Some("me".into()),
        }
    }

    #[test]
    fn the_url_stands_over_the_environment() {
        let env = environment(&[("PGHOST", "env"), ("PGPORT", "1"), ("PGPASSWORD", "secret"), ("PGSSLMODE", "require")]);
        let options = ConnectOptions::parse("postgres://u@url/db", &env).unwrap();
        assert_eq!(options.display().to_string(), "postgres://u@url:1/db");
        assert_eq!(options.ssl_mode, SslMode::Require);
        assert_eq!(options.password.as_deref(), Some("secret"));
        assert!(!options.password_in_url());
        let options = ConnectOptions::parse("dbname=x", &env).unwrap();
        assert_eq!(options.display().to_string(), "postgres://me@env:1/x");
    }

    #[test]
    fn no_text_shows_the_password() {
        let options = ConnectOptions::parse("postgres://u:hunter2@h/db", &Environment::default()).unwrap();
        assert!(options.password_in_url());
        assert!(!format!("{options:?} {}", options.display()).contains("hunter2"));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let env = environment(&[]);
        for text in ["postgres://u@h:port/d", "postgres://u@h/d?sslmode=maybe", "postgres://u@h/d?nonsense=1", "service=no"] {
            let error = ConnectOptions::parse(text, &env).unwrap_err();
            assert!(error.is_usage(), "{text}: {error}");
        }
    }
}
