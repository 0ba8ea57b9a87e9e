//! A private PostgreSQL server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::folder::Folder;
use crate::process::{self, Process, User};
use crate::testing::template;
use crate::{Error, Listen, Places, Version};

/// The port in the socket's name when no port is used.
const SOCKET_PORT: u16 = 5432;

/// The programs of one PostgreSQL version.
#[derive(Debug, Clone)]
pub struct PostgresBinaries {
    bin: PathBuf,
    version: Version,
    /// Where tests keep clusters to copy instead of running initdb for each server.
    pub(crate) templates: Option<PathBuf>,
}

impl PostgresBinaries {
    /// The version, as printed by `postgres --version`.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The folder with `postgres` and `initdb`.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The names of the extensions whose control files are installed, sorted. Only CREATE EXTENSION shows whether
    /// their dependencies are present.
    pub fn available_extensions(&self) -> Vec<String> {
        let mut folders = vec![
            self.bin.join("../share/postgresql/extension"),
            self.bin.join("../share/extension"),
            // Debian's layout, unpacked in any folder.
            self.bin.join(format!("../../../../share/postgresql/{}/extension", self.version.major())),
            // Debian and Ubuntu separate data from programs.
            PathBuf::from(format!("/usr/share/postgresql/{}/extension", self.version.major())),
        ];
        if self.bin.starts_with("/usr/lib/postgresql") {
            folders.drain(..3);
        } else if !self.bin.starts_with("/usr") {
            folders.pop();
        }
        let mut names: Vec<String> = folders
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flat_map(|entries| entries.filter_map(Result::ok))
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".control")?.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// A command that runs one of the programs as `user`, with the libraries that came with it.
    fn command(&self, user: Option<User>, program: &str, home: &Path) -> Command {
        let mut command = process::command(user, &self.bin.join(program), home);
        // Packages unpacked in any folder have their own libpq, which their programs do not always find.
        let lib = self.bin.join("../lib");
        let carries_libpq = std::fs::read_dir(&lib).is_ok_and(|entries| {
            entries.filter_map(Result::ok).any(|entry| {
                let name = entry.file_name();
                name.to_str().is_some_and(|name| name.starts_with("libpq.so") || name.starts_with("libpq-"))
            })
        });
        if carries_libpq && !self.bin.starts_with("/usr") {
            command.env("LD_LIBRARY_PATH", lib);
        }
        command
    }
}

/// Every PostgreSQL on this host.
pub fn find_all(places: &Places) -> Vec<PostgresBinaries> {
    let mut found = Vec::new();
    for program in places.programs("postgres", "postgres") {
        // PostgreSQL finds its other files relative to the program's real path.
        let Some(program) = program.canonicalize().ok() else { continue };
        found.extend(program.parent().and_then(in_folder));
    }
    found
}

/// The PostgreSQL whose programs are in this folder.
pub(crate) fn in_folder(bin: &Path) -> Option<PostgresBinaries> {
    // A client package may leave a lone `postgres` link; initdb is required too.
    if !bin.join("initdb").is_file() {
        return None;
    }
    let mut command = process::command(None, &bin.join("postgres"), Path::new("/"));
    command.arg("--version");
    let version = process::run(command).ok().and_then(|text| Version::find_in(&text))?;
    Some(PostgresBinaries { bin: bin.to_owned(), version, templates: None })
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

/// Options of a private server.
#[derive(Clone)]
pub struct PostgresOptions {
    /// The superuser's name.
    pub superuser: String,
    /// How the server can be reached.
    pub listen: Listen,
    /// The superuser's password; if set, every connection must authenticate by SCRAM. Always set for a port.
    pub password: Option<String>,
    /// The encoding of the cluster's databases, such as `UTF8` or `SQL_ASCII`.
    pub encoding: String,
    /// Settings as name and value, such as `shared_preload_libraries` and `pg_stat_statements`.
    pub settings: Vec<(String, String)>,
    /// Whether to use WAL and fsync as in production. If false, a crash of the host loses the cluster.
    pub durable: bool,
    /// The server's certificate for TLS; without one, TLS is off.
    pub tls: Option<Tls>,
}

/// A server certificate: PEM files, which are copied.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate, followed by its chain.
    pub certificate: PathBuf,
    /// Its private key, without passphrase.
    pub key: PathBuf,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        PostgresOptions {
            superuser: "postgres".into(),
            listen: Listen::Socket,
            password: None,
            encoding: "UTF8".into(),
            settings: Vec::new(),
            durable: false,
            tls: None,
        }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("superuser", &self.superuser)
            .field("listen", &self.listen)
            .field("password", &process::redacted(&self.password))
            .field("encoding", &self.encoding)
            .field("settings", &self.settings)
            .field("durable", &self.durable)
            .field("tls", &self.tls)
            .finish()
    }
}

