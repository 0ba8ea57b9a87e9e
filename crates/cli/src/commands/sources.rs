//! Which sources a command works on: configured ones, by name, or those given by flags.

use std::path::PathBuf;

use crate::config::Kind;
use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::exit;

/// The sources to read: flags replace the configuration; names select from it.
pub(super) fn chosen(
    names: &[String],
    postgres: Option<&str>,
    redis: Option<&str>,
    context: &Context,
) -> anyhow::Result<Vec<Endpoint>> {
    context.require_named_config()?;
    let flagged = flagged(postgres, redis, context)?;
    if !flagged.is_empty() {
        if let Some(name) = names.first() {
            return Err(exit::usage(format!(
                "`{name}` names a source of the configuration, which --postgres and --redis replace: use one or the other"
            )));
        }
        return Ok(flagged);
    }
    let configured = &context.config.sources;
    if configured.is_empty() {
        return Err(exit::usage(
            "nothing to back up: pass --postgres URL or --redis URL, or write `[[source]]` into dbhaul.toml",
        ));
    }
    for name in names {
        if !configured.iter().any(|source| source.covers(name)) {
            let known: Vec<&str> = configured.iter().map(|source| source.name.as_str()).collect();
            return Err(exit::usage(format!(
                "the configuration has no source `{name}`; it has: {}",
                known.join(", ")
            )));
        }
    }
    let mut chosen = Vec::new();
    for source in configured {
        let databases: Vec<&str> = names.iter().filter_map(|name| source.database_of(name)).collect();
        if names.is_empty() || names.contains(&source.name) {
            chosen.push(Endpoint::from_config(source, context)?);
        } else if !databases.is_empty() {
            let server = Endpoint::from_config(source, context)?;
            chosen.extend(databases.into_iter().map(|database| server.one_database(database)));
        }
    }
    Ok(chosen)
}

/// The servers given by `--postgres` and `--redis`. Each URL must be of the right kind.
pub(super) fn flagged(
    postgres: Option<&str>,
    redis: Option<&str>,
    context: &Context,
) -> anyhow::Result<Vec<Endpoint>> {
    let mut endpoints = Vec::new();
    for (kind, url) in [(Kind::Postgres, postgres), (Kind::Redis, redis)] {
        let Some(url) = url else { continue };
        endpoints.push(Endpoint::from_url(kind.as_str(), url, Some(kind), context)?);
    }
    Ok(endpoints)
}

/// Lets `--baseline` and `--environment` override the configuration of PostgreSQL sources.
pub(super) fn apply_baseline(
    endpoints: &mut [Endpoint],
    baseline: Option<PathBuf>,
    environment: Option<String>,
) {
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.kind() == Kind::Postgres) {
        if baseline.is_some() {
            endpoint.baseline.clone_from(&baseline);
        }
        if environment.is_some() {
            endpoint.environment.clone_from(&environment);
        }
    }
}

/// The baseline to check against: from the flags, or from the configured PostgreSQL source (of that name).
pub(super) fn baseline(
    file: Option<PathBuf>,
    environment: Option<String>,
    source: Option<&str>,
    context: &Context,
) -> (Option<PathBuf>, Option<String>) {
    let configured = context.config.sources.iter().find(|candidate| {
        candidate.kind == Kind::Postgres
            && candidate.baseline.is_some()
            && source.is_none_or(|name| candidate.covers(name))
    });
    let from_config = |source: &crate::config::SourceConfig| {
        source.baseline.as_ref().map(|path| context.config.folder.join(path))
    };
    (
        file.or_else(|| configured.and_then(from_config)),
        environment.or_else(|| configured.and_then(|source| source.environment.clone())),
    )
}
