//! A host on which programs run: the local one, or one behind ssh.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};
use tokio::process::ChildStdout;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::address::Hop;
use crate::process::{self, ANSWER_TIMEOUT, Line, Running};
use crate::stream::{Stream, Used, used};
use crate::{Error, Programs, quote};

/// Options of every ssh: no prompts, and a connection with a dead peer ends after a minute.
const SSH_OPTIONS: &[&str] = &[
    "BatchMode=yes",
    "ConnectTimeout=30",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    // Options of the user's configuration that are meant for interactive sessions.
    CLEAR,
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
];

const CLEAR: &str = "ClearAllForwardings=yes";

/// The host at the end of the route so far.
#[derive(Debug, Clone)]
pub(crate) enum Host {
    Local,
    Ssh(Arc<Master>),
}

/// The destination of a connection from a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A name or an address as that host resolves it, and a port.
    Tcp(String, u16),
    /// Path of a socket.
    Unix(PathBuf),
}

/// An ssh connection that is shared by all others to its host. It lives as long as it is used.
#[derive(Debug)]
pub(crate) struct Master {
    hop: Hop,
    program: String,
    socket: String,
    running: Arc<Running>,
    /// The master through which this one connects.
    through: Option<Arc<Master>>,
    /// Sockets of the host, with the local ones that lead there.
    sockets: Mutex<HashMap<PathBuf, PathBuf>>,
    /// Contains all sockets; inaccessible to other users.
    folder: TempDir,
}

impl Host {
    /// The host that is one hop away from this one.
    pub(crate) async fn hop(&self, hop: &Hop, programs: &Programs) -> Result<Host, Error> {
        let through = match self {
            Host::Local => None,
            Host::Ssh(master) => Some(Arc::clone(master)),
        };
        Ok(Host::Ssh(Arc::new(Master::connect(hop.clone(), through, programs).await?)))
    }

    /// Runs a program there and returns its output.
    pub(crate) async fn output(&self, line: Line) -> Result<Vec<u8>, Error> {
        let result = process::output(&self.line(line)).await;
        self.explained(result)
    }

    /// Starts a program there and returns its standard input and output as a stream.
    pub(crate) fn piped(&self, line: Line) -> Result<Stream, Error> {
        let masters = self.masters();
        let (stdin, stdout, running) = process::piped(&self.line(line))?;
        let all = [vec![(Arc::new(running), 0)], masters].concat();
        Ok(Stream::pipes(stdin, stdout, all))
    }

    /// Starts a program there without input, which ends when it is dropped here.
    pub(crate) fn background(&self, line: &Line) -> Result<(ChildStdout, Running), Error> {
        // On a remote host a supervisor ends it: when ssh dies here, only the input of the remote shell ends.
        match self {
            Host::Local => process::background(line, None),
            Host::Ssh(_) => process::background_over(&self.line(process::supervised(line, None))),
        }
    }

    /// Connects from there.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Stream, Error> {
        let master = match self {
            Host::Local => return local(target).await,
            Host::Ssh(master) => master,
        };
        let masters = self.masters();
        let target = match target {
            Target::Tcp(host, port) => address(host, *port)?,
            Target::Unix(path) => {
                return Ok(Stream::unix(master.socket_to(path).await?, masters));
            }
        };
        let mut arguments = master.options();
        arguments.extend(["-W".to_owned(), target.clone(), "--".to_owned(), master.destination()]);
        let what = format!("ssh {} to {target}", master.hop);
        let line = Line { program: master.program.clone(), arguments, what };
        let (stdin, stdout, running) = process::piped(&line)?;
        let all = [vec![(Arc::new(running), 0)], masters].concat();
        Ok(Stream::pipes(stdin, stdout, all))
    }

    /// The command that runs this one there.
    fn line(&self, line: Line) -> Line {
        let Host::Ssh(master) = self else { return line };
        let mut arguments = master.options();
        arguments.extend(["--".to_owned(), master.destination(), quote::line(line.words())]);
        Line { program: master.program.clone(), arguments, what: format!("{} on {}", line.what, master.hop) }
    }

    /// A failure may be that of the connection instead of the program.
    fn explained<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match (result, self) {
            (Err(Error::Failed { what, words }), Host::Ssh(master)) => {
                let said = master.running.said();
                let words =
                    if said.is_empty() { words } else { format!("{words}; ssh {}: {said}", master.hop) };
                Err(Error::Failed { what, words })
            }
            (result, _) => result,
        }
    }

    fn masters(&self) -> Vec<Used> {
        let mut all = Vec::new();
        let mut next = match self {
            Host::Local => None,
            Host::Ssh(master) => Some(master),
        };
        while let Some(master) = next {
            all.push(used(Arc::clone(&master.running)));
            next = master.through.as_ref();
        }
        all
    }
}

async fn local(target: &Target) -> Result<Stream, Error> {
    match target {
        Target::Tcp(host, port) => {
            let connect = TcpStream::connect((host.as_str(), *port));
            let what = || format!("connecting to {host}:{port}");
            let stream = match tokio::time::timeout(ANSWER_TIMEOUT, connect).await {
                Ok(stream) => stream.map_err(|e| Error::io(what(), e))?,
                Err(_) => return Err(Error::TimedOut { what: what(), seconds: ANSWER_TIMEOUT.as_secs() }),
            };
            stream.set_nodelay(true).map_err(|e| Error::io(what(), e))?;
            Ok(Stream::tcp(stream))
        }
        Target::Unix(path) => {
            let connected = UnixStream::connect(path).await;
            let stream = connected.map_err(|e| Error::io(format!("connecting to {}", path.display()), e))?;
            Ok(Stream::unix(stream, Vec::new()))
        }
    }
}