/// A running private server. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Postgres {
    // Fields are dropped in this order: the process must end before its folder is removed.
    process: Process,
    binaries: PostgresBinaries,
    options: PostgresOptions,
    user: Option<User>,
    port: Option<u16>,
    folder: Folder,
}

impl Postgres {
    /// Creates a cluster in a temporary folder and starts it. As root the server runs as `postgres`, or else as
    /// `nobody`. Returns when it accepts connections.
    pub fn start(binaries: &PostgresBinaries, mut options: PostgresOptions) -> Result<Postgres, Error> {
        if options.listen == Listen::Port && options.password.is_none() {
            options.password = Some(process::random_password()?);
        }
        let user = User::for_postgres()?;
        let folder = Folder::new("dbhaul-pg-", user)?;
        match &binaries.templates {
            // With a password initdb would store it in the template.
            Some(templates) if options.password.is_none() => {
                let (bin, version) = (binaries.bin.display(), binaries.version);
                let (superuser, encoding) = (&options.superuser, &options.encoding);
                // PostgreSQL starts only in a folder of its own user.
                let name = format!("{bin} {version} {superuser} {encoding} {}", User::id(user));
                template::copy(templates, &name, &folder.path().join("data"), || {
                    initdb(binaries, &options, user, &folder)
                })?;
            }
            _ => initdb(binaries, &options, user, &folder)?,
        }
        if let Some(tls) = &options.tls {
            // PostgreSQL requires that only its user owns and can read the key.
            for (name, file) in [("server.crt", &tls.certificate), ("server.key", &tls.key)] {
                let content =
                    std::fs::read(file).map_err(|source| Error::Folder { path: file.clone(), source })?;
                folder.write(name, &content, user)?;
            }
        }
        let (process, port) = process::on_free_port(options.listen, process::free_port, |port| {
            launch(binaries, &options, user, &folder, port)
        })?;
        Ok(Postgres { process, binaries: binaries.clone(), options, user, port, folder })
    }

    /// The port on 127.0.0.1, if it listens on one: see [`Listen::Port`].
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The folder of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The cluster's data folder. For root, it belongs to the server's user.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The version of the programs.
    pub fn version(&self) -> Version {
        self.binaries.version
    }

    /// A URL for the superuser, with the password if there is one.
    pub fn url(&self, database: &str) -> String {
        let password =
            self.options.password.as_ref().map(|p| format!(":{}", process::percent(p))).unwrap_or_default();
        self.url_of(&format!("{}{password}", process::percent(&self.options.superuser)), database)
    }

