//! Server versions, compared number by number.

use std::fmt;
use std::str::FromStr;

/// A server's version; missing numbers are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version([u32; 3]);

impl Version {
    /// The first number.
    pub fn major(self) -> u32 {
        self.0[0]
    }

    /// The second number.
    pub fn minor(self) -> u32 {
        self.0[1]
    }

    /// True when this has the same first two numbers as `other`, or larger ones.
    pub fn same_or_newer_minor(self, other: &Version) -> bool {
        (self.0[0], self.0[1]) >= (other.0[0], other.0[1])
    }

    /// The first version in a text, such as the 15.18 of "postgres (PostgreSQL) 15.18 (Debian …)".
    pub(crate) fn find_in(text: &str) -> Option<Version> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .filter(|word| word.contains('.') || word.len() > 1)
            .find_map(|word| word.parse().ok())
    }
}

impl FromStr for Version {
    type Err = String;

    /// Parses `15`, `15.18`, `8.2.3`, and ignores what follows a number ("18beta1" is 18).
    fn from_str(text: &str) -> Result<Version, String> {
        let mut numbers = [0; 3];
        for (at, word) in text.trim().splitn(3, '.').enumerate() {
            let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
            match (digits.parse(), numbers.get_mut(at)) {
                (Ok(number), Some(slot)) => *slot = number,
                _ if at == 0 => return Err(format!("`{text}` is not a version")),
                _ => break,
            }
        }
        Ok(Version(numbers))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        if patch == 0 { write!(f, "{major}.{minor}") } else { write!(f, "{major}.{minor}.{patch}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_and_compared() {
        let pg = Version::find_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)").unwrap();
        assert_eq!(pg.to_string(), "15.18");
        let redis = Version::find_in("Redis server v=8.2.3 sha=00000000:0 malloc=libc bits=64").unwrap();
        assert_eq!(redis.to_string(), "8.2.3");
        assert!("8.2".parse::<Version>().unwrap() < redis);
        assert!(redis.same_or_newer_minor(&"8.2.9".parse().unwrap()));
        assert!("no".parse::<Version>().is_err());
    }
}
