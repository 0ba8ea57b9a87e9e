//! Parses URLs. Errors never quote text that may be a password.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{Address, Destination, Details, Hop, Kubernetes, Route, Workload};
use crate::Error;

/// The schemes of this crate.
pub(super) const SCHEMES: &[&str] = &["k8s", "docker", "ssh"];

/// Maximum number of hosts; more are a mistake.
const MOST_HOPS: usize = 8;

const K8S: &str = "k8s://[context/]namespace/(pod|svc|statefulset|deployment)/name[:port][/database]";
const DOCKER: &str = "docker://container[:port][/database]";
const SSH: &str = "ssh://[user@]host[:port]/<another URL>";

fn wrong(message: impl Into<String>) -> Error {
    Error::Url(message.into())
}

impl Address {
    /// Parses a URL of one of these forms:
    ///
    /// - `k8s://[context/]namespace/(pod|svc|statefulset|deployment)/name[:port][/database]`
    /// - `docker://container[:port][/database]`
    /// - `ssh://[user@]host[:port]/<another URL>`, which may be any of these, or a URL of the caller's
    ///
    /// Options of `k8s://`: `secret=NAME/KEY`; of `docker://`: `password-env=VARIABLE`,
    /// `route=(address|exec|published)`; of both: `user`, `kind`. Others are kept for the caller
    /// ([`Address::options`]). Parts are percent-encoded if they contain reserved characters, such as the slash in
    /// the name of a context.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn parse(url: &str) -> Result<Address, Error> {
        let mut hops = Vec::new();
        let mut rest = url;
        loop {
            let (scheme, after) = rest.split_once("://").ok_or_else(|| wrong(format!("expected {SSH}")))?;
            let (destination, details) = match scheme {
                "ssh" => {
                    let (authority, inner) =
                        after.split_once('/').ok_or_else(|| wrong(format!("expected {SSH}")))?;
                    if hops.len() == MOST_HOPS {
                        return Err(wrong(format!("more than {MOST_HOPS} hosts on the way")));
                    }
                    hops.push(hop(authority)?);
                    rest = inner;
                    continue;
                }
                "k8s" => kubernetes(after)?,
                "docker" => docker(after)?,
                _ if hops.is_empty() => {
                    return Err(wrong(format!("unknown scheme, expected {}", SCHEMES.join(", "))));
                }
                _ => (Destination::Url(rest.to_owned()), Details::default()),
            };
            return Ok(Address { hops, destination, details });
        }
    }
}

fn hop(authority: &str) -> Result<Hop, Error> {
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(wrong("ssh takes no password from a URL: use a key or an agent"));
    }
    let (host, port) = match address.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or_else(|| wrong(format!("expected {SSH}")))?;
            let port = match after {
                "" => None,
                after => Some(port_of(after.strip_prefix(':').unwrap_or(after))?),
            };
            (host.to_owned(), port)
        }
        None => {
            let (host, port) = with_port(address)?;
            (decode(host)?, port)
        }
    };
    let user = user.map(decode).transpose()?;
    name("host", &host)?;
    if let Some(user) = &user {
        name("ssh user", user)?;
    }
    Ok(Hop { user, host, port })
}

fn kubernetes(text: &str) -> Result<(Destination, Details), Error> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let parts: Vec<&str> = path.split('/').collect();
    let kind_at = |at: usize| parts.get(at).and_then(|part| workload(part));
    let (context, rest) = match (kind_at(1), kind_at(2)) {
        (Some(_), _) => (None, parts.as_slice()),
        (None, Some(_)) => (parts.first().copied(), parts.get(1..).unwrap_or_default()),
        (None, None) => return Err(wrong(format!("expected {K8S}"))),
    };
    let (namespace, workload, target, database) = match rest {
        [namespace, kind, target] => (namespace, workload(kind), target, None),
        [namespace, kind, target, database] => (namespace, workload(kind), target, Some(*database)),
        _ => return Err(wrong(format!("expected {K8S}"))),
    };
    let workload = workload.ok_or_else(|| wrong(format!("expected {K8S}")))?;
    let (target, port) = with_port(target)?;
    let place = Kubernetes {
        context: context.map(decode).transpose()?,
        namespace: decode(namespace)?,
        workload,
        name: decode(target)?,
        port,
    };
    if let Some(context) = &place.context {
        name("context", context)?;
    }
    dns_name("namespace", &place.namespace)?;
    dns_name(workload.as_str(), &place.name)?;
    let mut details = details(query, database)?;
    if details.password_env.take().is_some() {
        return Err(wrong("`password-env` is for docker://; k8s:// takes `secret=NAME/KEY`"));
    }
    if take(&mut details.rest, "route")?.is_some() {
        return Err(wrong("`route` is for docker://"));
    }
    Ok((Destination::Kubernetes(place), details))
}

