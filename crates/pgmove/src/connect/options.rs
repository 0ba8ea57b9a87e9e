//! Connection parameters and their precedence: the URL, then a service, then libpq's environment variables.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, Config, SslNegotiation, TargetSessionAttrs};

use super::dialer::{self, Dialer};
use super::parameters::is_known;
use super::text::{self, Parameters};
use super::{passfile, tls::TlsFiles};
use crate::Error;
use crate::warning::Warning;

/// The part of the environment that libpq reads, passed as an argument so that callers and tests can supply their own.
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
            // Cron sets only LOGNAME, and containers set neither; like libpq, fall back to the system's user database.
            user: text("USER").or_else(|| text("LOGNAME")).or_else(system_user),
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn file(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        self.get(variable).map(PathBuf::from).or_else(|| self.home.as_ref().map(|home| home.join(below_home)))
    }
}

/// The name of the user that runs this process, from `/etc/passwd`.
fn system_user() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(uid.as_str())).then(|| name.to_owned())
    })
}

/// libpq's `sslmode`: whether to use TLS and what to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// No TLS unless the server requires it.
    Allow,
    /// TLS if the server supports it (the default).
    Prefer,
    /// TLS without verification of the certificate.
    Require,
    /// TLS; the certificate must be signed by a trusted authority.
    VerifyCa,
    /// TLS; as `verify-ca`, and the certificate must be for this host.
    VerifyFull,
}

/// One server address to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// A host name, an IP address or the folder of a Unix socket. TLS verifies this name.
    pub(super) name: String,
    pub(super) port: u16,
    /// `hostaddr`: connect to this address instead of resolving the name.
    pub(super) address: Option<IpAddr>,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

/// How to reach a database. Neither `Debug` nor [`ConnectOptions::display`] shows the password.
#[derive(Clone)]
pub struct ConnectOptions {
    pub(super) hosts: Vec<Host>,
    /// Everything except host, port, TLS mode and `options`, in the driver's form.
    pub(super) driver: Config,
    /// libpq's `options`: command-line options for the server process.
    pub(super) startup_options: Option<String>,
    /// Sessions begin with the timeouts of the server, the database and the role, instead of none.
    pub(super) keep_timeouts: bool,
    pub(super) password_in_url: bool,
    pub(super) ssl_mode: SslMode,
    pub(super) tls: TlsFiles,
    /// `connect_timeout` in seconds; 0 waits forever.
    pub(super) connect_timeout: u64,
    pub(super) warnings: Vec<Warning>,
    /// Makes the connections instead of TCP.
    pub(super) dialer: Option<dialer::Shared>,
}

/// Looks parameters up in the URL, then the service file, then the environment.
struct ParameterSources<'a> {
    text: Parameters,
    service: Parameters,
    env: &'a Environment,
}

impl ParameterSources<'_> {
    fn get(&self, name: &str, variable: &str) -> Option<String> {
        self.text.get(name).or_else(|| self.service.get(name)).cloned().or_else(|| self.env.get(variable))
    }

    /// An unsigned integer; as in libpq, 0 and an empty string select the default.
    fn number(&self, name: &str, variable: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.get(name, variable) else { return Ok(None) };
        text.trim()
            .parse()
            .map(Some)
            .map_err(|_| Error::options(format!("{name}=`{text}` is not an integer")))
    }
}

