//! Connection options: `redis://[user[:password]@]host[:port][/db]` and related URLs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::client::address::{
    Address, Cluster, Parameters, Sentinel, Tls, cluster_of, decode, sentinels, tcp, wrong,
};
use crate::client::dialer::Dialer;

/// The part of the environment that is used, passed as an argument so that tests can supply their own.
#[derive(Clone, Default)]
pub struct Environment {
    /// `REDISCLI_AUTH`
    pub password: Option<String>,
}

impl Environment {
    /// The process's `REDISCLI_AUTH`.
    pub fn from_process() -> Environment {
        Environment { password: std::env::var("REDISCLI_AUTH").ok().filter(|password| !password.is_empty()) }
    }
}

/// PEM files for TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The trusted authorities; `None` for those of the host.
    pub cacert: Option<PathBuf>,
    /// The client certificate, if the server requires one.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// How to reach a server. Neither `Debug` nor [`ConnectOptions::display`] shows the password.
#[derive(Clone)]
pub struct ConnectOptions {
    pub(crate) address: Address,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    password_in_url: bool,
    /// The idle timeout.
    pub(crate) idle_timeout: Option<Duration>,
    /// Only this node of a cluster is used.
    pub(crate) this_node: bool,
    /// Makes the connections instead of TCP.
    pub(crate) dialer: Option<Arc<dyn Dialer>>,
}

impl ConnectOptions {
    /// Parses `redis://`, `rediss://` (TLS), `valkey://`, `valkeys://`, `redis+unix://[user[:password]@]/path`,
    /// `redis+sentinel://[user[:password]@]host[:port][,host[:port]…]/master-name` (`rediss+sentinel` for TLS; the
    /// login is for the master, and for Sentinels that require one) and
    /// `redis+cluster://[user[:password]@]host[:port][,host[:port]…]` (`rediss+cluster` for TLS) for all masters of a
    /// cluster, discovered from any of its nodes. A missing password is taken from the environment. A database in the
    /// URL is an error, because all databases of the server are used.
    ///
    /// Query parameters: `user`, `timeout` (idle timeout in seconds; 0 for none), `cluster=this-node`; with TLS also
    /// `cacert`, `cert`, `key`, `sni` and `insecure=true`.
    ///
    /// # Errors
    /// [`Error::Options`], whose message never quotes a password.
    pub fn parse(url: &str, env: &Environment) -> Result<ConnectOptions, Error> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("expected redis://host:port"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let sentinel = scheme.strip_suffix("+sentinel");
        let cluster = scheme.strip_suffix("+cluster");
        let (unix, secure) = match sentinel.or(cluster).unwrap_or(scheme) {
            "unix" if sentinel.is_some() => return Err(wrong("Sentinels are reached by TCP")),
            "unix" if cluster.is_some() => return Err(wrong("nodes of a cluster are reached by TCP")),
            "redis" | "valkey" => (false, false),
            "rediss" | "valkeys" => (false, true),
            "redis+unix" | "valkey+unix" | "unix" => (true, false),
            other => {
                return Err(wrong(&format!(
                    "scheme `{other}` must be one of redis, rediss, valkey, valkeys, redis+unix, redis+sentinel, \
                     rediss+sentinel, redis+cluster, rediss+cluster"
                )));
            }
        };
        let mut parameters = Parameters::parse(query, secure)?;
        // Neither host nor login contains a slash; a path begins with one.
        let (authority, path) = match (rest.find('/'), unix && !rest.contains('@')) {
            (_, true) => ("", rest),
            (Some(at), _) => rest.split_at(at),
            (None, _) => (rest, ""),
        };
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (
                decode(user).map_err(|e| wrong(&e))?,
                decode(password).map_err(|_| wrong("the password contains an invalid %-escape"))?,
            ),
            None => (String::new(), String::new()),
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        let (user, password) = (some(user), some(password));
        if user.is_some() && parameters.user.is_some() {
            return Err(wrong("the user is given twice: before the @, and as a parameter"));
        }
        let address = match unix {
            true if address.is_empty() && !path.is_empty() => {
                Address::Unix(decode(path).map_err(|e| wrong(&e))?)
            }
            true => return Err(wrong("expected redis+unix://[user@]/path/of/the/socket")),
            false if sentinel.is_some() => {
                sentinels(address, path, secure.then(|| std::mem::take(&mut parameters.tls)))?
            }
            false if cluster.is_some() && parameters.this_node => {
                return Err(wrong(
                    "cluster=this-node (one node) and redis+cluster:// (all nodes) are mutually exclusive",
                ));
            }
            false if cluster.is_some() => {
                cluster_of(address, path, secure.then(|| std::mem::take(&mut parameters.tls)))?
            }
            false => tcp(address, path, secure.then(|| std::mem::take(&mut parameters.tls)))?,
        };
        Ok(ConnectOptions {
            address,
            user: user.or(parameters.user),
            password_in_url: password.is_some(),
            password: password.or_else(|| env.password.clone()),
            idle_timeout: (parameters.timeout > 0).then(|| Duration::from_secs(parameters.timeout)),
            this_node: parameters.this_node,
            dialer: None,
        })
    }