fn docker(text: &str) -> Result<(Destination, Details), Error> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let (target, database) = match path.split_once('/') {
        Some((target, database)) => (target, Some(database)),
        None => (path, None),
    };
    let (target, port) = with_port(target)?;
    let container = decode(target)?;
    name("container", &container)?;
    if !container.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        return Err(wrong(format!("`{}` is not a container's name: expected {DOCKER}", shown(&container))));
    }
    let mut details = details(query, database)?;
    if details.secret.take().is_some() {
        return Err(wrong("`secret` is for k8s://; docker:// takes `password-env=VARIABLE`"));
    }
    let route = match take(&mut details.rest, "route")?.as_deref() {
        None => None,
        Some("address") => Some(Route::Address),
        Some("exec") => Some(Route::Exec),
        Some("published") => Some(Route::Published),
        Some(_) => return Err(wrong("`route` must be one of address, exec, published")),
    };
    Ok((Destination::Docker { name: container, port, route }, details))
}

fn workload(kind: &str) -> Option<Workload> {
    Some(match kind {
        "pod" | "pods" | "po" => Workload::Pod,
        "svc" | "service" | "services" => Workload::Service,
        "statefulset" | "statefulsets" | "sts" => Workload::StatefulSet,
        "deployment" | "deployments" | "deploy" => Workload::Deployment,
        _ => return None,
    })
}

fn details(query: &str, database: Option<&str>) -> Result<Details, Error> {
    let database = database.map(decode).transpose()?.filter(|database| !database.is_empty());
    if database.as_deref().is_some_and(|database| database.contains('\0')) {
        return Err(wrong("the database has a NUL in its name"));
    }
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        rest.push((decode(name)?, decode(value)?));
    }
    if rest.iter().any(|(name, _)| name == "password") {
        return Err(wrong(
            "a password in a URL is visible to other users of the host: use `secret=NAME/KEY` (k8s), \
             `password-env=VARIABLE` (docker), or the password of a source",
        ));
    }
    let secret = match take(&mut rest, "secret")? {
        None => None,
        Some(text) => {
            let pair = text.split_once('/').filter(|(_, key)| !key.is_empty() && !key.contains('/'));
            let (secret, key) = pair.ok_or_else(|| wrong("`secret` must be NAME/KEY"))?;
            dns_name("secret", secret)?;
            Some((secret.to_owned(), key.to_owned()))
        }
    };
    let filled = |name: &str, value: Option<String>| match value {
        Some(value) if value.is_empty() => Err(wrong(format!("`{name}` is empty"))),
        value => Ok(value),
    };
    let user = filled("user", take(&mut rest, "user")?)?;
    let password_env = filled("password-env", take(&mut rest, "password-env")?)?;
    let kind = filled("kind", take(&mut rest, "kind")?)?;
    Ok(Details { database, user, secret, password_env, kind, rest })
}

/// Removes an option; a duplicate is an error.
fn take(options: &mut Vec<(String, String)>, name: &str) -> Result<Option<String>, Error> {
    let mut found = options.iter().filter(|(option, _)| option == name).map(|(_, value)| value.clone());
    let first = found.next();
    if found.next().is_some() {
        return Err(wrong(format!("`{name}` is given twice")));
    }
    options.retain(|(option, _)| option != name);
    Ok(first)
}

fn with_port(text: &str) -> Result<(&str, Option<u16>), Error> {
    match text.rsplit_once(':') {
        Some((name, port)) => Ok((name, Some(port_of(port)?))),
        None => Ok((text, None)),
    }
}

fn port_of(text: &str) -> Result<u16, Error> {
    // A port has no sign, although Rust parses `+1`.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| wrong("the port must be a number from 1 to 65535"))
}

/// Refuses names that a program could take for an option, or a terminal for a control sequence.
fn name(what: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(wrong(format!("the {what} is empty")));
    }
    if text.starts_with('-') {
        return Err(wrong(format!("the {what} must not begin with `-`")));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(wrong(format!("the {what} has a space or a control character in it")));
    }
    Ok(())
}

/// Names that Kubernetes allows for its objects.
fn dns_name(what: &str, text: &str) -> Result<(), Error> {
    name(what, text)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    match text.len() <= 253 && text.chars().all(allowed) {
        true => Ok(()),
        false => Err(wrong(format!("`{}` is not a {what}'s name: expected {K8S}", shown(text)))),
    }
}

/// A name for an error message: bounded, without control characters.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Decodes %-escapes strictly: what is no escape is an error, and not a percent sign.
fn decode(text: &str) -> Result<String, Error> {
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !text.split('%').skip(1).all(is_escape) {
        return Err(wrong("an invalid %-escape"));
    }
    percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(|_| wrong("an invalid %-escape"))
}
