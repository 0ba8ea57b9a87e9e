//! The two servers of a job that has two, by URL or by the name of a configured source. Each has a password of its
//! own.

use std::path::Path;

use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::exit;

/// How one of two servers is named.
pub(super) struct SideNames {
    /// Name in reports and warnings.
    name: &'static str,
    /// Environment variable with its password.
    variable: &'static str,
    /// Option with its password file.
    option: &'static str,
}

/// The source of a migration.
pub(super) const FROM: SideNames =
    SideNames { name: "source", variable: "DBHAUL_FROM_PASSWORD", option: "--from-password-file" };
/// The target of a migration.
pub(super) const TO: SideNames =
    SideNames { name: "target", variable: "DBHAUL_TO_PASSWORD", option: "--to-password-file" };
/// The left side of a comparison.
pub(super) const LEFT: SideNames = SideNames { name: "left", option: "--left-password-file", ..FROM };
/// The right side of a comparison.
pub(super) const RIGHT: SideNames = SideNames { name: "right", option: "--right-password-file", ..TO };

/// A server by URL or by the name of a configured source. The password comes from the file, then from the side's
/// environment variable, then from the URL, the configuration or the common environment.
pub(super) fn side(
    named: &SideNames,
    text: &str,
    password_file: Option<&Path>,
    context: &Context,
) -> anyhow::Result<Endpoint> {
    let endpoint = match configured(text, context)? {
        Some(endpoint) => endpoint,
        None => Endpoint::from_url(named.name, text, None, context)?,
    };
    Ok(match password(named, password_file, context)? {
        Some(password) => endpoint.with_password(&password),
        None => endpoint,
    })
}

/// The configured source of this name; `None` for a URL or an unknown name.
pub(super) fn configured(text: &str, context: &Context) -> anyhow::Result<Option<Endpoint>> {
    if text.contains("://") || text.contains('=') {
        return Ok(None);
    }
    let sources = &context.config.sources;
    let Some(source) = sources.iter().find(|source| source.covers(text)) else { return Ok(None) };
    let server = Endpoint::from_config(source, context)?;
    Ok(Some(match source.database_of(text) {
        Some(database) => server.one_database(database),
        None => server,
    }))
}

fn password(named: &SideNames, file: Option<&Path>, context: &Context) -> anyhow::Result<Option<String>> {
    let Some(file) = file else {
        return Ok(context.secrets.get(named.variable).map(str::to_owned));
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        exit::usage(format!("{}: cannot read `{}`: {error}", named.option, file.display()))
    })?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Some(line.to_owned())),
        None => Err(exit::usage(format!("{}: `{}` is empty", named.option, file.display()))),
    }
}
