//! Users and configuration of a server: read for a backup, and users recreated on another server.
//!
//! Passwords are the SHA-256 hashes of `ACL LIST`. Secret settings are omitted; only their names are reported. Neither
//! `Debug` nor errors show rules, because the hash of a weak password is as good as the password.

use std::collections::BTreeMap;
use std::fmt;

use redis::{Cmd, Value, cmd};
use serde::{Deserialize, Serialize};

use crate::client::connection::Connection;
use crate::client::identity::identify;
use crate::client::text::Text;
use crate::client::wire::{Reply, words};
use crate::cluster::masters;
use crate::{ConnectOptions, Error, ServerIdentity};

/// Settings whose value is or may contain a secret.
const SECRET: &[&str] = &["requirepass", "masterauth", "tls-key-file-pass", "tls-client-key-file-pass"];
/// Parts of names that indicate a secret, for settings of later versions and modules.
const SECRET_SIGNS: &[&str] = &["pass", "auth", "secret", "token"];
/// Settings with such a name that are not secret.
const PLAIN: &[&str] = &["tls-auth-clients", "tls-auth-clients-user"];

/// A user: name and rules, as in `ACL LIST` (with password hashes).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct User {
    /// The name.
    pub name: String,
    /// The rules, as in `ACL SETUSER` after the name.
    pub rules: Vec<String>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({}, {} rules)", self.name, self.rules.len())
    }
}

/// Users and configuration of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Access {
    /// The server.
    pub server: ServerIdentity,
    /// Its users; `None` if it has none (before 6.0).
    pub users: Option<Vec<User>>,
    /// Its settings, without secret ones; `None` if it does not allow reading them.
    pub configuration: Option<BTreeMap<String, String>>,
    /// Names of settings that were omitted because their values are secret.
    pub secret_settings: Vec<String>,
    /// What could not be read, and why.
    pub warnings: Vec<String>,
}

/// The result of [`apply_access`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AccessReport {
    /// Created or updated users.
    pub users: Vec<String>,
    /// Users that were left unchanged, and why.
    pub left: Vec<String>,
    /// Settings that differ on the server: name, value in the backup, value there. None was changed.
    pub other_settings: Vec<(String, String, String)>,
}

impl fmt::Display for AccessReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users made: {}", self.users.len(), self.users.join(", "))?;
        for left in &self.left {
            write!(f, "\n  left: {left}")?;
        }
        if !self.other_settings.is_empty() {
            write!(f, "\n  {} settings differ here (none was changed):", self.other_settings.len())?;
        }
        for (name, was, now) in &self.other_settings {
            write!(f, "\n    {name}: {was:?} in the backup, {now:?} here")?;
        }
        Ok(())
    }
}

/// Reads users and configuration. Requires `+acl|list` and `+config|get`.
///
/// # Errors
/// A server that is unreachable, or that has users but does not allow reading them.
pub async fn read_access(options: &ConnectOptions) -> Result<Access, Error> {
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    let mut warnings = Vec::new();
    let users = if server.at_least(6, 0) {
        Some(users(&mut connection).await?)
    } else {
        warnings.push(format!("{server} has no users: ACLs require Redis 6.0"));
        None
    };
    let (mut configuration, mut secret_settings) = (None, Vec::new());
    match settings(&mut connection).await? {
        Ok(mut all) => {
            all.retain(|name, value| {
                let secret = is_secret(name);
                if secret && !value.is_empty() {
                    secret_settings.push(name.clone());
                }
                !secret
            });
            configuration = Some(all);
        }
        Err(words) => warnings.push(format!("the configuration of {server} could not be read: {words}")),
    }
    Ok(Access { server, users, configuration, secret_settings, warnings })
}

/// Recreates users on a server: first all except `default` and the connection's own user, then those two. Each user is
/// first created disabled under a temporary name, so that unsupported rules are found before any user is changed. Other
/// existing users are left unchanged. Settings are not changed; differences are reported.
///
/// # Errors
/// [`Error::Refused`] if the server has no ACLs, does not support a rule, or would lock out the connection; no user was
/// changed.
pub async fn apply_access(access: &Access, options: &ConnectOptions) -> Result<AccessReport, Error> {
    if !options.is_cluster() {
        return apply_to(access, options).await;
    }
    // Each node of a cluster has its own users.
    let mut report = AccessReport::default();
    for node in masters(options).await? {
        let of_node = apply_to(access, &node).await?;
        report.users = of_node.users;
        let address = node.address();
        report.left.extend(of_node.left.into_iter().map(|left| format!("{address}: {left}")));
        report.other_settings = of_node.other_settings;
    }
    report.left.push("users of replicas: created on the masters only".to_owned());
    Ok(report)
}

