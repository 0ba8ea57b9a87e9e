//! Programs that tests write.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a program that can be run at once. A child process writes it: of a file that this process has open for
/// writing, any child that another thread starts has a copy until it executes its own program, and as long as one has,
/// the file cannot be executed ("Text file busy").
///
/// # Errors
/// I/O errors.
pub fn write_program(path: &Path, text: &str) -> io::Result<()> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut shell = shell.spawn()?;
    if let Some(mut input) = shell.stdin.take() {
        input.write_all(text.as_bytes())?;
    }
    match shell.wait()? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("{} was not written: {status}", path.display()))),
    }
}
