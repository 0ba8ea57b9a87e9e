//! Hides secrets in URLs: the last line of defence for messages that quote user input.
//!
//! If a password contains a raw `@`, `/` or `?`, the URL parses differently than intended, and pieces of the password
//! become a host, a database or an option, which messages name. Therefore the user information is taken to extend to
//! the last `@` of the word.

/// The text with passwords in URLs and connection strings hidden.
pub(crate) fn redact(text: &str) -> String {
    hide_pairs(&hide_urls(text))
}

/// A URL without user information, also in a URL in its query: for stores, which take no credentials in URLs.
pub(crate) fn without_user(url: &str) -> String {
    let (first, query) = url.split_once('?').map_or((url, None), |(first, query)| (first, Some(query)));
    // With an `@` in it, an apparent query may be a password with a `?`.
    let Some(query) = query.filter(|query| query.contains("://") || !query.contains('@')) else {
        return without(url);
    };
    let options: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if value.contains('@') || value.contains("%40") => format!("{name}=…"),
            _ => without(pair),
        })
        .collect();
    format!("{}?{}", without(first), options.join("&"))
}

fn without(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, rest)), Some((_, host))) if rest.contains('@') => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

/// Characters that end a URL in a sentence.
fn ends(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>')
}

/// `scheme://user:password@host` becomes `scheme://user:…@host`.
fn hide_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let word = after.split(ends).next().unwrap_or_default();
        // In a word of several URLs, each is handled separately.
        let word = word.split_once("://").map_or(word, |(first, _)| first);
        rest = after.get(word.len()..).unwrap_or_default();
        match word.rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split([':', '/', '?']).next().unwrap_or_default();
                out.push_str(user);
                if user.len() < login.len() {
                    out.push_str(":…");
                }
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(word),
        }
    }
    out.push_str(rest);
    out
}

/// `password=secret` and `password='a secret'` become `password=…`.
fn hide_pairs(text: &str) -> String {
    const NAME: &str = "password=";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(NAME) {
        out.push_str(before);
        out.push_str(NAME);
        out.push('…');
        rest = match after.strip_prefix('\'') {
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.find(|c| {
                    let closes = c == '\'' && !escaped;
                    escaped = c == '\\' && !escaped;
                    closes
                });
                end.and_then(|end| quoted.get(end + 1..)).unwrap_or_default()
            }
            None => after.find(|c| ends(c) || c == '&').and_then(|end| after.get(end..)).unwrap_or_default(),
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_ends_with_the_last_at_sign() {
        for (text, expected) in [
            ("no postgres://u:secret@h/d here", "no postgres://u:…@h/d here"),
            ("postgres://u:se@cret@h:1/d", "postgres://u:…@h:1/d"),
            ("`postgres://u:se/cret@h/d`", "`postgres://u:…@h/d`"),
            ("postgres://u:se?cret@h/d", "postgres://u:…@h/d"),
            ("redis://:secret@h", "redis://:…@h"),
            ("'redis://u:a@b@[::1]:1', no", "'redis://u:…@[::1]:1', no"),
            ("two redis://u:secret@a redis://v:secret@b", "two redis://u:…@a redis://v:…@b"),
            ("s3://b?endpoint=http://u:secret@h:1", "s3://b?endpoint=http://u:…@h:1"),
            ("host=h password=secret user=u", "host=h password=… user=u"),
            ("password='a \\'secret' user=u", "password=… user=u"),
            ("postgres://h/d?password=secret&sslmode=require", "postgres://h/d?password=…&sslmode=require"),
            ("at postgres://u@h:1/d", "at postgres://u@h:1/d"),
            ("s3://bucket/prefix, and a://b", "s3://bucket/prefix, and a://b"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn a_store_shows_no_user_at_all() {
        for (url, expected) in [
            ("s3://key:se@cret@bucket/p", "s3://…@bucket/p"),
            ("s3://key:se/cret@bucket/p", "s3://…@bucket/p"),
            ("s3://key:se?cret@bucket/p", "s3://…@bucket/p"),
            ("s3://b/p?endpoint=http://key:secret@h:1&region=x", "s3://b/p?endpoint=…&region=x"),
            ("s3://b/p?endpoint=http%3A%2F%2Fkey%3Asecret%40h", "s3://b/p?endpoint=…"),
            ("s3://b/p?endpoint=http://h:1", "s3://b/p?endpoint=http://h:1"),
            ("/var/backups", "/var/backups"),
        ] {
            assert_eq!(without_user(url), expected);
        }
    }
}