async fn apply_to(access: &Access, options: &ConnectOptions) -> Result<AccessReport, Error> {
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    let mut report = AccessReport::default();
    if let (Some(was), Ok(now)) = (&access.configuration, settings(&mut connection).await?) {
        let differ = was.iter().filter_map(|(name, was)| {
            let now = now.get(name).filter(|now| *now != was && !is_secret(name))?;
            Some((name.clone(), was.clone(), now.clone()))
        });
        report.other_settings = differ.collect();
    }
    let Some(users) = &access.users else {
        report.left.push(format!("the backup contains no users: {} has none", access.server));
        return Ok(report);
    };
    let me = tried(&mut connection, &server, users).await?;
    let mut ordered: Vec<&User> = users.iter().collect();
    ordered.sort_by_key(|user| (user.name == me, user.name == "default"));
    for user in ordered {
        // The connection's password belongs to the target: replacing it would lock out the next connection.
        if user.name == me && !lets_in(&mut connection, user, options).await? {
            report.left.push(format!(
                "{me}: the user of this connection has a different password in the backup; its current password was kept"
            ));
            continue;
        }
        if let Err(words) = set(&mut connection, &user.name, &user.rules).await? {
            return Err(Error::Server {
                target: server.to_string(),
                operation: format!(
                    "creating user {}; already created: {}",
                    user.name,
                    report.users.join(", ")
                ),
                message: words,
            });
        }
        report.users.push(user.name.clone());
    }
    Ok(report)
}

/// Tests whether [`apply_access`] could create these users on a server, without changing anything.
///
/// # Errors
/// As of [`apply_access`].
pub async fn try_access(access: &Access, options: &ConnectOptions) -> Result<(), Error> {
    for node in masters(options).await? {
        let mut connection = Connection::open(&node).await?;
        let server = identify(&mut connection, &node).await?;
        if let Some(users) = &access.users {
            tried(&mut connection, &server, users).await?;
        }
    }
    Ok(())
}

/// Creates each user briefly under a temporary name. Returns the name of the connection's own user.
async fn tried(
    connection: &mut Connection,
    server: &ServerIdentity,
    users: &[User],
) -> Result<String, Error> {
    let refused =
        |conflicts| Error::Refused { what: format!("the users cannot be created on {server}"), conflicts };
    if !server.at_least(6, 0) {
        return Err(refused(vec!["it has no users: ACLs require Redis 6.0".into()]));
    }
    let Text(me) = connection.query(cmd("ACL").arg("WHOAMI")).await?;
    let mut conflicts = Vec::new();
    for user in users {
        // The first error of each user is sufficient. It quotes the rejected rule; secret rules are masked.
        if let Err(words) = rehearse(connection, user).await? {
            conflicts.push(format!("user {}: {words}", user.name).into());
        }
    }
    if let Some(mine) = users.iter().find(|user| user.name == me)
        && mine.rules.iter().any(|rule| rule == "off")
    {
        conflicts.push(format!("user {me} of this connection is disabled in the backup").into());
    }
    if conflicts.is_empty() { Ok(me) } else { Err(refused(conflicts)) }
}

/// Whether this user accepts the connection's password: tested with a temporary copy of the user.
async fn lets_in(connection: &mut Connection, user: &User, options: &ConnectOptions) -> Result<bool, Error> {
    if user.rules.iter().any(|rule| rule == "nopass") {
        return Ok(true);
    }
    if options.password.is_none() {
        return Ok(false);
    }
    let name = temporary_name();
    let made = set(connection, &name, &user.rules).await?.is_ok();
    let mut as_it = options.clone();
    as_it.user = Some(name.clone());
    let opened = made && Connection::open(&as_it).await.is_ok();
    let operation = format!("deleting the temporary user {name}, which may remain (ACL DELUSER {name})");
    match connection.exchange(cmd("ACL").arg("DELUSER").arg(&name), &operation).await? {
        Err(message) => {
            Err(Error::Server { target: connection.reader.target().to_owned(), operation, message })
        }
        Ok(_) => Ok(opened),
    }
}

fn temporary_name() -> String {
    format!("dbhaul-rehearsal-{}", std::process::id())
}

