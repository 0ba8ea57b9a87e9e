//! Expands a source for every database of a server into one source per database.

use crate::endpoint::{Connection, Endpoint};
use crate::exit;

/// A source, with the error if its databases could not be listed.
pub(crate) type Listed = (Endpoint, Option<anyhow::Error>);

/// Expands the sources. A server whose databases cannot be listed stays one source, with its error, so that the
/// others are still backed up.
pub(crate) async fn expand(sources: &[Endpoint]) -> Vec<Listed> {
    let mut found: Vec<Listed> = Vec::new();
    for source in sources {
        match (&source.connection, source.every_database) {
            (Connection::Postgres(options), true) => match pgmove::connect::databases(options).await {
                Ok(names) if names.is_empty() => {
                    let error = exit::usage(format!("{} has no database to back up", source.shown()));
                    found.push((source.clone(), Some(error)));
                }
                Ok(names) => found.extend(names.iter().map(|name| (source.one_database(name), None))),
                Err(error) => found.push((source.clone(), Some(error.into()))),
            },
            _ => found.push((source.clone(), None)),
        }
    }
    let names: Vec<String> = found.iter().map(|(source, _)| source.name.clone()).collect();
    for (source, error) in &mut found {
        if names.iter().filter(|name| **name == source.name).count() > 1 {
            *error = Some(exit::usage(format!(
                "two sources are named `{}`: one of the configuration, and a database of another",
                source.name
            )));
        }
    }
    found
}
