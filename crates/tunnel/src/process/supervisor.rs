//! A shell that ends a program when the pipe to it ends.
//!
//! `kubectl port-forward` and `ssh -N` read no input, so they would run forever if this process were killed by
//! SIGKILL. The system call against that (`PR_SET_PDEATHSIG`) requires unsafe code. A pipe works as well: it ends
//! with the process that holds its other end, for whatever reason.

use std::path::Path;

use super::Line;

/// Runs the command given as arguments. One part waits for the program and passes on its exit status; the other waits
/// for the end of the input and ends the program. It contains no newline and no backslash, which shells of remote
/// hosts may treat differently. The first argument is a folder to remove at the end, or empty.
const SCRIPT: &str = "folder=$1; shift; exec 3<&0; \"$@\" </dev/null 3<&- & child=$!; \
    { cat <&3 >/dev/null; kill \"$child\"; sleep 3; kill -9 \"$child\"; } >/dev/null 2>&1 & watch=$!; \
    exec 3<&-; wait \"$child\"; status=$?; kill \"$watch\" 2>/dev/null; \
    [ -z \"$folder\" ] || rm -rf -- \"$folder\"; exit \"$status\"";

/// The command that supervises another one.
pub(crate) fn supervised(line: &Line, folder: Option<&Path>) -> Line {
    let folder = folder.map(|folder| folder.display().to_string()).unwrap_or_default();
    let arguments =
        ["-c", SCRIPT, "sh", &folder].into_iter().chain(line.words()).map(str::to_owned).collect();
    Line { program: "sh".to_owned(), arguments, what: line.what.clone() }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn start(text: &str, folder: Option<&Path>) -> std::process::Child {
        let line = supervised(&Line::new("the test", "sh", &["-c", text]), folder);
        let mut command = Command::new(&line.program);
        command.args(&line.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().unwrap()
    }

    fn has_ended(pid: &str) -> bool {
        let began = Instant::now();
        while PathBuf::from(format!("/proc/{pid}")).exists() {
            if began.elapsed() > Duration::from_secs(8) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    #[test]
    fn a_program_ends_with_the_pipe_and_passes_on_its_status() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("own");
        std::fs::create_dir(&folder).unwrap();
        let mut child = start("echo $$; exec sleep 1000", Some(&folder));
        let mut pid = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(143));
        assert!(has_ended(pid.trim()) && !folder.exists());
        let mut child = start("exit 7", None);
        // Waiting would close the pipe, which ends the program.
        let pipe = child.stdin.take();
        assert_eq!(child.wait().unwrap().code(), Some(7));
        drop(pipe);
    }

    #[test]
    fn one_that_does_not_want_to_end_is_killed() {
        let mut child = start("trap '' TERM; echo $$; while :; do sleep 0.1; done", None);
        let mut pid = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(137));
        assert!(has_ended(pid.trim()));
    }
}