/// Creates a user disabled under a temporary name and deletes it, in one transaction, so that nothing remains if the
/// connection is lost.
async fn rehearse(connection: &mut Connection, user: &User) -> Result<Result<(), String>, Error> {
    let name = temporary_name();
    let rules: Vec<String> = user.rules.iter().filter(|rule| *rule != "on").cloned().collect();
    let operation = format!("trying user {}", user.name);
    // An atomic pipeline of the `redis` crate returns only the reply to EXEC, which does not show whether MULTI was
    // rejected and the commands were executed one by one.
    let mut pipeline = redis::pipe();
    pipeline.cmd("MULTI").add_command(setuser(&name, &rules));
    pipeline.cmd("ACL").arg("DELUSER").arg(&name).cmd("EXEC");
    let mut replies = connection.query_all(&pipeline, &operation).await?;
    // Without MULTI, each command takes effect by itself.
    let together: Vec<Reply> = match replies.pop() {
        Some(Ok(Value::Array(together))) => together.into_iter().map(reply).collect(),
        _ => replies.split_off(1),
    };
    let made = together.into_iter().collect::<Result<Vec<_>, String>>();
    Ok(made.map(drop).map_err(|message| veiled(&rules, message)))
}

/// A reply within that of EXEC.
fn reply(value: Value) -> Reply {
    match value {
        Value::ServerError(error) => Err(words(&error)),
        value => Ok(value),
    }
}

fn setuser(name: &str, rules: &[String]) -> Cmd {
    cmd("ACL").arg("SETUSER").arg(name).arg("reset").arg(rules).take()
}

/// The server's error, which quotes an unsupported rule; hashes are masked.
fn veiled(rules: &[String], message: String) -> String {
    let hashes = rules.iter().filter(|rule| rule.starts_with('#'));
    hashes.fold(message, |message, hash| message.replace(hash.as_str(), "#…"))
}

/// Creates or updates a user.
async fn set(connection: &mut Connection, name: &str, rules: &[String]) -> Result<Result<(), String>, Error> {
    let reply = connection.reply_to(&setuser(name, rules)).await?;
    Ok(reply.map(drop).map_err(|message| veiled(rules, message)))
}

async fn users(connection: &mut Connection) -> Result<Vec<User>, Error> {
    let lines: Vec<Text> = connection.query(cmd("ACL").arg("LIST")).await?;
    let users: Option<Vec<User>> = lines.iter().map(|line| parse(&line.0)).collect();
    users.ok_or_else(|| connection.reader.protocol("ACL LIST returned an unexpected line".to_owned()))
}

/// `user NAME RULE…`; a selector in parentheses is one rule.
fn parse(line: &str) -> Option<User> {
    let mut words = line.split(' ');
    if words.next() != Some("user") {
        return None;
    }
    let name = words.next()?.to_owned();
    let mut rules: Vec<String> = Vec::new();
    let mut open = false;
    for word in words.filter(|word| !word.is_empty()) {
        match rules.last_mut().filter(|_| open) {
            Some(selector) => {
                selector.push(' ');
                selector.push_str(word);
            }
            None => rules.push(word.to_owned()),
        }
        open = (open || word.starts_with('(')) && !word.ends_with(')');
    }
    Some(User { name, rules })
}

async fn settings(connection: &mut Connection) -> Result<Result<BTreeMap<String, String>, String>, Error> {
    let settings = connection.attempt::<Vec<(Text, Text)>>(cmd("CONFIG").arg("GET").arg("*")).await?;
    Ok(settings.map(|settings| settings.into_iter().map(|(name, value)| (name.0, value.0)).collect()))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let signed = || SECRET_SIGNS.iter().any(|sign| name.contains(sign));
    SECRET.contains(&name.as_str()) || (signed() && !PLAIN.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_is_a_user() {
        let hash = "#5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
        let line =
            format!("user bot on {hash} sanitize-payload ~bot:* resetchannels -@all +get (~x:* +set) (~y)");
        let user = parse(&line).unwrap();
        assert_eq!((user.name.as_str(), user.rules.len()), ("bot", 9));
        assert_eq!(user.rules[7..], ["(~x:* +set)".to_owned(), "(~y)".to_owned()]);
        assert!(!format!("{user:?}").contains("5e88"));
        assert_eq!(parse("nobody x"), None);
    }

    #[test]
    fn secret_settings_are_recognized_by_name() {
        for name in ["requirepass", "masterauth", "tls-key-file-pass", "masteruser-token", "search.PASSWORD"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["maxmemory", "appendonly", "tls-auth-clients"] {
            assert!(!is_secret(name), "{name}");
        }
        assert!(is_secret("primaryauth") && is_secret("auth-clients"));
    }
}
