//! A private PostgreSQL server.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{self, Process, User};
use crate::{Error, Places, Version};

/// The programs of one PostgreSQL version.
#[derive(Debug, Clone)]
pub struct PostgresBinaries {
    bin: PathBuf,
    version: Version,
}

impl PostgresBinaries {
    /// The version, as `postgres --version` tells it.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The folder that holds `postgres` and `initdb`.
    pub fn bin(&self) -> &Path {
        &self.bin
    }
}

/// Every PostgreSQL on this host.
pub fn find_all(places: &Places) -> Vec<PostgresBinaries> {
    let mut found = Vec::new();
    for program in places.programs("postgres", "postgres") {
        let Some(bin) = program.parent() else { continue };
        // A client package may leave a lone `postgres` link; without initdb it is of no use.
        if !bin.join("initdb").is_file() {
            continue;
        }
        let mut command = Command::new(&program);
        command.arg("--version");
        if let Some(version) = process::run(command).ok().and_then(|text| Version::find_in(&text)) {
            found.push(PostgresBinaries { bin: bin.to_owned(), version });
        }
    }
    found
}

/// The newest PostgreSQL of a major version, or of any.
pub fn find(major: Option<u32>, places: &Places) -> Result<PostgresBinaries, Error> {
    find_all(places)
        .into_iter()
        .filter(|binaries| major.is_none_or(|major| binaries.version.major() == major))
        .max_by_key(|binaries| binaries.version)
        .ok_or_else(|| Error::NotFound {
            wanted: major.map_or_else(|| "PostgreSQL".to_owned(), |major| format!("PostgreSQL {major}")),
            looked: places.shown(),
        })
}

/// How a private server is set up.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The superuser's name.
    pub superuser: String,
    /// The superuser's password; with one, every connection must authenticate by SCRAM.
    pub password: Option<String>,
    /// The encoding of the cluster's databases.
    pub encoding: String,
    /// Settings as `name = value`.
    pub settings: Vec<(String, String)>,
    /// Write-ahead logging and fsync as in earnest. Off, a crash of the host loses the cluster, and nothing else.
    pub durable: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        PostgresOptions {
            superuser: "postgres".into(),
            password: None,
            encoding: "UTF8".into(),
            settings: Vec::new(),
            durable: false,
        }
    }
}

/// A running private server. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Postgres {
    // Fields drop in this order: the process must end before its folder goes.
    process: Process,
    binaries: PostgresBinaries,
    options: PostgresOptions,
    user: Option<User>,
    port: u16,
    folder: TempDir,
}

impl Postgres {
    /// Makes a cluster in a temporary folder and starts it on a free port of 127.0.0.1.
    pub fn start(binaries: &PostgresBinaries, options: PostgresOptions) -> Result<Postgres, Error> {
        let user = User::for_postgres()?;
        let folder = process::folder("dbhaul-pg-")?;
        User::own(user, folder.path())?;
        initdb(binaries, &options, user, folder.path())?;
        // Between finding a free port and listening on it, somebody else may take it.
        for _ in 0..4 {
            let port = process::free_port()?;
            match launch(binaries, &options, user, folder.path(), port) {
                Ok(process) => {
                    return Ok(Postgres { process, binaries: binaries.clone(), options, user, port, folder });
                }
                Err(Error::Start { log, .. }) if log.contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
        let port = process::free_port()?;
        let process = launch(binaries, &options, user, folder.path(), port)?;
        Ok(Postgres { process, binaries: binaries.clone(), options, user, port, folder })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The version of the programs.
    pub fn version(&self) -> Version {
        self.binaries.version
    }

    /// A URL for the superuser, with the password if there is one.
    pub fn url(&self, database: &str) -> String {
        let password = self.options.password.as_ref().map(|p| format!(":{p}")).unwrap_or_default();
        format!("postgres://{}{password}@127.0.0.1:{}/{database}", self.options.superuser, self.port)
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        process::tail(&self.folder.path().join("log"), 8000)
    }

    /// Stops the server; its data stays until it is dropped.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Ends the server as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a stopped or killed server again, on the same port and data.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.process.stop();
        self.process = launch(&self.binaries, &self.options, self.user, self.folder.path(), self.port)?;
        Ok(())
    }
}

fn initdb(
    binaries: &PostgresBinaries,
    options: &PostgresOptions,
    user: Option<User>,
    folder: &Path,
) -> Result<(), Error> {
    let attempt = |locale: &str| {
        let mut command = User::command(user, &binaries.bin.join("initdb"));
        command.current_dir(folder).env("LC_ALL", "C").arg("-D").arg(folder.join("data"));
        command.args(["-U", &options.superuser, "-E", &options.encoding, "--no-sync", "--no-instructions"]);
        if binaries.version.major() < 14 {
            // The flag that keeps the closing words away came with 14.
            command = without(command, "--no-instructions", user);
        }
        command.arg(format!("--locale={locale}"));
        match &options.password {
            Some(password) => {
                let file = folder.join("password");
                std::fs::write(&file, password)
                    .map_err(|source| Error::Folder { path: file.clone(), source })?;
                User::own(user, &file)?;
                command.args(["-A", "scram-sha-256"]).arg(format!("--pwfile={}", file.display()));
            }
            None => {
                command.args(["-A", "trust"]);
            }
        }
        process::run(command).map(drop)
    };
    // C.UTF-8 sorts like C and knows letters; not every host has it, nor every encoding bears it.
    attempt("C.UTF-8").or_else(|_| {
        let _ = std::fs::remove_dir_all(folder.join("data"));
        attempt("C")
    })
}

fn without(command: Command, unwanted: &str, user: Option<User>) -> Command {
    let mut clean = User::command(user, Path::new(command.get_program()));
    if let Some(folder) = command.get_current_dir() {
        clean.current_dir(folder);
    }
    clean.env("LC_ALL", "C").args(command.get_args().filter(|argument| *argument != unwanted));
    clean
}

fn launch(
    binaries: &PostgresBinaries,
    options: &PostgresOptions,
    user: Option<User>,
    folder: &Path,
    port: u16,
) -> Result<Process, Error> {
    let log = folder.join("log");
    let mut command = User::command(user, &binaries.bin.join("postgres"));
    command.current_dir(folder).env("LC_ALL", "C").arg("-D").arg(folder.join("data"));
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).arg("-k").arg(folder);
    let quick = [("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")];
    for (name, value) in quick.iter().filter(|_| !options.durable) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    for (name, value) in &options.settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let _ = std::fs::remove_file(&log);
    let mut process = Process::spawn(command, &log, folder, Signal::INT)?;
    let name = format!("PostgreSQL {}", binaries.version);
    process::wait_ready(&mut process, &name, port, &log, || answers(port))?;
    Ok(process)
}

/// True when the server accepts a start-up packet and answers anything but "the database system is starting up".
fn answers(port: u16) -> bool {
    let attempt = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let body = b"user\0dbhaul_probe\0database\0postgres\0\0";
        let mut packet = Vec::new();
        packet.extend_from_slice(&(body.len() as u32 + 8).to_be_bytes());
        packet.extend_from_slice(&196_608_u32.to_be_bytes());
        packet.extend_from_slice(body);
        stream.write_all(&packet)?;
        let mut reply = [0_u8; 512];
        let n = stream.read(&mut reply)?;
        let text = String::from_utf8_lossy(reply.get(..n).unwrap_or_default()).into_owned();
        // SQLSTATE 57P03 is cannot_connect_now.
        Ok(n > 0 && !text.contains("57P03"))
    };
    attempt().unwrap_or(false)
}
