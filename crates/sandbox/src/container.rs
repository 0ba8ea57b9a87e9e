//! A server in a Docker container, which is started from an image, without a network, and removed afterwards.
//!
//! It can only be reached through Docker itself (`docker exec`), and cannot connect to anything. A container outlives
//! the process that started it if that process is killed: its label names the process, so that [`remove_stale`] finds
//! it.

use std::fmt;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Error;
use crate::process::random_password;

/// The label of every container, whose value is its [`Owner`].
const LABEL: &str = "dbhaul.sandbox";

/// Timeout for Docker to respond.
const ANSWER: Duration = Duration::from_secs(60);

/// Timeout for pulling an image.
const PULL: Duration = Duration::from_secs(3600);

/// Number of bytes of a container's log to show.
const LOG_LINES: &str = "20";

/// What to start.
#[derive(Clone)]
pub struct ContainerOptions {
    /// The image; pulled if Docker does not have it.
    pub image: String,
    /// Environment variables of the container. They are passed to Docker through a pipe.
    pub environment: Vec<(String, String)>,
    /// Arguments of the image's program.
    pub arguments: Vec<String>,
}

/// The environment contains passwords.
impl fmt::Debug for ContainerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerOptions")
            .field("image", &self.image)
            .field("arguments", &self.arguments)
            .finish_non_exhaustive()
    }
}

/// A container. Dropping it removes it with its volumes.
#[derive(Debug)]
pub struct Container {
    name: String,
    removed: bool,
}

impl Container {
    /// Starts a container. Returns when it runs, before its server accepts connections.
    ///
    /// # Errors
    /// [`Error::Image`] if the image cannot be pulled; otherwise Docker's error message.
    pub fn start(options: &ContainerOptions) -> Result<Container, Error> {
        let image = options.image.as_str();
        let unfit = |c: char| c.is_whitespace() || c.is_control();
        if image.is_empty() || image.starts_with('-') || image.contains(unfit) {
            return Err(Error::Image { image: image.to_owned(), message: "not the name of an image".into() });
        }
        let mut variables = String::new();
        for (name, value) in &options.environment {
            if [name, value].iter().any(|text| text.contains(['\n', '\r', '\0'])) {
                return Err(Error::Setting { name: name.clone() });
            }
            variables.push_str(&format!("{name}={value}\n"));
        }
        if docker(&["image", "inspect", "--format", "{{.Id}}", image], "", ANSWER).is_err() {
            docker(&["pull", "--quiet", image], "", PULL)
                .map_err(|error| Error::Image { image: image.to_owned(), message: words(error) })?;
        }
        // From here on it is removed, even if Docker fails after it has created it.
        let container = Container { name: format!("dbhaul-sandbox-{}", random_password()?), removed: false };
        let label = format!("{LABEL}={}", Owner::this_process());
        let mut arguments = vec!["run", "--detach", "--name", &container.name, "--label", &label];
        // Sharing of memory between parallel workers of PostgreSQL needs more than Docker's 64 MiB.
        arguments.extend(["--network", "none", "--security-opt", "no-new-privileges", "--shm-size", "1g"]);
        arguments.extend(["--env-file", "/dev/stdin", "--", image]);
        arguments.extend(options.arguments.iter().map(String::as_str));
        docker(&arguments, &variables, ANSWER)?;
        Ok(container)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why it is not running, with the end of its log; `None` while it runs, or if its state is unknown.
    pub fn ended(&self) -> Option<String> {
        let format = "{{.State.Running}} {{.State.ExitCode}}";
        let state = docker(&["container", "inspect", "--format", format, &self.name], "", ANSWER).ok()?;
        let code = state.trim().strip_prefix("false ")?;
        let log = docker_with_log(&["logs", "--tail", LOG_LINES, &self.name]);
        Some(format!("it exited with {code}\n{}", log.trim_end()))
    }

    /// Removes it.
    ///
    /// # Errors
    /// Docker's error message.
    pub fn remove(&mut self) -> Result<(), Error> {
        if self.removed {
            return Ok(());
        }
        let removed = remove(&self.name);
        self.removed = removed.is_ok();
        removed
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

fn remove(container: &str) -> Result<(), Error> {
    match docker(&["rm", "--force", "--volumes", container], "", ANSWER) {
        Err(Error::Docker { message, .. }) if message.to_lowercase().contains("no such container") => Ok(()),
        done => done.map(drop),
    }
}

/// Containers left by earlier processes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StaleContainers {
    /// Names of the containers that were removed because their processes have ended.
    pub removed: Vec<String>,
    /// Names of running containers for which this host cannot tell whether they are in use.
    pub unknown: Vec<String>,
}

/// Removes the containers of processes that were killed.
///
/// # Errors
/// Docker's error message.
pub fn remove_stale() -> Result<StaleContainers, Error> {
    let filter = format!("label={LABEL}");
    let listed = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter], "", ANSWER)?;
    let mut found = StaleContainers::default();
    for id in listed.split_whitespace() {
        let format = format!("{{{{.State.Running}}}} {{{{.Name}}}} {{{{index .Config.Labels \"{LABEL}\"}}}}");
        // One that was removed meanwhile is skipped.
        let Ok(state) = docker(&["container", "inspect", "--format", &format, id], "", ANSWER) else {
            continue;
        };
        let mut fields = state.trim().splitn(3, ' ');
        let runs = fields.next() == Some("true");
        let name = fields.next().unwrap_or(id).trim_start_matches('/').to_owned();
        match (Owner::of_label(fields.next().unwrap_or_default()).is_alive(), runs) {
            (Some(true), _) => {}
            (None, true) => found.unknown.push(name),
            (Some(false), _) | (None, false) => {
                remove(id)?;
                found.removed.push(name);
            }
        }
    }
    Ok(found)
}