impl ConnectOptions {
    /// Parses a URL or a conninfo string. Missing parameters are taken, as in libpq, from `PGSERVICE`, `PGHOST`,
    /// `PGHOSTADDR`, `PGPORT`, `PGUSER`, `PGDATABASE`, `PGPASSWORD`, `PGPASSFILE`, `PGSSLMODE`, `PGSSLROOTCERT`,
    /// `PGSSLCERT`, `PGSSLKEY`, `PGSSLNEGOTIATION`, `PGCHANNELBINDING`, `PGTARGETSESSIONATTRS`, `PGCONNECT_TIMEOUT`,
    /// `PGOPTIONS` and `PGAPPNAME`.
    ///
    /// # Errors
    /// [`Error::Options`] if a parameter is unknown or invalid. Parameters that request protection are never ignored.
    pub fn parse(text: &str, env: &Environment) -> Result<ConnectOptions, Error> {
        let text = text::parse(text).map_err(Error::options)?;
        if let Some(name) = text.keys().find(|name| !is_known(name)) {
            // Text that is not a parameter name may be part of a URL, including its password: do not quote it.
            let plain = name.len() < 40 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            return Err(Error::options(match plain {
                true => format!("unknown connection parameter `{name}`"),
                false => {
                    "expected a URL such as postgres://user@host/database, or name=value pairs".to_owned()
                }
            }));
        }
        let password_in_url = text.contains_key("password");
        let given = ParameterSources { service: service(&text, env)?, text, env };
        let user = given.get("user", "PGUSER").or_else(|| env.user.clone()).ok_or_else(|| {
            Error::options("no user given: use postgres://user@host/database or set PGUSER")
        })?;
        let database = given.get("dbname", "PGDATABASE").unwrap_or_else(|| user.clone());
        let hosts = hosts(&given)?;
        let mut warnings = Vec::new();
        let mut password = given.get("password", "PGPASSWORD");
        let passfile =
            given.text.get("passfile").map(PathBuf::from).or_else(|| env.file("PGPASSFILE", ".pgpass"));
        if let (None, Some(file), Some(host)) = (&password, passfile, hosts.first()) {
            let (found, warning) =
                passfile::password(&file, &host.name, &host.port.to_string(), &database, &user);
            password = found;
            warnings.extend(warning);
        }
        let mut driver = driver(&given)?;
        driver.user(&user).dbname(&database);
        if let Some(password) = password {
            driver.password(password);
        }
        let tls = tls_files(&given);
        Ok(ConnectOptions {
            hosts,
            driver,
            startup_options: given.get("options", "PGOPTIONS"),
            keep_timeouts: false,
            password_in_url,
            ssl_mode: ssl_mode(given.get("sslmode", "PGSSLMODE").as_deref(), &tls)?,
            tls,
            connect_timeout: given.number("connect_timeout", "PGCONNECT_TIMEOUT")?.unwrap_or(30),
            warnings,
            dialer: None,
        })
    }

    /// The same server, reached through a dialer.
    ///
    /// # Errors
    /// [`Error::Options`] for `target_session_attrs`, which chooses among servers that are reached directly.
    pub fn with_dialer(mut self, dialer: Arc<dyn Dialer>) -> Result<ConnectOptions, Error> {
        if self.driver.get_target_session_attrs() != TargetSessionAttrs::Any {
            return Err(Error::options(
                "target_session_attrs has no effect through a tunnel: name the one server",
            ));
        }
        self.dialer = Some(dialer);
        Ok(self)
    }

    /// The same connection with another password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> ConnectOptions {
        self.driver.password(password);
        self
    }

    /// The same options for a session that shows which timeouts it would have.
    pub(super) fn keeping_timeouts(&self) -> ConnectOptions {
        ConnectOptions { keep_timeouts: true, ..self.clone() }
    }

    /// The same options for another database.
    #[must_use]
    pub fn with_database(mut self, database: &str) -> ConnectOptions {
        self.driver.dbname(database);
        self
    }

    /// The requested database.
    pub fn database(&self) -> &str {
        self.driver.get_dbname().unwrap_or_default()
    }

    /// The requested role.
    pub fn user(&self) -> &str {
        self.driver.get_user().unwrap_or_default()
    }

    /// True when the password is part of the URL, where other users of the host may see it in the process list.
    pub fn password_in_url(&self) -> bool {
        self.password_in_url
    }

    /// Warnings about the parameters' sources, such as a password file with too open permissions.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The connection for display: user, host, port and database; no secrets.
    pub fn display(&self) -> impl fmt::Display + '_ {
        DebugOptions(self)
    }

    /// As [`ConnectOptions::display`], for one of several hosts.
    pub(super) fn display_host(&self, host: &Host) -> String {
        format!("postgres://{}@{host}/{}", self.user(), self.database())
    }
}

struct DebugOptions<'a>(&'a ConnectOptions);

impl fmt::Display for DebugOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.0.hosts.iter().map(ToString::to_string).collect();
        write!(f, "postgres://{}@{}/{}", self.0.user(), hosts.join(","), self.0.database())
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectOptions({})", DebugOptions(self))
    }
}