    /// The same server, reached through a dialer. The servers that it names, masters and nodes of a cluster, are
    /// reached through it as well.
    #[must_use]
    pub fn with_dialer(mut self, dialer: Arc<dyn Dialer>) -> ConnectOptions {
        self.dialer = Some(dialer);
        self
    }

    /// The same connection with files for TLS, beside those that the URL names.
    ///
    /// # Errors
    /// [`Error::Options`] if the URL does not use TLS or gives the same file, or if a path is not UTF-8.
    pub fn with_tls_files(mut self, files: &TlsFiles) -> Result<ConnectOptions, Error> {
        if *files == TlsFiles::default() {
            return Ok(self);
        }
        let (Address::Tcp { tls: Some(tls), .. }
        | Address::Sentinel(Sentinel { tls: Some(tls), .. })
        | Address::Cluster(Cluster { tls: Some(tls), .. })) = &mut self.address
        else {
            return Err(Error::Options("TLS files require a rediss:// URL".to_owned()));
        };
        let named = [
            ("cacert", &files.cacert, &mut tls.cacert),
            ("cert", &files.cert, &mut tls.cert),
            ("key", &files.key, &mut tls.key),
        ];
        for (name, file, place) in named {
            let Some(file) = file else { continue };
            let text = file.to_str().map(str::to_owned);
            let text = text.ok_or_else(|| Error::Options(format!("{name}: {file:?} is not valid UTF-8")))?;
            if place.replace(text).is_some() {
                return Err(Error::Options(format!("{name} is given twice, once in the URL")));
            }
        }
        tls.check()?;
        Ok(self)
    }

    /// True if a server may reject the connection for lack of a client certificate.
    pub(crate) fn wants_certificate(&self) -> bool {
        matches!(self.tls(), Some(tls) if tls.cert.is_none())
    }

