//! libpq's two connection string formats: URLs and `key=value` pairs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// Parameters by libpq's names.
pub(super) type Parameters = BTreeMap<String, String>;

/// Parses either format. Error messages never quote the password.
pub(super) fn parse(text: &str) -> Result<Parameters, String> {
    match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
        Some(rest) => url(rest),
        None => pairs(text),
    }
}

/// `[user[:password]@][host[:port][,…]][/database][?name=value&…]`
fn url(rest: &str) -> Result<Parameters, String> {
    let mut found = Parameters::new();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    // With an unescaped `/` or `?` in a password, the rest of it would be parsed, and displayed, as host, database or
    // parameter.
    let query_may_have = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        !pair.contains('@') || (pair.contains('=') && super::parameters::is_known(name))
    };
    if database.contains('@') || !query.split('&').all(query_may_have) {
        return Err(
            "an @ follows the host: in a user name, password or database, write / as %2F, ? as %3F and @ as \
                    %40"
            .to_owned(),
        );
    }
    let hosts = match authority.rsplit_once('@') {
        Some((user, hosts)) => {
            let (user, password) = match user.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (user, None),
            };
            set(&mut found, "user", decode(user)?);
            if let Some(password) = password {
                set(
                    &mut found,
                    "password",
                    decode(password).map_err(|_| "the password contains an invalid %-escape")?,
                );
            }
            hosts
        }
        None => authority,
    };
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        // IPv6 addresses are enclosed in brackets because they contain colons.
        let (name, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((name, port)) => (name, port.strip_prefix(':')),
            None => match host.rsplit_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, None),
            },
        };
        names.push(decode(name)?);
        ports.push(port.unwrap_or_default().to_owned());
    }
    set(&mut found, "host", names.join(","));
    if ports.iter().any(|port| !port.is_empty()) {
        set(&mut found, "port", ports.join(","));
    }
    set(&mut found, "dbname", decode(database)?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| "a parameter after the ? is not of the form name=value".to_owned())?;
        let name = decode(name)?;
        // libpq accepts `ssl=true` for compatibility with JDBC URLs.
        if name == "ssl" && value == "true" {
            set(&mut found, "sslmode", "require".to_owned());
        } else {
            set(&mut found, &name, decode(value)?);
        }
    }
    Ok(found)
}

fn set(found: &mut Parameters, name: &str, value: String) {
    if !value.is_empty() {
        found.insert(name.to_owned(), value);
    }
}

/// Decodes %-escapes strictly: what is no escape is an error, and not a percent sign.
fn decode(text: &str) -> Result<String, String> {
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !text.split('%').skip(1).all(is_escape) {
        return Err("a % is not followed by two hexadecimal digits".to_owned());
    }
    percent_decode_str(text)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| "%-escapes do not decode to UTF-8".to_owned())
}

/// `name=value name='a value'`, with backslash escapes.
fn pairs(text: &str) -> Result<Parameters, String> {
    let mut found = Parameters::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(found);
        }
        let mut name = String::new();
        while let Some(c) = rest.next_if(|c| *c != '=' && !c.is_whitespace()) {
            name.push(c);
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.next_if_eq(&'=').is_none() {
            // The text may be anything, including a URL with a password: do not quote it.
            return Err(
                "expected a URL such as postgres://user@host/database, or name=value pairs".to_owned()
            );
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = rest.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match rest.next() {
                Some('\\') => value.extend(rest.next()),
                Some('\'') if quoted => break,
                Some(c) if c.is_whitespace() && !quoted => break,
                Some(c) => value.push(c),
                None if quoted => return Err("unterminated quoted value".to_owned()),
                None => break,
            }
        }
        set(&mut found, &name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str, name: &str) -> Option<String> {
        parse(text).unwrap().get(name).cloned()
    }

    #[test]
    fn urls() {
        let url = "postgres://a%40b:p%3Aw@h1:1,[::1]:2/d%20b?sslmode=verify-full&application_name=x";
        assert_eq!(get(url, "user").as_deref(), Some("a@b"));
        assert_eq!(get(url, "password").as_deref(), Some("p:w"));
        assert_eq!(get(url, "host").as_deref(), Some("h1,::1"));
        assert_eq!(get(url, "port").as_deref(), Some("1,2"));
        assert_eq!(get(url, "dbname").as_deref(), Some("d b"));
        assert_eq!(get(url, "sslmode").as_deref(), Some("verify-full"));
        assert_eq!(get("postgresql:///db?host=/var/run", "host").as_deref(), Some("/var/run"));
        assert_eq!(get("postgres://", "host"), None);
        assert!(parse("postgres://h/d?x").is_err());
        assert_eq!(get("postgres://u:p@ss@h/d", "password").as_deref(), Some("p@ss"));
        assert_eq!(get("postgres://h/d?user=a@b&password=p@ss", "password").as_deref(), Some("p@ss"));
        for url in ["postgres://u:12/secret@h/d", "postgres://u:p?secret@h/d", "postgres://u:p?secret=1@h/d"]
        {
            let error = parse(url).unwrap_err();
            assert!(error.contains("%2F") && !error.contains("secret"), "{error}");
        }
        for text in ["postgres:/u:secret@h/d", "user:secret@h", "postgres:/u:secret@h?sslmode=require x"] {
            let error = parse(text).err().unwrap_or_default();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(parse("postgres://u:%zz@h/d").unwrap_err().contains("password"));
    }

    #[test]
    fn key_value_pairs() {
        let text = r"host = localhost port=5433 dbname='a b' password='it\'s' user=u\ v";
        assert_eq!(get(text, "dbname").as_deref(), Some("a b"));
        assert_eq!(get(text, "password").as_deref(), Some("it's"));
        assert_eq!(get(text, "user").as_deref(), Some("u v"));
        assert!(parse("host").is_err());
        assert!(parse("host='x").is_err());
    }
}