/// The parameters that the driver handles.
fn driver(given: &ParameterSources<'_>) -> Result<Config, Error> {
    let unknown = |name: &str, text: &str, known: &str| {
        Error::options(format!("{name}=`{text}` must be one of {known}"))
    };
    let mut config = Config::new();
    config
        .application_name(given.get("application_name", "PGAPPNAME").unwrap_or_else(|| "dbhaul".to_owned()));
    if given.get("gssencmode", "PGGSSENCMODE").as_deref() == Some("require") {
        return Err(Error::options("gssencmode=require is not supported; use TLS with sslmode=verify-full"));
    }
    if let Some(text) = given.get("channel_binding", "PGCHANNELBINDING") {
        config.channel_binding(match text.as_str() {
            "disable" => ChannelBinding::Disable,
            "prefer" => ChannelBinding::Prefer,
            "require" => ChannelBinding::Require,
            other => return Err(unknown("channel_binding", other, "disable, prefer, require")),
        });
    }
    if let Some(text) = given.get("sslnegotiation", "PGSSLNEGOTIATION") {
        config.ssl_negotiation(match text.as_str() {
            "postgres" => SslNegotiation::Postgres,
            "direct" => SslNegotiation::Direct,
            other => return Err(unknown("sslnegotiation", other, "postgres, direct")),
        });
    }
    if let Some(text) = given.get("target_session_attrs", "PGTARGETSESSIONATTRS") {
        config.target_session_attrs(match text.as_str() {
            "any" => TargetSessionAttrs::Any,
            "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
            "read-only" | "standby" => TargetSessionAttrs::ReadOnly,
            other => {
                return Err(unknown(
                    "target_session_attrs",
                    other,
                    "any, read-write, read-only, primary, standby",
                ));
            }
        });
    }
    // Detects a peer that vanished without closing the connection after about two minutes.
    let seconds = |name: &str, default: u64| -> Result<Duration, Error> {
        let seconds = given.number(name, "")?.filter(|seconds| *seconds > 0);
        Ok(Duration::from_secs(seconds.unwrap_or(default)))
    };
    config
        .keepalives(given.number("keepalives", "")? != Some(0))
        .keepalives_idle(seconds("keepalives_idle", 60)?)
        .keepalives_interval(seconds("keepalives_interval", 15)?)
        .keepalives_retries(
            given.number("keepalives_count", "")?.and_then(|n| u32::try_from(n).ok()).unwrap_or(4),
        );
    if let Some(milliseconds) = given.number("tcp_user_timeout", "")? {
        config.tcp_user_timeout(Duration::from_millis(milliseconds));
    }
    Ok(config)
}

/// The TLS files: as given, or libpq's defaults in `~/.postgresql` if they exist.
fn tls_files(given: &ParameterSources<'_>) -> TlsFiles {
    let usual = |name: &str| {
        let path = given.env.home.as_ref()?.join(".postgresql").join(name);
        path.is_file().then(|| path.display().to_string())
    };
    TlsFiles {
        root: given.get("sslrootcert", "PGSSLROOTCERT").or_else(|| usual("root.crt")),
        certificate: given.get("sslcert", "PGSSLCERT").or_else(|| usual("postgresql.crt")),
        key: given.get("sslkey", "PGSSLKEY").or_else(|| usual("postgresql.key")),
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
        .ok_or_else(|| Error::options(format!("service `{name}` not found in libpq's service files")))
}

fn hosts(given: &ParameterSources<'_>) -> Result<Vec<Host>, Error> {
    let list = |text: Option<String>| -> Vec<String> {
        text.map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
    };
    let addresses = list(given.get("hostaddr", "PGHOSTADDR"));
    let mut names = list(given.get("host", "PGHOST"));
    if names.is_empty() {
        names = if addresses.is_empty() { vec![String::new()] } else { addresses.clone() };
    }
    if !addresses.is_empty() && addresses.len() != names.len() {
        return Err(Error::options("hostaddr and host have different numbers of entries"));
    }
    let ports = list(given.get("port", "PGPORT"));
    if ports.len() > 1 && ports.len() != names.len() {
        return Err(Error::options("port and host have different numbers of entries"));
    }
    let mut hosts = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let name = if name.is_empty() { default_host() } else { name };
        if name.contains('@') && !name.starts_with('/') {
            return Err(Error::options("host contains an @: use the parameters user and password"));
        }
        let port = match ports.get(at).or_else(|| ports.first()).map(String::as_str).unwrap_or_default() {
            "" => 5432,
            text => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                Error::options(format!("the port of {name} is not a number from 1 to 65535"))
            })?,
        };
        let address = match addresses.get(at).map(String::as_str).unwrap_or_default() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| Error::options(format!("hostaddr=`{text}` is not an IP address")))?,
            ),
        };
        hosts.push(Host { name, port, address });
    }
    Ok(hosts)
}

