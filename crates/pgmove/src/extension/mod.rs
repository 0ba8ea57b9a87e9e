//! Extensions that keep data of the user where the ordinary way does not look.
//!
//! Most extensions need nothing: they are made by `CREATE EXTENSION`, their own objects come with them, and the tables
//! that they declare as configuration are copied. The few that hide rows or structure have a handler here.

pub(crate) mod timescaledb;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use tokio_postgres::Client;

use crate::catalog::{Catalog, QualifiedName};
use crate::connect::Session;
use crate::ddl::RenderOptions;
use crate::error::Error;

/// Whose rows an extension's own relation holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// Those of this table or view, which the user sees.
    To(QualifiedName),
    /// Nobody's: what is in it is found elsewhere.
    Nobody,
}

/// What an extension needs beyond the ordinary way.
pub(crate) trait Handler: Sync {
    /// The extension.
    fn name(&self) -> &'static str;

    /// Relations that look like the user's tables and are the extension's means, with the table whose rows they hold.
    fn relations<'a>(
        &'a self,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<BTreeMap<QualifiedName, Belongs>, Error>>;

    /// Completes a catalog of a database that has the extension: reads what the extension adds, and takes away what it
    /// made as its means. What cannot be carried joins [`Catalog::unsupported`].
    fn read<'a>(&'a self, client: &'a Client, catalog: &'a mut Catalog) -> BoxFuture<'a, Result<(), Error>>;

    /// Whether a catalog needs the extension although it does not come with it: some tables of a database.
    fn is_needed(&self, catalog: &Catalog) -> bool;

    /// What stands in the way of making it again at a target, in words. A version that nobody has tried does, unless
    /// `try_untried`.
    fn conflicts<'a>(
        &'a self,
        target: &'a Session,
        catalog: &'a Catalog,
        options: &'a RenderOptions,
        try_untried: bool,
    ) -> BoxFuture<'a, Result<Vec<String>, Error>>;

    /// What a comparison of two schemas has to hold against each other beside statements: object, and what it is.
    fn facts(&self, catalog: &Catalog, options: &RenderOptions) -> Vec<(String, String)>;
}

/// Every handler.
pub(crate) const HANDLERS: &[&dyn Handler] = &[&timescaledb::TimescaleDb];

/// Whether an extension is installed, before a catalog is read.
pub(crate) async fn installed(session: &Session, name: &str) -> Result<bool, Error> {
    let sql = format!("SELECT 1 FROM pg_extension WHERE extname = {}", crate::quote::literal(name));
    Ok(session.value("the extensions", &sql).await?.is_some())
}
