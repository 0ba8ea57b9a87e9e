//! How a server is reached: `redis://[user[:password]@]host[:port][/db]` and its relatives.

use std::fmt;

use crate::Error;

/// The part of the environment that matters here; an argument, so that tests bring their own.
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

/// Where a server listens.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp { host: String, port: u16, tls: Option<Tls> },
    Unix(String),
}

/// How TLS checks the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    /// By the host's certificate authorities, for the host's name.
    Verify,
    /// Not at all: asked for with `?insecure=true`.
    Insecure,
}

/// Where and how to connect. Neither `Debug` nor [`ConnectOptions::display`] shows the password.
#[derive(Clone)]
pub struct ConnectOptions {
    pub(crate) place: Place,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    password_in_url: bool,
}

impl ConnectOptions {
    /// Reads `redis://`, `rediss://` (TLS), `valkey://`, `valkeys://`, and `redis+unix:///path`. A password that the URL
    /// leaves out comes from the environment. A database in the URL is refused: the whole server is meant.
    pub fn parse(url: &str, env: &Environment) -> Result<ConnectOptions, Error> {
        let wrong = |message: &str| Error::Options(format!("this is no Redis URL: {message}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("redis://host:port is the form"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if matches!(scheme, "redis+unix" | "valkey+unix" | "unix") {
            let place = Place::Unix(decode(rest).map_err(|e| wrong(&e))?);
            return Ok(ConnectOptions {
                place,
                user: None,
                password: env.password.clone(),
                password_in_url: false,
            });
        }
        let secure = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            other => {
                return Err(wrong(&format!(
                    "`{other}` is none of redis, rediss, valkey, valkeys, redis+unix"
                )));
            }
        };
        let mut insecure = false;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("insecure", value)) if secure => insecure = value == "true",
                _ => return Err(wrong("the only option is insecure=true, for rediss://")),
            }
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(path, "" | "0") {
            return Err(wrong(
                "it names a database, but a Redis source or target is the whole server, with all its databases",
            ));
        }
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (
                decode(user).map_err(|e| wrong(&e))?,
                decode(password).map_err(|_| wrong("its password has a wrong %-escape"))?,
            ),
            None => (String::new(), String::new()),
        };
        let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match address.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        let port = match port {
            Some(text) => text.parse().map_err(|_| wrong("its port is no number from 1 to 65535"))?,
            None => 6379,
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        let password = some(password);
        Ok(ConnectOptions {
            place: Place::Tcp {
                host: host.to_owned(),
                port,
                tls: secure.then_some(if insecure { Tls::Insecure } else { Tls::Verify }),
            },
            user: some(user),
            password_in_url: password.is_some(),
            password: password.or_else(|| env.password.clone()),
        })
    }

    /// The same connection with another password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> ConnectOptions {
        self.password = Some(password.to_owned());
        self
    }

    /// True when the password stood in the URL: other users of the host may read it there.
    pub fn password_in_url(&self) -> bool {
        self.password_in_url
    }

    /// `host:port`, or the socket's path.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Tcp { host, port, .. } => format!("{host}:{port}"),
            Place::Unix(path) => path.clone(),
        }
    }

    /// The connection for people, without secrets.
    pub fn display(&self) -> impl fmt::Display + '_ {
        match &self.place {
            Place::Tcp { tls: Some(_), .. } => format!("rediss://{}", self.address()),
            Place::Tcp { .. } => format!("redis://{}", self.address()),
            Place::Unix(path) => format!("redis+unix://{path}"),
        }
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectOptions({})", self.display())
    }
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let [Some(a), Some(b)] =
                [rest.next(), rest.next()].map(|d| d.and_then(|d| char::from(d).to_digit(16)))
            else {
                return Err("a % is not followed by two hexadecimal digits".to_owned());
            };
            bytes.push((a * 16 + b) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| "its %-escapes do not give UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for wrong in ["redis://h/3", "redis://h:x", "http://h", "h:1", "redis://h?x=1", "redis://:%zz@h"] {
            assert!(parse(wrong).unwrap_err().is_usage(), "{wrong}");
        }
    }
}
