//! A private Redis or Valkey server.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::folder::Folder;
use crate::process::{self, Process};
use crate::{Error, Listen, Places, Version};

/// Redis or Valkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavor {
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flavor::Redis => "Redis",
            Flavor::Valkey => "Valkey",
        })
    }
}

/// A server program.
#[derive(Debug, Clone)]
pub struct RedisBinaries {
    program: PathBuf,
    flavor: Flavor,
    version: Version,
}

impl RedisBinaries {
    /// Redis or Valkey.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The version, as printed by the program.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The path of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// Every Redis and Valkey on this host.
pub fn find_all(places: &Places) -> Vec<RedisBinaries> {
    let mut found = Vec::new();
    for (kind, name) in [("redis", "redis-server"), ("valkey", "valkey-server")] {
        for program in places.programs(kind, name) {
            let mut command = process::command(None, &program, Path::new("/"));
            command.arg("--version");
            let Ok(text) = process::run(command) else { continue };
            // Valkey packages link redis-server to valkey-server: trust the program's own output.
            let flavor =
                if text.to_ascii_lowercase().contains("valkey") { Flavor::Valkey } else { Flavor::Redis };
            let number = text.split("v=").nth(1).and_then(|rest| rest.split_whitespace().next());
            if let Some(version) = number.and_then(|number| number.parse().ok()) {
                found.push(RedisBinaries { program, flavor, version });
            }
        }
    }
    found
}

/// The newest server of a flavor whose version begins with these numbers ("7.0", "9").
pub fn find(flavor: Flavor, version: &str, places: &Places) -> Result<RedisBinaries, Error> {
    let numbers = version.split('.').count();
    let wanted: Version = version.parse().unwrap_or_default();
    find_all(places)
        .into_iter()
        .filter(|binaries| {
            binaries.flavor == flavor
                && binaries.version.major() == wanted.major()
                && (numbers < 2 || binaries.version.minor() == wanted.minor())
        })
        .max_by_key(|binaries| binaries.version)
        .ok_or_else(|| Error::NotFound { wanted: format!("{flavor} {version}"), looked: places.shown() })
}

/// Options of a private server.
#[derive(Clone, Default)]
pub struct RedisOptions {
    /// How the server can be reached.
    pub listen: Listen,
    /// `requirepass`, and `masterauth` for replication from servers with the same password. Always set for a port.
    pub password: Option<String>,
    /// Further lines of `redis.conf`, as name and value. A value of several words needs no quotes; an empty value
    /// becomes `""`.
    pub settings: Vec<(String, String)>,
    /// Whether to keep an append-only file in the server's folder, so that its keys survive a restart.
    pub appendonly: bool,
    /// An RDB file to load at the start, which is copied.
    pub rdb: Option<PathBuf>,
    /// An initial data folder, whose files and folders are copied.
    pub data: Option<PathBuf>,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("listen", &self.listen)
            .field("password", &process::redacted(&self.password))
            .field("settings", &self.settings)
            .field("appendonly", &self.appendonly)
            .field("rdb", &self.rdb)
            .field("data", &self.data)
            .finish()
    }
}

/// A running private server. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    binaries: RedisBinaries,
    options: RedisOptions,
    port: Option<u16>,
    folder: Folder,
}

impl Redis {
    /// Starts a server in a temporary folder. It saves nothing by itself unless the options say so. Returns when it has
    /// loaded its data and answers.
    pub fn start(binaries: &RedisBinaries, mut options: RedisOptions) -> Result<Redis, Error> {
        if options.listen == Listen::Port && options.password.is_none() {
            options.password = Some(process::random_password()?);
        }
        let folder = Folder::new("dbhaul-redis-", None)?;
        if let Some(data) = &options.data {
            folder.copy_from(data).map_err(|source| Error::Folder { path: data.clone(), source })?;
        }
        if let Some(rdb) = &options.rdb {
            folder
                .copy_file(rdb, "dump.rdb")
                .map_err(|source| Error::Folder { path: rdb.clone(), source })?;
        }
        let clustered =
            options.settings.iter().any(|(name, value)| name == "cluster-enabled" && value == "yes");
        let pick: fn() -> Result<u16, Error> =
            if clustered { process::free_cluster_port } else { process::free_port };
        let (process, port) =
            process::on_free_port(options.listen, pick, |port| launch(binaries, &options, &folder, port))?;
        Ok(Redis { process, binaries: binaries.clone(), options, port, folder })
    }

    /// The port on 127.0.0.1, if it listens on one: see [`Listen::Port`].
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Redis or Valkey.
    pub fn flavor(&self) -> Flavor {
        self.binaries.flavor
    }

    /// The version of the program.
    pub fn version(&self) -> Version {
        self.binaries.version
    }

    /// A URL: `redis://` for a port, or else `redis+unix://` for the socket, with the password if there is one.
    pub fn url(&self) -> String {
        self.url_of(self.options.password.as_ref().map(|p| format!(":{}", process::percent(p))))
    }

