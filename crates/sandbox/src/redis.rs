//! A private Redis or Valkey server.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{self, Process};
use crate::{Error, Places, Version};

/// Which of the two.
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

    /// The version, as the program tells it.
    pub fn version(&self) -> Version {
        self.version
    }
}

/// Every Redis and Valkey on this host.
pub fn find_all(places: &Places) -> Vec<RedisBinaries> {
    let mut found = Vec::new();
    for (kind, name) in [("redis", "redis-server"), ("valkey", "valkey-server")] {
        for program in places.programs(kind, name) {
            let mut command = Command::new(&program);
            command.arg("--version");
            let Ok(text) = process::run(command) else { continue };
            // Valkey packages link redis-server to valkey-server: the program's own word counts.
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

/// The newest server of a flavour whose version begins with these numbers ("7.0", "9").
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

/// How a private server is set up.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// `requirepass`.
    pub password: Option<String>,
    /// Further settings as `name` and `value`.
    pub settings: Vec<(String, String)>,
    /// An RDB file to load at the start.
    pub rdb: Option<PathBuf>,
}

/// A running private server. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    binaries: RedisBinaries,
    options: RedisOptions,
    port: u16,
    folder: TempDir,
}

impl Redis {
    /// Starts a server in a temporary folder on a free port of 127.0.0.1. It saves nothing by itself.
    pub fn start(binaries: &RedisBinaries, options: RedisOptions) -> Result<Redis, Error> {
        let folder = process::folder("dbhaul-redis-")?;
        if let Some(rdb) = &options.rdb {
            std::fs::copy(rdb, folder.path().join("dump.rdb"))
                .map_err(|source| Error::Folder { path: rdb.clone(), source })?;
        }
        for _ in 0..4 {
            let port = process::free_port()?;
            match launch(binaries, &options, folder.path(), port) {
                Ok(process) => return Ok(Redis { process, binaries: binaries.clone(), options, port, folder }),
                Err(Error::Start { log, .. }) if log.contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
        let port = process::free_port()?;
        let process = launch(binaries, &options, folder.path(), port)?;
        Ok(Redis { process, binaries: binaries.clone(), options, port, folder })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
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

    /// A `redis://` URL, with the password if there is one.
    pub fn url(&self) -> String {
        let password = self.options.password.as_ref().map(|p| format!(":{p}@")).unwrap_or_default();
        format!("redis://{password}127.0.0.1:{}", self.port)
    }

    /// The server's folder, where it keeps its files.
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

    /// Ends the server as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a stopped or killed server again, on the same port and files.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.process.stop();
        self.process = launch(&self.binaries, &self.options, self.folder.path(), self.port)?;
        Ok(())
    }
}

fn launch(
    binaries: &RedisBinaries,
    options: &RedisOptions,
    folder: &Path,
    port: u16,
) -> Result<Process, Error> {
    let log = folder.join("log");
    let mut command = Command::new(&binaries.program);
    command.current_dir(folder).args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.arg("--dir").arg(folder).args(["--save", "", "--daemonize", "no"]);
    if let Some(password) = &options.password {
        command.args(["--requirepass", password]);
    }
    for (name, value) in &options.settings {
        command.arg(format!("--{name}")).arg(value);
    }
    let _ = std::fs::remove_file(&log);
    let mut process = Process::spawn(command, &log, folder, Signal::TERM)?;
    let name = format!("{} {}", binaries.flavor, binaries.version);
    process::wait_ready(&mut process, &name, port, &log, || answers(port))?;
    Ok(process)
}

/// True when the server answers PING with anything but "loading".
fn answers(port: u16) -> bool {
    let attempt = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
        let mut reply = [0_u8; 256];
        let n = stream.read(&mut reply)?;
        let text = String::from_utf8_lossy(reply.get(..n).unwrap_or_default()).into_owned();
        Ok(text.starts_with("+PONG") || text.starts_with("-NOAUTH"))
    };
    attempt().unwrap_or(false)
}
