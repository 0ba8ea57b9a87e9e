//! A server as a process: its folder, its port, its end.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Error;

/// The user that servers run as, when we are root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// Nobody else, unless we are root: then `postgres`, or `nobody`.
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

    /// Lets a command run as this user.
    pub(crate) fn command(user: Option<User>, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid);
        }
        // The caller's own settings must not reach a private server.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        command
    }

    /// Hands a file or folder over to this user.
    pub(crate) fn own(user: Option<User>, path: &Path) -> Result<(), Error> {
        let Some(user) = user else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
            .map_err(|source| Error::Folder { path: path.to_owned(), source })
    }
}

/// A new temporary folder with a short path (a Unix socket's path holds at most 107 bytes), readable by the user
/// that the server runs as.
pub(crate) fn folder(prefix: &str) -> Result<TempDir, Error> {
    let base = std::env::temp_dir();
    let failed = |source| Error::Folder { path: base.clone(), source };
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(&base).map_err(failed)?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    Ok(folder)
}

/// A port that nobody listens on right now.
pub(crate) fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Folder { path: PathBuf::from("127.0.0.1:0"), source })
}

/// A running server, and a watcher that stops it when we are gone.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watcher: Option<Child>,
    stop_signal: Signal,
}

impl Process {
    /// Starts a server whose output goes to `log`.
    pub(crate) fn spawn(
        mut command: Command,
        log: &Path,
        folder: &Path,
        stop_signal: Signal,
    ) -> Result<Process, Error> {
        let failed = |message: String| Error::Program { program: log.to_owned(), message };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(|e| failed(e.to_string()))?;
        let copy = file.try_clone().map_err(|e| failed(e.to_string()))?;
        let program = PathBuf::from(command.get_program());
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            // Its own group: Ctrl-C in a terminal is for us; we stop the server ourselves, in order.
            .process_group(0)
            .spawn()
            .map_err(|e| Error::Program { program, message: e.to_string() })?;
        let watcher = watch(child.id(), folder);
        Ok(Process { child, watcher, stop_signal })
    }

    /// True when it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to stop, waits, and kills it if it does not.
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

    /// Ends it without a chance to tidy up, as a crash would.
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

/// A shell that outlives us: when our process is gone without having stopped the server (SIGKILL, a crash), it stops
/// the server and removes the folder.
fn watch(server: u32, folder: &Path) -> Option<Child> {
    let script = "while kill -0 \"$1\" 2>/dev/null; do sleep 1; done; \
                  kill -INT \"$2\" 2>/dev/null; sleep 2; kill -KILL \"$2\" 2>/dev/null; rm -rf \"$3\"";
    Command::new("sh")
        .args(["-c", script, "sh", &std::process::id().to_string(), &server.to_string()])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .ok()
}

/// Waits until `ready`, the process's end, or a minute.
pub(crate) fn wait_ready(
    process: &mut Process,
    server: &str,
    port: u16,
    log: &Path,
    ready: impl Fn() -> bool,
) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if ready() {
            return Ok(());
        }
        let ended = process.ended();
        if ended || Instant::now() > deadline {
            let message = if ended { "it ended at once" } else { "it did not answer within 60 s" };
            return Err(Error::Start {
                server: server.to_owned(),
                port,
                message: message.to_owned(),
                log: tail(log, 2000),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The last bytes of a log.
pub(crate) fn tail(log: &Path, bytes: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let from = text.len().saturating_sub(bytes);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
}

/// Runs a program to its end and gives its output.
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
