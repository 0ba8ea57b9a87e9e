//! Child processes: their output, their end, and the guarantee that none outlives its use.

mod supervisor;
mod words;

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{oneshot, watch};

pub(crate) use supervisor::supervised;
pub(crate) use words::OutputTail;

use crate::Error;

/// Timeout for the answer of a program.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum size of a program's output. `docker inspect` of one container returns some tens of kilobytes; a list of
/// the pods of a large deployment a few megabytes.
const MAX_OUTPUT: u64 = 32 << 20;

/// A program to run: its arguments, and a description for errors.
pub(crate) struct Line {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    /// Description for errors.
    pub(crate) what: String,
}

impl Line {
    pub(crate) fn new(what: impl Into<String>, program: &str, arguments: &[&str]) -> Line {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Line { program: program.to_owned(), arguments, what: what.into() }
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.program.as_str()).chain(self.arguments.iter().map(String::as_str))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // A separate process group: Ctrl-C must reach only this process, which then ends its children cleanly.
        command.args(&self.arguments).process_group(0);
        command
    }

    fn failed_to_start(&self, source: io::Error) -> Error {
        Error::Program { program: self.program.clone(), source }
    }
}

/// Runs a program to its end and returns its output.
pub(crate) async fn output(line: &Line) -> Result<Vec<u8>, Error> {
    let mut command = line.command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| line.failed_to_start(e))?;
    let words = Arc::new(OutputTail::default());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut printed = Vec::new();
    let run = async {
        let (read, ()) = tokio::join!(bounded(stdout, &mut printed), words.collect(stderr));
        read?;
        child.wait().await
    };
    let status = match tokio::time::timeout(ANSWER_TIMEOUT, run).await {
        Ok(status) => status.map_err(|e| Error::io(line.what.clone(), e))?,
        Err(_) => return Err(Error::TimedOut { what: line.what.clone(), seconds: ANSWER_TIMEOUT.as_secs() }),
    };
    match status.success() {
        true => Ok(printed),
        false => Err(Error::Failed { what: line.what.clone(), words: words.or_status(status) }),
    }
}

async fn bounded(from: Option<ChildStdout>, into: &mut Vec<u8>) -> io::Result<()> {
    let Some(from) = from else { return Ok(()) };
    from.take(MAX_OUTPUT + 1).read_to_end(into).await?;
    match into.len() as u64 > MAX_OUTPUT {
        true => {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {} MiB", MAX_OUTPUT >> 20)))
        }
        false => Ok(()),
    }
}

/// What is known of a program at its end.
#[derive(Debug, Clone)]
pub(crate) struct ProgramExit {
    status: Option<ExitStatus>,
}

/// A running program. It ends, and is reaped, when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    /// Description for errors.
    pub(crate) what: String,
    words: Arc<OutputTail>,
    ended: watch::Receiver<Option<ProgramExit>>,
    /// Ends the program when it is dropped.
    _lifeline: Lifeline,
}

#[derive(Debug)]
enum Lifeline {
    /// The program is killed.
    Kill { _tell: oneshot::Sender<()> },
    /// The program's input ends, which a supervisor waits for.
    Input { _pipe: Option<ChildStdin> },
}

/// Starts a program and returns its standard input and output.
pub(crate) fn piped(line: &Line) -> Result<(ChildStdin, ChildStdout, Running), Error> {
    let (mut child, stdout) = spawn(line)?;
    let stdin = child.stdin.take().ok_or_else(|| no_pipe(line))?;
    let (tell, stopped) = oneshot::channel();
    let running = watched(line, child, Lifeline::Kill { _tell: tell }, Some(stopped));
    Ok((stdin, stdout, running))
}

/// Starts a program without input, through a shell that ends it when the pipe from here ends. The shell finally
/// removes `folder`.
pub(crate) fn background(line: &Line, folder: Option<&Path>) -> Result<(ChildStdout, Running), Error> {
    background_over(&supervised(line, folder))
}

/// The same for a command that leads to such a shell on a remote host.
pub(crate) fn background_over(line: &Line) -> Result<(ChildStdout, Running), Error> {
    let (mut child, stdout) = spawn(line)?;
    let pipe = child.stdin.take();
    Ok((stdout, watched(line, child, Lifeline::Input { _pipe: pipe }, None)))
}

