//! Standard output, such that a reader who has closed it can be told from every other broken connection.
//!
//! `dbhaul export … | head` ends quietly: nobody reads what would follow. A server or a store that closes its connection
//! gives the same error of the system, and there it is a failure of the job; so the kind of an error decides nothing.

use std::fmt;
use std::io::{self, Write};

/// The reader of our standard output has closed it.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed by its reader")
    }
}

impl std::error::Error for Closed {}

/// Our standard output. Everything that is printed there goes through it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Stdout;

/// True when this is the error of a write to [`Stdout`] whose reader has closed it.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Closed>())
}

fn marked(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, Closed),
        _ => error,
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().lock().write(bytes).map_err(marked)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush().map_err(marked)
    }
}