    /// A URL for another role, without a password.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        self.url_of(&process::percent(role), database)
    }

    /// `login` is inserted unchanged; libpq treats a host that is a folder as a socket.
    fn url_of(&self, login: &str, database: &str) -> String {
        let place = match self.port {
            Some(port) => format!("127.0.0.1:{port}"),
            None => process::percent(&self.folder.path().to_string_lossy()),
        };
        format!("postgres://{login}@{place}/{}", process::percent(database))
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        process::tail(&self.folder.path().join("log"), 8000)
    }

    /// Stops the server; its data stays until it is dropped.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Kills the server, simulating a crash.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops the server if it is running, and starts it again with the same port and data. After [`kill`](Self::kill)
    /// it performs crash recovery.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.process.stop();
        let mut tries = 20;
        loop {
            match launch(&self.binaries, &self.options, self.user, &self.folder, self.port) {
                Ok(process) => {
                    self.process = process;
                    return Ok(());
                }
                // The children of a killed server exit after a moment.
                Err(Error::Start { log, .. })
                    if tries > 0 && log.contains("pre-existing shared memory block") =>
                {
                    tries -= 1;
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn initdb(
    binaries: &PostgresBinaries,
    options: &PostgresOptions,
    user: Option<User>,
    folder: &Folder,
) -> Result<(), Error> {
    let data = folder.path().join("data");
    let password = match &options.password {
        Some(password) if password.contains(['\n', '\r', '\0']) => {
            return Err(Error::Setting { name: "password".into() });
        }
        // Passed in a file, because argument lists are public.
        Some(password) => Some(folder.write("password", password.as_bytes(), user)?),
        None => None,
    };
    let attempt = |locale: &str| {
        let mut command = binaries.command(user, "initdb", folder.path());
        command.current_dir(folder.path()).arg("-D").arg(&data);
        command.args(["-U", &options.superuser, "-E", &options.encoding, "--no-sync"]);
        command.arg(format!("--locale={locale}"));
        match &password {
            Some(file) => command.args(["-A", "scram-sha-256"]).arg("--pwfile").arg(file),
            // The socket's folder protects it. If a port were open, it would reject all connections.
            None => command.args(["--auth-local=trust", "--auth-host=reject"]),
        };
        process::run(command).map(drop)
    };
    // C.UTF-8 sorts like C and classifies letters; not every host has it, and not every encoding supports it.
    let made = attempt("C.UTF-8").or_else(|_| {
        let _ = std::fs::remove_dir_all(&data);
        attempt("C")
    });
    if let Some(file) = password {
        let _ = std::fs::remove_file(file);
    }
    made
}

fn launch(
    binaries: &PostgresBinaries,
    options: &PostgresOptions,
    user: Option<User>,
    folder: &Folder,
    port: Option<u16>,
) -> Result<Process, Error> {
    let folder = folder.path();
    let (log, data) = (folder.join("log"), folder.join("data"));
    let mut command = binaries.command(user, "postgres", folder);
    command.current_dir(folder).arg("-D").arg(&data);
    command.args(["-h", if port.is_some() { "127.0.0.1" } else { "" }]);
    command.args(["-p", &port.unwrap_or(SOCKET_PORT).to_string()]).arg("-k").arg(folder);
    command.args(["-c", "unix_socket_permissions=0700"]);
    let quick = [("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")];
    for (name, value) in quick.iter().filter(|_| !options.durable) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    if options.tls.is_some() {
        command.args(["-c", "ssl=on"]);
        for (name, file) in [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")] {
            command.arg("-c").arg(format!("{name}={}", folder.join(file).display()));
        }
    }
    for (name, value) in &options.settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let _ = std::fs::remove_file(&log);
    let mut process = Process::spawn(command, &log, folder, Signal::INT)?;
    let name = format!("PostgreSQL {}", binaries.version);
    let place = match port {
        Some(port) => format!("on port {port}"),
        None => format!("on a socket in {}", folder.display()),
    };
    process::wait_ready(&mut process, &name, &place, &log, |process| is_ready(process, &data))?;
    Ok(process)
}

/// True when the server's own files say that it accepts connections. A request to the port could be answered by another
/// server that took it first. `postmaster.pid` contains the process id in its first line and the status in its eighth
/// (`src/include/utils/pidfile.h`).
fn is_ready(process: &Process, data: &Path) -> bool {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines();
    lines.next().and_then(|line| line.trim().parse().ok()) == Some(process.id())
        && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}