fn spawn(line: &Line) -> Result<(Child, ChildStdout), Error> {
    let mut command = line.command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| line.failed_to_start(e))?;
    let stdout = child.stdout.take().ok_or_else(|| no_pipe(line))?;
    Ok((child, stdout))
}

fn no_pipe(line: &Line) -> Error {
    Error::io(line.what.clone(), io::Error::other("the process has no pipe"))
}

/// Spawns a task that waits for the end of a program, which reaps it.
fn watched(
    line: &Line,
    mut child: Child,
    lifeline: Lifeline,
    stopped: Option<oneshot::Receiver<()>>,
) -> Running {
    let words = Arc::new(OutputTail::default());
    let (tell, ended) = watch::channel(None);
    let output = Arc::clone(&words);
    let stderr = child.stderr.take();
    tokio::spawn(async move {
        let listening = tokio::spawn(async move { output.collect(stderr).await });
        let dropped = async {
            match stopped {
                Some(stopped) => drop(stopped.await),
                None => std::future::pending().await,
            }
        };
        let status = tokio::select! {
            status = child.wait() => status,
            () = dropped => {
                let _ = child.start_kill();
                child.wait().await
            }
        };
        // A grandchild may keep the pipe open; output from before the end is available immediately.
        let _ = tokio::time::timeout(Duration::from_millis(500), listening).await;
        let _ = tell.send(Some(ProgramExit { status: status.ok() }));
    });
    Running { what: line.what.clone(), words, ended, _lifeline: lifeline }
}

impl Running {
    /// Waits up to this long for the end; `None` if it is still running.
    pub(crate) async fn ended_within(&self, time: Duration) -> Option<ProgramExit> {
        let mut ended = self.ended.clone();
        let result = tokio::time::timeout(time, ended.wait_for(Option::is_some)).await;
        result.ok().and_then(Result::ok).and_then(|ended| ended.clone())
    }

    /// Amount of output so far.
    pub(crate) fn mark(&self) -> usize {
        self.words.mark()
    }

    /// The message for the end of a stream: the program's output if it failed; if it is still running, its output
    /// after a mark.
    pub(crate) async fn message_within(&self, time: Duration, mark: usize) -> Option<String> {
        let ended = self.ended_within(time).await;
        let said = self.words.text_since(mark);
        let failed = ended.as_ref().is_some_and(|ended| !ended.status.is_some_and(|status| status.success()));
        match (failed, said.is_empty()) {
            (true, _) => Some(format!("{}: {}", self.what, self.last_words(ended.as_ref()))),
            (false, false) => Some(format!("{}: {said}", self.what)),
            (false, true) => None,
        }
    }

    /// Its output so far.
    pub(crate) fn said(&self) -> String {
        self.words.text()
    }

    /// The error of a program that ended too early.
    pub(crate) fn failed(&self, ended: Option<&ProgramExit>) -> Error {
        Error::Failed { what: self.what.clone(), words: self.last_words(ended) }
    }

    fn last_words(&self, ended: Option<&ProgramExit>) -> String {
        match ended.and_then(|ended| ended.status) {
            Some(status) => self.words.or_status(status),
            None => self.words.or("it exited without output"),
        }
    }
}

/// Reads and discards output, so that the program does not block.
pub(crate) fn drain(mut from: impl AsyncRead + Unpin + Send + 'static) {
    tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(text: &str) -> Line {
        Line::new("the test", "sh", &["-c", text])
    }

    #[tokio::test]
    async fn a_failure_contains_the_programs_message() {
        assert_eq!(output(&sh("echo out")).await.unwrap(), b"out\n");
        let error = output(&sh("echo 'no such thing' >&2; exit 3")).await.unwrap_err();
        assert_eq!(error.to_string(), "the test: no such thing");
        let error = output(&sh("exit 3")).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        let error = output(&Line::new("x", "/no/such/program", &[])).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot run `/no/such/program`");
        let error = output(&sh("head -c 40000000 /dev/zero")).await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_dropped_program_is_killed_and_reaped() {
        let (_, mut stdout, running) = piped(&sh("echo $$; exec sleep 1000")).unwrap();
        let mut bytes = [0; 32];
        let read = stdout.read(&mut bytes).await.unwrap();
        let pid: u32 = String::from_utf8_lossy(&bytes[..read]).trim().parse().unwrap();
        let mut ended = running.ended.clone();
        drop(running);
        ended.wait_for(Option::is_some).await.unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
