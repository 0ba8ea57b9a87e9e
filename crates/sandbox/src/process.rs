//! A server process: its user, its environment, its port, its end.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, Listen};

/// The user for servers when running as root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The current user, unless running as root: then `postgres` or `nobody`.
    pub(crate) fn for_postgres() -> Result<Option<User>, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let named = |name: &str| {
            passwd.lines().find_map(|line| {
                let mut fields = line.split(':');
                (fields.next() == Some(name)).then_some(())?;
                let uid = fields.nth(1)?.parse().ok()?;
                let gid = fields.next()?.parse().ok()?;
                Some(User { uid, gid })
            })
        };
        named("postgres").or_else(|| named("nobody")).map(Some).ok_or(Error::NoUser)
    }

    /// Id of the user as whom servers run.
    pub(crate) fn id(user: Option<User>) -> u32 {
        user.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid)
    }

    /// Makes this user the owner of a file or folder.
    pub(crate) fn own(user: Option<User>, path: &Path) -> Result<(), Error> {
        let Some(user) = user else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
            .map_err(|source| Error::Folder { path: path.to_owned(), source })
    }
}

/// A command that runs a program as this user with a clean environment: the caller's passwords and client settings must
/// not reach a server that executes the contents of a foreign database. `home` is also the folder for temporary files.
pub(crate) fn command(user: Option<User>, program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    clean_environment(&mut command, home);
    command
}

/// A program that creates files accessible only to its user, whatever the caller's umask is. PostgreSQL does so by
/// itself.
pub(crate) fn command_with_private_files(program: &Path, home: &Path) -> Command {
    // The umask belongs to the process: a shell sets it in the child and then executes the program.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(program);
    clean_environment(&mut command, home);
    command
}

fn clean_environment(command: &mut Command, home: &Path) {
    command.env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", home).env("TMPDIR", home);
    // Messages in English and numbers with a point, whatever the caller's locale.
    command.env("LANG", "C").env("LC_ALL", "C");
    // Programs installed outside the system may find their libraries only by it.
    if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", libraries);
    }
}

/// 128 random bits in hexadecimal, as a password that needs no quoting.
pub(crate) fn random_password() -> Result<String, Error> {
    use std::io::Read as _;
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| Error::Folder { path: path.to_owned(), source })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A port that is currently free.
pub(crate) fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Port { source })
}

/// The offset of the cluster bus port of a Redis Cluster node from its client port.
const CLUSTER_BUS: u16 = 10_000;

/// A free port whose cluster bus port is free too.
pub(crate) fn free_cluster_port() -> Result<u16, Error> {
    let mut port = free_port()?;
    // Ports above 55535 have no bus port.
    for _ in 0..100 {
        let bus = port.checked_add(CLUSTER_BUS);
        if bus.is_some_and(|bus| TcpListener::bind((Ipv4Addr::LOCALHOST, bus)).is_ok()) {
            break;
        }
        port = free_port()?;
    }
    Ok(port)
}

/// Calls `launch` with free ports if one is required; retries if another process takes the port first.
pub(crate) fn on_free_port(
    listen: Listen,
    pick: impl Fn() -> Result<u16, Error>,
    mut launch: impl FnMut(Option<u16>) -> Result<Process, Error>,
) -> Result<(Process, Option<u16>), Error> {
    if listen == Listen::Socket {
        return Ok((launch(None)?, None));
    }
    let mut tries = 5;
    loop {
        let port = Some(pick()?);
        tries -= 1;
        match launch(port) {
            Ok(process) => return Ok((process, port)),
            Err(Error::Start { log, .. }) if tries > 0 && log.contains("Address already in use") => {}
            Err(error) => return Err(error),
        }
    }
}

/// A running server, and a watcher that stops it if this process dies.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watcher: Option<Child>,
    stop_signal: Signal,
}

impl Process {
    /// Starts a server with its output going to `log`.
    pub(crate) fn spawn(
        mut command: Command,
        log: &Path,
        folder: &Path,
        stop_signal: Signal,
    ) -> Result<Process, Error> {
        let program = PathBuf::from(command.get_program());
        let failed =
            |error: std::io::Error| Error::Program { program: program.clone(), message: error.to_string() };
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(log).map_err(failed)?;
        let copy = file.try_clone().map_err(failed)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            // A separate process group: Ctrl-C in a terminal must reach only this process, which then stops the server
            // cleanly.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let mut process = Process { child, watcher: None, stop_signal };
        process.watcher = Some(watch(process.child.id(), folder).map_err(failed)?);
        Ok(process)
    }

    /// The server's process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// True when it has exited.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to stop, waits, and kills it if necessary.
    pub(crate) fn stop(&mut self) {
        if !self.ended() {
            self.signal(self.stop_signal);
            let deadline = Instant::now() + Duration::from_secs(20);
            while !self.ended() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.kill();
    }

    /// Kills it without cleanup, as a crash would. The folder is kept and no longer watched.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(mut watcher) = self.watcher.take() {
            let _ = watcher.kill();
            let _ = watcher.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A shell that outlives this process: if it ends without stopping the server (SIGKILL, a crash, an unhandled signal),
/// the shell stops the server and removes the folder. It is notified by its standard input, a pipe whose other end only
/// this process holds.
fn watch(server: u32, folder: &Path) -> std::io::Result<Child> {
    let script = "read -r _; kill -INT \"$1\" 2>/dev/null; n=0; \
                  while kill -0 \"$1\" 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done; \
                  kill -KILL \"$1\" 2>/dev/null; rm -rf \"$2\" || { sleep 1; rm -rf \"$2\"; }";
    let mut command = Command::new("/bin/sh");
    clean_environment(&mut command, Path::new("/"));
    command
        .args(["-c", script, "sh", &server.to_string()])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Waits until `ready`, the end of the process, or a minute has passed.
pub(crate) fn wait_ready(
    process: &mut Process,
    server: &str,
    place: &str,
    log: &Path,
    ready: impl Fn(&Process) -> bool,
) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let ended = process.ended();
        if !ended && ready(process) {
            return Ok(());
        }
        if ended || Instant::now() > deadline {
            let message = if ended { "it exited immediately" } else { "it was not ready within 60 s" };
            return Err(Error::Start {
                server: server.to_owned(),
                place: place.to_owned(),
                message: message.to_owned(),
                log: tail(log, 4000),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The last bytes of a log.
pub(crate) fn tail(log: &Path, bytes: u64) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.take(bytes).read_to_end(&mut text)?;
        Ok(text)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// Runs a program to completion and returns its output.
pub(crate) fn run(mut command: Command) -> Result<String, Error> {
    let program = PathBuf::from(command.get_program());
    let failed = |message: String| Error::Program { program: program.clone(), message };
    let output = command.stdin(Stdio::null()).output().map_err(|e| failed(e.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(failed(format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr))))
    }
}

/// Percent-encodes a text for use in a URL before the host.
pub(crate) fn percent(text: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The `Debug` form of an optional password.
pub(crate) fn redacted(password: &Option<String>) -> &'static str {
    if password.is_some() { "<hidden>" } else { "none" }
}
