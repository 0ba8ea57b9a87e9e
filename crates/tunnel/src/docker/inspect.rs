//! The output of `docker inspect` for a container.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::Error;

#[derive(Deserialize)]
pub(super) struct Inspected {
    #[serde(rename = "Id")]
    pub(super) id: String,
    #[serde(rename = "State", default)]
    pub(super) state: State,
    #[serde(rename = "Config", default)]
    pub(super) config: Config,
    #[serde(rename = "NetworkSettings", default)]
    network: NetworkSettings,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct State {
    status: String,
    pub(super) running: bool,
    pub(super) paused: bool,
    exit_code: i64,
    error: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Config {
    pub(super) image: String,
    env: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    ports: Option<BTreeMap<String, Option<Vec<Published>>>>,
    networks: Option<BTreeMap<String, Network>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Published {
    host_ip: String,
    host_port: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Network {
    #[serde(rename = "IPAddress")]
    address: String,
    #[serde(rename = "Gateway")]
    gateway: String,
}

/// The environment may contain passwords.
impl fmt::Debug for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inspected").field(&self.id).finish()
    }
}

impl State {
    pub(super) fn describe(&self) -> String {
        let status = if self.status.is_empty() { "stopped" } else { &self.status };
        match (status, self.error.is_empty()) {
            (status, false) => format!("{status}: {}", self.error),
            ("exited", true) => format!("exited with {}", self.exit_code),
            (status, true) => status.to_owned(),
        }
    }
}

impl Inspected {
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let all = self.config.env.iter().flatten().filter_map(|pair| pair.split_once('='));
        all.filter(|(variable, _)| *variable == name).map(|(_, value)| value).next_back()
    }

    /// The names of all variables.
    pub(super) fn variables(&self) -> String {
        let all = self.config.env.iter().flatten().filter_map(|pair| pair.split_once('='));
        let names: Vec<String> = all.map(|(name, _)| format!("`{name}`")).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// Its address in a network whose gateway is one of the host's own addresses, according to that host's
    /// `/proc/net/fib_trie`.
    pub(super) fn on_networks_of(&self, addresses: &str) -> Option<String> {
        let networks = self.network.networks.iter().flatten().map(|(_, network)| network);
        let mut here = networks.filter(|network| {
            !network.address.is_empty()
                && !network.gateway.is_empty()
                && has_address(addresses, &network.gateway)
        });
        here.next().map(|network| network.address.clone())
    }

    /// The published address of a port.
    pub(super) fn published(&self, port: u16) -> Option<(String, u16)> {
        let published = self.network.ports.as_ref()?.get(&format!("{port}/tcp"))?.as_ref()?;
        published.iter().find_map(|published| {
            let host = match published.host_ip.as_str() {
                "" | "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                other => other,
            };
            Some((host.to_owned(), published.host_port.parse().ok()?))
        })
    }
}

/// An address is on a line of its own, and the next line says whether it is the host's.
fn has_address(trie: &str, address: &str) -> bool {
    let mut lines = trie.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let mut own = || lines.peek().is_some_and(|next| next.starts_with("/32 host LOCAL"));
        if line.strip_prefix("|-- ") == Some(address) && own() {
            return true;
        }
    }
    false
}

/// Parses the output, a list with one object.
pub(super) fn parse(what: &str, text: &[u8]) -> Result<Inspected, Error> {
    // A parser message could quote the text, and with it an environment variable.
    let unexpected = |message: &str| Error::Output { what: what.to_owned(), message: message.to_owned() };
    let all: Vec<Inspected> =
        serde_json::from_slice(text).map_err(|_| unexpected("not a container's JSON"))?;
    let found = all.into_iter().next().ok_or_else(|| unexpected("an empty list"))?;
    // It becomes a command-line argument.
    let plain = !found.id.is_empty() && found.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { Ok(found) } else { Err(unexpected("an id that is not hexadecimal")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = r#"[{"Id":"3f2a","State":{"Status":"running","Running":true,"Paused":false,"ExitCode":0,"Error":""},
        "Config":{"Image":"timescale/timescaledb:2.24.0-pg15","Env":["POSTGRES_PASSWORD=hunter=2","PGDATA=/d"]},
        "NetworkSettings":{"Ports":{"5432/tcp":[{"HostIp":"0.0.0.0","HostPort":"15432"}],"6379/tcp":null},
        "Networks":{"oci_default":{"IPAddress":"172.18.0.3","Gateway":"172.18.0.1"}}}}]"#;

    #[test]
    fn a_container_is_read() {
        let inspected = parse("x", RUNNING.as_bytes()).unwrap();
        assert_eq!(inspected.variable("POSTGRES_PASSWORD"), Some("hunter=2"));
        assert_eq!((inspected.variable("PG"), inspected.variables().contains("hunter")), (None, false));
        assert_eq!(inspected.published(5432), Some(("127.0.0.1".to_owned(), 15432)));
        assert_eq!((inspected.published(6379), inspected.published(1)), (None, None));
        assert!(!format!("{inspected:?}").contains("hunter"));
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 172.18.0.0\n        /16 link UNICAST\n     |-- 172.18.0.1\n        /32 host LOCAL\n";
        assert_eq!(inspected.on_networks_of(trie).as_deref(), Some("172.18.0.3"));
        // An address of a foreign network, and text that is not a list.
        for other in [trie.replace("/32 host LOCAL", "/16 link UNICAST"), String::new()] {
            assert_eq!(inspected.on_networks_of(&other), None);
        }
    }

    #[test]
    fn odd_output_is_an_error_that_quotes_nothing() {
        for text in
            ["", "[]", "{}", "[{\"Id\":\"-it\"}]", "[{\"Id\":\"\"}]", "[{\"Id\":1,\"x\":\"hunter2\"}]"]
        {
            let error = parse("docker inspect `x`", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("docker inspect `x`: unexpected output") && !error.contains("hunter2"));
        }
        let stopped = r#"[{"Id":"ab","State":{"Status":"exited","ExitCode":137}}]"#;
        assert_eq!(parse("x", stopped.as_bytes()).unwrap().state.describe(), "exited with 137");
    }
}
