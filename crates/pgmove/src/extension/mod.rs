//! Extensions that keep data of the user where the ordinary way does not look.
//!
//! Most extensions need nothing: they are made by `CREATE EXTENSION`, their own objects come with them, and the tables
//! that they declare as configuration are copied. The few that hide rows or structure have a handler here.

mod timescaledb;

/// What an extension needs beyond the ordinary way.
pub(crate) trait Handler: Sync {
    /// A query of kind, name and reason (three text columns) for what the ordinary way would lose. It must run in
    /// databases that lack the extension.
    fn unsupported_sql(&self) -> &'static str;
}

/// Every handler.
pub(crate) const HANDLERS: &[&dyn Handler] = &[&timescaledb::TimescaleDb];
