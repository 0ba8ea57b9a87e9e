//! TimescaleDB: a hypertable's rows lie in chunks that belong to the extension. Copied as an ordinary table it would
//! arrive empty, without an error.

use super::Handler;

/// The handler of `timescaledb`.
pub(crate) struct TimescaleDb;

impl Handler for TimescaleDb {
    fn unsupported_sql(&self) -> &'static str {
        // Hypertables are told by the trigger or the chunks that the extension hangs on them; the extension's own
        // catalog may not be named here, for the statement must be valid without it.
        "SELECT 'extension', 'timescaledb ' || extversion, 'hypertables keep their rows in chunks that are not carried yet; \
          copied as ordinary tables they would arrive empty' FROM pg_extension WHERE extname = 'timescaledb'"
    }
}