/// A host and a port in the form of `ssh -W`. It accepts a path too, but an ssh that shares a connection then opens a
/// shell of the user instead, and sends it the data meant for the server (OpenSSH 9.2).
fn address(host: &str, port: u16) -> Result<String, Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
    if host.is_empty() || host.starts_with('-') || !host.chars().all(plain) {
        return Err(Error::Url("a host behind ssh must be a name or an address".to_owned()));
    }
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

impl Master {
    async fn connect(hop: Hop, through: Option<Arc<Master>>, programs: &Programs) -> Result<Master, Error> {
        let failed = |e| Error::io("creating a folder for the socket of ssh", e);
        let folder = socket_folder().map_err(failed)?;
        let socket = folder.path().join("s").display().to_string();
        let mut arguments = Vec::new();
        for option in SSH_OPTIONS {
            arguments.extend(["-o".to_owned(), (*option).to_owned()]);
        }
        arguments.extend(["-o".to_owned(), "ControlMaster=yes".to_owned()]);
        arguments.extend(["-o".to_owned(), "ControlPersist=no".to_owned()]);
        arguments.extend(["-o".to_owned(), format!("ControlPath={}", socket.replace('%', "%%"))]);
        if let Some(through) = &through {
            let mut words = vec![through.program.clone()];
            words.extend(through.options());
            words.extend(["-W", "[%h]:%p", "--"].map(str::to_owned));
            words.push(through.destination());
            // ssh expands `%h` and `%p`; other percent signs must not be expanded.
            let command = quote::line(words.iter().map(|word| word.as_str()));
            let command = command.replace('%', "%%").replace("[%%h]:%%p", "[%h]:%p");
            arguments.extend(["-o".to_owned(), format!("ProxyCommand={command}")]);
        }
        if let Some(port) = hop.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments.extend(["-T", "-N", "--"].map(str::to_owned));
        arguments.push(destination(&hop));
        let line = Line { program: programs.ssh.clone(), arguments, what: format!("ssh {hop}") };
        let (stdout, running) = process::background(&line, Some(folder.path()))?;
        process::drain(stdout);
        let master = Master {
            hop,
            program: programs.ssh.clone(),
            socket,
            running: Arc::new(running),
            through,
            sockets: Mutex::default(),
            folder,
        };
        master.ready().await?;
        Ok(master)
    }

    /// Waits until the master accepts connections: it creates its socket after login.
    async fn ready(&self) -> Result<(), Error> {
        // The handshake with a slow host, in addition to `ConnectTimeout` for reaching it.
        let until = Instant::now() + 2 * ANSWER_TIMEOUT;
        while Instant::now() < until {
            if let Some(ended) = self.running.ended_within(Duration::from_millis(20)).await {
                return Err(self.running.failed(Some(&ended)));
            }
            if std::fs::metadata(&self.socket).is_ok() {
                return Ok(());
            }
        }
        Err(Error::TimedOut { what: self.running.what.clone(), seconds: 2 * ANSWER_TIMEOUT.as_secs() })
    }

    /// Connects to a socket of the host, through a local one next to the master's.
    async fn socket_to(&self, path: &Path) -> Result<UnixStream, Error> {
        let at = path.display().to_string();
        if !at.starts_with('/') || at.contains([':', '%', '\n']) {
            return Err(Error::Url(
                "a socket behind ssh must have an absolute path without `:` and `%`".to_owned(),
            ));
        }
        let what = format!("ssh {} to {at}", self.hop);
        let mut sockets = self.sockets.lock().await;
        let number = sockets.len();
        let own = match sockets.entry(path.to_owned()) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                let own = self.folder.path().join(format!("u{number}"));
                let mut arguments = self.options();
                // Otherwise the requested forward would be cleared too.
                if let Some(clear) = arguments.iter_mut().find(|option| *option == CLEAR) {
                    "ClearAllForwardings=no".clone_into(clear);
                }
                arguments.extend(["-O".to_owned(), "forward".to_owned(), "-L".to_owned()]);
                arguments.extend([format!("{}:{at}", own.display()), "--".to_owned(), self.destination()]);
                process::output(&Line { program: self.program.clone(), arguments, what: what.clone() })
                    .await?;
                entry.insert(own).clone()
            }
        };
        drop(sockets);
        UnixStream::connect(own).await.map_err(|e| Error::io(what, e))
    }

    /// The options of an ssh that uses this master.
    fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        for option in SSH_OPTIONS {
            options.extend(["-o".to_owned(), (*option).to_owned()]);
        }
        options.extend(["-o".to_owned(), "ControlMaster=no".to_owned()]);
        options.extend(["-o".to_owned(), format!("ControlPath={}", self.socket.replace('%', "%%"))]);
        // Without the master, ssh would open a connection of its own, which would not end with this process.
        options.extend(["-o".to_owned(), "ProxyCommand=false".to_owned()]);
        if let Some(port) = self.hop.port {
            options.extend(["-p".to_owned(), port.to_string()]);
        }
        options.push("-T".to_owned());
        options
    }

    fn destination(&self) -> String {
        destination(&self.hop)
    }
}

fn destination(hop: &Hop) -> String {
    match &hop.user {
        Some(user) => format!("{user}@{}", hop.host),
        None => hop.host.clone(),
    }
}

/// A folder that only this user can enter, with a path short enough for a socket: ssh adds 17 characters, and the
/// limit is 107.
fn socket_folder() -> io::Result<TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut builder = tempfile::Builder::new();
    builder.prefix("dbhaul-ssh-").permissions(std::fs::Permissions::from_mode(0o700));
    let usual = std::env::temp_dir();
    match usual.as_os_str().len() <= 60 {
        true => builder.tempdir_in(usual),
        false => builder.tempdir_in("/tmp"),
    }
}