/// Identifies a process among those of this and other hosts: the boot time of the host, the PID namespace, the PID,
/// and the start time of the process.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    host: String,
    namespace: String,
    process: u32,
    began: Option<String>,
}

impl Owner {
    fn this_process() -> Owner {
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
        let process = std::process::id();
        Owner {
            host: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_default(),
            namespace: namespace.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default(),
            process,
            began: began(process),
        }
    }

    fn of_label(label: &str) -> Owner {
        let mut fields = label.split('/');
        let mut next = || fields.next().unwrap_or_default().to_owned();
        let (host, namespace) = (next(), next());
        Owner { host, namespace, process: next().parse().unwrap_or(0), began: Some(next()) }
    }

    /// Whether the process is still running; `None` if this process cannot see it.
    fn is_alive(&self) -> Option<bool> {
        let here = Owner::this_process();
        if self.host.is_empty() || (&self.host, &self.namespace) != (&here.host, &here.namespace) {
            return None;
        }
        let process = i32::try_from(self.process).ok().and_then(rustix::process::Pid::from_raw)?;
        match rustix::process::test_kill_process(process) {
            Err(rustix::io::Errno::SRCH) => Some(false),
            // If processes of other users are hidden, only the existence of the PID is known.
            _ => began(self.process).map(|began| self.began == Some(began)),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let began = self.began.as_deref().unwrap_or_default();
        write!(f, "{}/{}/{}/{began}", self.host, self.namespace, self.process)
    }
}

/// Start time of a process, in clock ticks since boot.
fn began(process: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may contain anything; the third field follows it, and this is the twenty-second.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

/// Docker's error message, without the command.
fn words(error: Error) -> String {
    match error {
        Error::Docker { message, .. } => message,
        other => other.to_string(),
    }
}

/// Runs the user's `docker`, whose configuration selects the daemon, and returns its output.
fn docker(arguments: &[&str], input: &str, limit: Duration) -> Result<String, Error> {
    let what =
        arguments.iter().take_while(|word| !word.starts_with('-')).take(2).copied().collect::<Vec<_>>();
    let failed = |message: String| Error::Docker { what: what.join(" "), message };
    let (ended, output, said) =
        run(arguments, input, limit).map_err(|source| failed(format!("cannot run `docker`: {source}")))?;
    match ended {
        Some(status) if status.success() => Ok(output),
        Some(status) if said.trim().is_empty() => Err(failed(status.to_string())),
        Some(_) => Err(failed(said.trim().to_owned())),
        None => Err(failed(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// Both outputs: a container's log may be on either.
fn docker_with_log(arguments: &[&str]) -> String {
    run(arguments, "", ANSWER).map(|(_, output, said)| format!("{output}{said}")).unwrap_or_default()
}

/// Its exit status, if it ended, and both outputs.
fn run(
    arguments: &[&str],
    input: &str,
    limit: Duration,
) -> std::io::Result<(Option<std::process::ExitStatus>, String, String)> {
    let (mut output, mut said) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut command = Command::new("docker");
    // Ctrl-C must reach only this process, which removes the container.
    command.args(arguments).process_group(0);
    command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(said.try_clone()?);
    let mut child = command.spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A command that fails immediately does not read its input.
        let _ = pipe.write_all(input.as_bytes());
    }
    let deadline = Instant::now() + limit;
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    Ok((ended, text(&mut output)?, text(&mut said)?))
}

/// The part of an output that an error shows.
fn text(file: &mut std::fs::File) -> std::io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(64 << 10).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_distinguished_from_earlier_and_remote_ones() {
        let label = Owner::this_process().to_string();
        assert_eq!(Owner::of_label(&label), Owner::this_process());
        assert_eq!(Owner::of_label(&label).is_alive(), Some(true));
        let other = |change: fn(&mut Owner)| {
            let mut owner = Owner::of_label(&label);
            change(&mut owner);
            Owner::of_label(&owner.to_string()).is_alive()
        };
        // In order: the PID was reused, the process has ended, it belongs to another host.
        assert_eq!(other(|owner| owner.began = Some("1".into())), Some(false));
        assert_eq!(other(|owner| owner.process = 4_194_305), Some(false));
        assert_eq!(other(|owner| owner.host = "elsewhere".into()), None);
        for label in ["", "x", "///", "a/b/c/d/e"] {
            assert_eq!(Owner::of_label(label).is_alive(), None, "{label}");
        }
    }

    #[test]
    fn invalid_image_names_are_refused() {
        for image in ["", "-v/:/host", "a b", "a\nb"] {
            let options =
                ContainerOptions { image: image.into(), environment: Vec::new(), arguments: Vec::new() };
            assert!(matches!(Container::start(&options), Err(Error::Image { .. })), "{image}");
        }
    }
}
