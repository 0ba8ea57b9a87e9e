//! A private sshd for a test: on a free port of 127.0.0.1, with its own keys, for the user that runs the test.
#![allow(clippy::unwrap_used, reason = "a test stops where its stage is broken")]

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{or_skip, write_program};
use crate::{Error, Places};

/// sshd; otherwise prints `SKIPPED` and returns `None`.
pub fn require_sshd() -> Option<PathBuf> {
    let mut places = Places::from_env();
    places.folders.push(PathBuf::from("/usr/sbin"));
    let found = places.programs("ssh", "sshd").into_iter().next();
    let wanted = "sshd (openssh-server)".to_owned();
    or_skip(found.ok_or_else(|| Error::NotFound { wanted, looked: places.shown() }))
}

/// The server. It is stopped on drop.
pub struct Sshd {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Sshd {
    /// Starts it. `more` are further lines of its configuration.
    ///
    /// # Errors
    /// I/O errors.
    pub fn start(program: &Path, more: &str) -> io::Result<Sshd> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path.join(key));
            if !keygen.status()?.success() {
                return Err(io::Error::other("ssh-keygen failed"));
            }
        }
        std::fs::copy(path.join("user.pub"), path.join("authorized_keys"))?;
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd")?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let at = path.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized_keys\n\
             PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\n{more}\n"
        );
        std::fs::write(path.join("sshd_config"), config)?;
        let mut known = format!("[127.0.0.1]:{port} ");
        known.push_str(&std::fs::read_to_string(path.join("host.pub"))?);
        std::fs::write(path.join("known_hosts"), known)?;
        let client = format!(
            "Host vm\n  HostName 127.0.0.1\n  Port {port}\nHost *\n  IdentityFile {at}/user\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {at}/known_hosts\n  StrictHostKeyChecking yes\n"
        );
        std::fs::write(path.join("config"), client)?;
        let log = std::fs::File::create(path.join("log"))?;
        let mut command = Command::new(program);
        command.arg("-D").arg("-e").arg("-f").arg(path.join("sshd_config"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut server = Sshd { child, port, folder };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > Duration::from_secs(10) || server.child.try_wait()?.is_some() {
                return Err(io::Error::other(format!("sshd did not start: {}", server.log())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The folder with its keys and configurations.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A wrapper script for ssh with a configuration in which the host `vm` is this server.
    ///
    /// # Errors
    /// I/O errors.
    pub fn ssh(&self) -> io::Result<PathBuf> {
        let bin = self.folder.path().join("bin");
        std::fs::create_dir_all(&bin)?;
        let path = bin.join("ssh");
        let config = self.folder.path().join("config");
        write_program(&path, &format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", config.display()))?;
        Ok(path)
    }

    /// The processes that serve its connections.
    pub fn sessions(&self) -> Vec<u32> {
        let parent = self.child.id();
        children_of(parent).into_iter().flat_map(|child| [vec![child], children_of(child)].concat()).collect()
    }

    /// Ends all connections at once, as if the host were switched off.
    pub fn cut(&self) {
        for process in self.sessions() {
            let _ = Command::new("kill").arg("-9").arg(process.to_string()).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.cut();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The running child processes of a process.
pub fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may contain anything; state and parent follow it.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        if fields.split_whitespace().nth(1) == Some(&parent.to_string()) {
            found.push(pid);
        }
    }
    found
}