    /// The same options with another password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> ConnectOptions {
        self.password = Some(password.to_owned());
        self
    }

    /// The user; `None` for the default user.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// True when the password is part of the URL, where other users of the host may see it in the process list.
    pub fn password_in_url(&self) -> bool {
        self.password_in_url
    }

    /// Another server with the same login, and with TLS if this one uses it.
    pub(crate) fn at(&self, host: &str, port: u16) -> ConnectOptions {
        let tls = self.tls().cloned();
        ConnectOptions { address: Address::Tcp { host: host.to_owned(), port, tls }, ..self.clone() }
    }

    /// The same options without login.
    pub(crate) fn without_login(self) -> ConnectOptions {
        ConnectOptions { user: None, password: None, ..self }
    }

    fn tls(&self) -> Option<&Tls> {
        match &self.address {
            Address::Tcp { tls, .. }
            | Address::Sentinel(Sentinel { tls, .. })
            | Address::Cluster(Cluster { tls, .. }) => tls.as_ref(),
            Address::Unix(_) => None,
        }
    }

    /// The host name or address; `None` for a socket.
    pub(crate) fn host(&self) -> Option<&str> {
        match &self.address {
            Address::Tcp { host, .. } => Some(host),
            Address::Sentinel(sentinel) => sentinel.found.get().map(|(host, _)| host.as_str()),
            Address::Cluster(_) | Address::Unix(_) => None,
        }
    }

    /// The port; `None` for a socket.
    pub(crate) fn port(&self) -> Option<u16> {
        match &self.address {
            Address::Tcp { port, .. } => Some(*port),
            Address::Sentinel(sentinel) => sentinel.found.get().map(|(_, port)| *port),
            Address::Cluster(_) | Address::Unix(_) => None,
        }
    }

    /// `host:port`, or the socket's path; for Sentinels the master's address, once resolved.
    pub fn address(&self) -> String {
        match &self.address {
            Address::Sentinel(sentinel) => match sentinel.found.get() {
                Some((host, port)) => format!("{host}:{port}"),
                None => sentinel.to_string(),
            },
            Address::Tcp { host, port, .. } => format!("{host}:{port}"),
            Address::Cluster(cluster) => {
                cluster.nodes.first().map(|(host, port)| format!("{host}:{port}")).unwrap_or_default()
            }
            Address::Unix(path) => path.clone(),
        }
    }

    /// True for a cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(self.address, Address::Cluster(_))
    }

    /// The connection for display, without secrets.
    pub fn display(&self) -> impl fmt::Display + '_ {
        match &self.address {
            Address::Tcp { tls: Some(_), .. } => format!("rediss://{}", self.address()),
            Address::Tcp { .. } => format!("redis://{}", self.address()),
            Address::Unix(path) => format!("redis+unix://{path}"),
            Address::Cluster(cluster) => {
                let scheme = if cluster.tls.is_some() { "rediss" } else { "redis" };
                format!("{scheme}+cluster://{}", self.address())
            }
            Address::Sentinel(sentinel) => {
                let scheme = if sentinel.tls.is_some() { "rediss" } else { "redis" };
                let found = sentinel.found.get().map(|(host, port)| format!(" (master {host}:{port})"));
                format!("{scheme}+sentinel://{sentinel}{}", found.unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectOptions({})", self.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_for_tls_stand_beside_the_url() {
        let parse = |url: &str| ConnectOptions::parse(url, &Environment::default()).unwrap();
        let files = TlsFiles { cacert: Some("/ca".into()), cert: Some("/c".into()), key: Some("/k".into()) };
        let Address::Tcp { tls, .. } = parse("rediss://h").with_tls_files(&files).unwrap().address else {
            panic!()
        };
        assert_eq!(tls.unwrap().cert.as_deref(), Some("/c"));
        for wrong in ["redis://h", "redis+unix:///s", "rediss://h?cacert=/b", "rediss://h?insecure=true"] {
            assert!(parse(wrong).with_tls_files(&files).unwrap_err().is_usage(), "{wrong}");
        }
    }

    #[test]
    fn urls() {
        let env = Environment { password: Some("from-env".into()) };
        let parse = |url: &str| ConnectOptions::parse(url, &env);
        let plain = parse("redis://h").unwrap();
        assert_eq!(plain.display().to_string(), "redis://h:6379");
        assert_eq!(plain.password.as_deref(), Some("from-env"));
        let full = parse("rediss://us%40er:p%3Aw@[::1]:1?insecure=true").unwrap();
        assert_eq!((full.user.as_deref(), full.password.as_deref()), (Some("us@er"), Some("p:w")));
        assert!(full.password_in_url() && !format!("{full:?}").contains("p:w"));
        assert_eq!(full.display().to_string(), "rediss://::1:1");
        assert_eq!(parse("redis://:pw@h/0").unwrap().user, None);
        assert_eq!(parse("redis+unix:///run/r.sock").unwrap().address(), "/run/r.sock");
        let socket = parse("redis+unix://us%40er@/run/r.sock").unwrap();
        assert_eq!((socket.address().as_str(), socket.user.as_deref()), ("/run/r.sock", Some("us@er")));
        assert_eq!((socket.password.as_deref(), socket.password_in_url()), (Some("from-env"), false));
        let socket = parse("redis+unix://u:p@/run/r.sock?timeout=5").unwrap();
        assert_eq!((socket.password.as_deref(), socket.password_in_url()), (Some("p"), true));
        assert_eq!(socket.idle_timeout, Some(Duration::from_secs(5)));
        let socket = parse("redis+unix:///run/r.sock?user=bot&cluster=this-node&timeout=0").unwrap();
        assert_eq!(
            (socket.user.as_deref(), socket.this_node, socket.idle_timeout),
            (Some("bot"), true, None)
        );
        let tls = parse("rediss://h?cacert=/ca%20s.pem&cert=c&key=k&sni=n").unwrap();
        assert!(!tls.wants_certificate());
        let Address::Tcp { tls: Some(tls), .. } = tls.address else { panic!() };
        assert_eq!((tls.cacert.as_deref(), tls.sni.as_deref()), (Some("/ca s.pem"), Some("n")));
        let sentinel = parse("rediss+sentinel://u:p@a,[::1]:7/my%20master/0?insecure=true").unwrap();
        let Address::Sentinel(of) = &sentinel.address else { panic!() };
        assert_eq!(
            (of.nodes.clone(), of.master.as_str()),
            (vec![("a".into(), 26379), ("::1".into(), 7)], "my master")
        );
        assert!(of.tls.as_ref().unwrap().insecure && sentinel.password.as_deref() == Some("p"));
        assert_eq!(sentinel.display().to_string(), "rediss+sentinel://a:26379,::1:7/my master");
        let cluster = parse("rediss+cluster://u:p@a,[::1]:7?insecure=true").unwrap();
        assert!(cluster.is_cluster() && cluster.password.as_deref() == Some("p"));
        assert_eq!(cluster.display().to_string(), "rediss+cluster://a:6379");
        assert_eq!(cluster.at("b", 1).display().to_string(), "rediss://b:1");
        for wrong in ["redis+cluster://h/1", "unix+cluster:///s", "redis+cluster://h?cluster=this-node"] {
            assert!(parse(wrong).unwrap_err().is_usage(), "{wrong}");
        }
        for wrong in
            ["redis+sentinel://h", "redis+sentinel://h/m/1", "redis+sentinel://h:x/m", "unix+sentinel://h/m"]
        {
            assert!(parse(wrong).unwrap_err().is_usage(), "{wrong}");
        }
        for wrong in [
            "redis://h?cacert=x",
            "rediss://h?cert=x",
            "rediss://h?insecure=true&cacert=x",
            "redis+unix://",
            "redis+unix://u@sock",
            "redis://u@h?user=v",
            "redis://h?timeout=soon",
            "redis://h?cluster=all",
        ] {
            assert!(parse(wrong).unwrap_err().is_usage(), "{wrong}");
        }
        for wrong in ["redis://h/3", "redis://h:x", "http://h", "h:1", "redis://h?x=1", "redis://:%zz@h"] {
            assert!(parse(wrong).unwrap_err().is_usage(), "{wrong}");
        }
    }
}