/// As in libpq: the Unix socket folder of the server packages, or else the loopback interface.
fn default_host() -> String {
    let socket = "/var/run/postgresql";
    if std::path::Path::new(socket).is_dir() { socket.to_owned() } else { "localhost".to_owned() }
}

fn ssl_mode(text: Option<&str>, tls: &TlsFiles) -> Result<SslMode, Error> {
    let system = tls.root.as_deref() == Some("system");
    let mode = match text {
        None if system => SslMode::VerifyFull,
        None | Some("prefer") => SslMode::Prefer,
        Some("disable") => SslMode::Disable,
        Some("allow") => SslMode::Allow,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(other) => {
            return Err(Error::options(format!(
                "sslmode=`{other}` must be one of disable, allow, prefer, require, verify-ca, verify-full"
            )));
        }
    };
    // Public authorities issue certificates to anyone: they prove something only together with the name.
    if system && mode != SslMode::VerifyFull {
        return Err(Error::options("sslrootcert=system requires sslmode=verify-full"));
    }
    Ok(mode)
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
    fn the_url_takes_precedence_over_the_environment() {
        let env = environment(&[
            ("PGHOST", "env"),
            ("PGPORT", "1"),
            ("PGPASSWORD", "secret"),
            ("PGSSLMODE", "require"),
        ]);
        let options = ConnectOptions::parse("postgres://u@url/db", &env).unwrap();
        assert_eq!(options.display().to_string(), "postgres://u@url:1/db");
        assert_eq!(options.ssl_mode, SslMode::Require);
        assert_eq!(options.driver.get_password(), Some(b"secret".as_slice()));
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
    fn unknown_input_is_an_error() {
        let env = environment(&[]);
        for text in [
            "postgres://u@h:port/d",
            "postgres://u@h:0/d",
            "postgres://u@h/d?sslmode=maybe",
            "postgres://u@h/d?sslmode=require&sslrootcert=system",
            "postgres://u@h/d?require_auth=scram-sha-256",
            "postgres://u@h/d?gssencmode=require",
            "postgres://u@h/d?channel_binding=1",
            "postgres://u@h/d?connect_timeout=soon",
            "postgres://u@h/d?nonsense=1",
            "host=a,b port=1,2,3 user=u",
            "hostaddr=nowhere user=u",
            "service=no",
        ] {
            let error = ConnectOptions::parse(text, &env).unwrap_err();
            assert!(error.is_usage(), "{text}: {error}");
        }
    }

    #[test]
    fn several_hosts_have_their_own_ports_and_addresses() {
        let text = "host=a,/run/pg,c port=1,2,3 hostaddr=10.0.0.1,,::1 user=u dbname=d";
        let options = ConnectOptions::parse(text, &environment(&[])).unwrap();
        assert_eq!(options.display().to_string(), "postgres://u@a:1,/run/pg:2,c:3/d");
        let addresses: Vec<_> =
            options.hosts.iter().map(|host| host.address.map(|a| a.to_string())).collect();
        assert_eq!(addresses, [Some("10.0.0.1".to_owned()), None, Some("::1".to_owned())]);
        let options = ConnectOptions::parse("host=a,b port=7 user=u", &environment(&[])).unwrap();
        assert_eq!(options.display().to_string(), "postgres://u@a:7,b:7/u");
    }

    #[test]
    fn the_hosts_own_authorities_are_for_whole_verification_only() {
        let options = ConnectOptions::parse("host=a user=u sslrootcert=system", &environment(&[])).unwrap();
        assert_eq!(options.ssl_mode, SslMode::VerifyFull);
    }
}
