//! Standard output, with errors that can be distinguished from those of other connections.
//!
//! `dbhaul export … | head` ends quietly, since its reader is gone. A server or a store that closes its connection
//! causes the same `BrokenPipe` error, which is a failure of the job; so the error kind alone is not sufficient.

use std::fmt;
use std::io::{self, Write};

/// The reader of standard output has closed it.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed by its reader")
    }
}

impl std::error::Error for Closed {}

/// Standard output. Everything that is printed goes through it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Stdout;

/// Whether this is the error of a write to [`Stdout`] whose reader has closed it.
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