    /// A URL for another user (empty for none) with this password.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        self.url_of(Some(format!("{}:{}", process::percent(user), process::percent(password))))
    }

    /// The password of its default user, if there is one.
    pub fn password(&self) -> Option<&str> {
        self.options.password.as_deref()
    }

    /// The address as shown in confirmation prompts: `127.0.0.1:PORT`, or the socket's path.
    pub fn address(&self) -> String {
        match self.port {
            Some(port) => format!("127.0.0.1:{port}"),
            None => self.socket().display().to_string(),
        }
    }

    fn url_of(&self, login: Option<String>) -> String {
        let scheme = if self.port.is_some() { "redis" } else { "redis+unix" };
        let login = login.map(|login| format!("{login}@")).unwrap_or_default();
        format!("{scheme}://{login}{}", self.address())
    }

    /// The Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The server's folder.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        process::tail(&self.folder.path().join("log"), 8000)
    }

    /// Stops the server; its files stay until it is dropped.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Kills the server, simulating a crash.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops the server if it is running, and starts it again on the same port. Its keys are those in its files: an
    /// append-only file, or `dump.rdb` after a SAVE.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.process.stop();
        self.process = launch(&self.binaries, &self.options, &self.folder, self.port)?;
        Ok(())
    }
}

fn launch(
    binaries: &RedisBinaries,
    options: &RedisOptions,
    folder: &Folder,
    port: Option<u16>,
) -> Result<Process, Error> {
    let log = folder.path().join("log");
    // In a file that only the user can read, because argument lists are public.
    let file = folder.write("redis.conf", configuration(options, folder.path(), port)?.as_bytes(), None)?;
    let mut command = process::command_with_private_files(&binaries.program, folder.path());
    command.current_dir(folder.path()).arg(file);
    let _ = std::fs::remove_file(&log);
    let mut process = Process::spawn(command, &log, folder.path(), Signal::TERM)?;
    let name = format!("{} {}", binaries.flavor, binaries.version);
    let socket = folder.path().join("socket");
    let password = options.password.as_deref();
    let place = match port {
        Some(port) => format!("on port {port}"),
        None => format!("on {}", socket.display()),
    };
    process::wait_ready(&mut process, &name, &place, &log, |_| answers(&socket, password))?;
    Ok(process)
}

/// The text of `redis.conf`. Later lines take precedence, so the caller's settings come last.
fn configuration(options: &RedisOptions, folder: &Path, port: Option<u16>) -> Result<String, Error> {
    let folder = folder.display().to_string();
    let mut lines = vec![
        // With port 0 it does not listen on a port.
        format!("port {}", port.unwrap_or(0)),
        "bind 127.0.0.1".to_owned(),
        format!("dir {}", quoted(&folder)),
        format!("unixsocket {}", quoted(&format!("{folder}/socket"))),
        "unixsocketperm 700".to_owned(),
        "save \"\"".to_owned(),
        "daemonize no".to_owned(),
    ];
    if options.appendonly {
        lines.push("appendonly yes".to_owned());
    }
    if let Some(password) = &options.password {
        lines.push(format!("requirepass {}", quoted(password)));
        lines.push(format!("masterauth {}", quoted(password)));
    }
    for (name, value) in &options.settings {
        if [name, value].iter().any(|text| text.contains(['\n', '\r', '\0'])) {
            return Err(Error::Setting { name: name.escape_default().to_string() });
        }
        let value = if value.is_empty() { "\"\"" } else { value };
        lines.push(format!("{name} {value}"));
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Quotes a text as one word of `redis.conf`.
fn quoted(text: &str) -> String {
    let mut word = String::from("\"");
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._/".contains(&byte) {
            word.push(char::from(byte));
        } else {
            word.push_str(&format!("\\x{byte:02x}"));
        }
    }
    word.push('"');
    word
}

/// True when the server answers PING with anything but "loading". It is asked on its socket, which it opens after its
/// port: the port could belong to another server that took it first.
fn answers(socket: &Path, password: Option<&str>) -> bool {
    let attempt = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        if let Some(password) = password {
            write!(stream, "*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n", password.len())?;
            line(&mut stream)?;
        }
        stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
        let reply = line(&mut stream)?;
        Ok(reply.starts_with("+PONG") || (reply.starts_with('-') && !reply.starts_with("-LOADING")))
    };
    attempt().unwrap_or(false)
}

/// One line of a reply, at most 512 bytes.
fn line(stream: &mut UnixStream) -> std::io::Result<String> {
    let mut text = String::new();
    BufReader::new(stream.take(512)).read_line(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_complete_in_the_configuration_and_hidden_in_debug() {
        let options = RedisOptions { password: Some("a \"b\"\n#c".into()), ..RedisOptions::default() };
        let text = configuration(&options, Path::new("/tmp/x"), Some(1)).unwrap();
        assert!(text.contains(r#"requirepass "a\x20\x22b\x22\x0a\x23c""#), "{text}");
        let shown = format!("{options:?}");
        assert!(shown.contains("<hidden>") && !shown.contains("#c"), "{shown}");
    }

    #[test]
    fn a_setting_is_one_line() {
        let options = RedisOptions {
            settings: vec![("save".into(), String::new()), ("save".into(), "900 1".into())],
            ..RedisOptions::default()
        };
        let text = configuration(&options, Path::new("/tmp/x"), Some(1)).unwrap();
        assert!(text.ends_with("save \"\"\nsave 900 1\n"), "{text}");
        let options =
            RedisOptions { settings: vec![("save".into(), "1 1\nport 0".into())], ..RedisOptions::default() };
        assert!(matches!(configuration(&options, Path::new("/tmp/x"), Some(1)), Err(Error::Setting { .. })));
    }
}
