//! Keys: identities that decrypt, recipients to encrypt to, and the repository key, which names chunks and signs
//! documents.
//!
//! Three kinds, so that each machine holds no more than it needs. An *identity* decrypts backups, and belongs where
//! restores are run. A *recipient* is its public half, and is stored in `dbhaul.json`. The *repository key* is what a
//! backup host holds: chunk ids depend on it, so that a reader of the store cannot test whether a known chunk is
//! stored, and it signs documents, so that a writer to the store cannot forge them. It decrypts nothing.

use std::fmt;
use std::str::FromStr;

use age::secrecy::{ExposeSecret as _, SecretString};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::Error;
use crate::format::document::hex;

/// The prefix of the only significant line of a key file.
const KEY_LINE: &str = "DBHAUL-REPOSITORY-KEY-1";

fn unusable(what: &str, message: impl Into<String>) -> Error {
    Error::Key { what: what.to_owned(), message: message.into() }
}

/// HMAC-SHA-256.
pub(crate) fn hmac(key: &[u8; 32], pieces: &[&[u8]]) -> [u8; 32] {
    // HMAC accepts keys of any length, so the fallback is never reached; it would only produce wrong names.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().into()
}

/// An age X25519 identity, which decrypts what was encrypted to its recipient.
#[derive(Clone)]
pub struct Identity(age::x25519::Identity);

impl Identity {
    /// A new one.
    pub fn generate() -> Identity {
        Identity(age::x25519::Identity::generate())
    }

    /// Parses a file as written by `age-keygen`: one identity per line, with comments.
    pub fn parse_file(text: &str) -> Result<Vec<Identity>, Error> {
        let what = "the identity file";
        let mut found = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with("age-encryption.org/v1") || line.starts_with("-----BEGIN AGE") {
                return Err(unusable(what, "it is itself encrypted: decrypt it first with `age -d`"));
            }
            // The line may contain the secret: do not quote it.
            found.push(Identity(line.parse().map_err(|e| {
                unusable(
                    what,
                    format!("line {} is not an X25519 identity (AGE-SECRET-KEY-1…): {e}", number + 1),
                )
            })?));
        }
        if found.is_empty() {
            Err(unusable(what, "it contains no identity (AGE-SECRET-KEY-1…)"))
        } else {
            Ok(found)
        }
    }

    /// Its public half.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// The text of an identity file. It is a secret that decrypts backups.
    pub fn to_file(&self) -> String {
        format!(
            "# A dbhaul identity, in the form of age: it decrypts backups. Keep it where restores are done, never on a \
             backup host,\n# and keep a second copy: without it, nothing that was encrypted to it can ever be read.\n\
             # recipient: {}\n{}\n",
            self.recipient(),
            self.0.to_string().expose_secret()
        )
    }

    pub(crate) fn inner(&self) -> &dyn age::Identity {
        &self.0
    }
}

/// Shows only the public half.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.recipient().to_string()).finish()
    }
}

/// An age X25519 recipient: the public half of an identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(age::x25519::Recipient);

impl Recipient {
    pub(crate) fn inner(&self) -> &dyn age::Recipient {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Recipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Recipient, Error> {
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            return Err(unusable(
                "the recipient",
                "this is an identity, which is secret; a recipient begins with age1",
            ));
        }
        text.parse().map(Recipient).map_err(|e| {
            unusable("the recipient", format!("`{text}` is not an age X25519 recipient (age1…): {e}"))
        })
    }
}

/// A passphrase.
#[derive(Clone)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// A passphrase with this text, which must not be empty.
    pub fn new(text: impl Into<String>) -> Result<Passphrase, Error> {
        let text = text.into();
        if text.is_empty() {
            return Err(unusable("the passphrase", "it is empty"));
        }
        Ok(Passphrase(text.into()))
    }

    pub(crate) fn secret(&self) -> SecretString {
        self.0.clone()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// What a backup host holds of an encrypted repository: sufficient to name chunks and sign documents, but not to
/// decrypt.
#[derive(Clone, PartialEq, Eq)]
pub struct RepositoryKey {
    repository: String,
    bytes: [u8; 32],
}

impl RepositoryKey {
    pub(crate) fn generate(repository: String) -> RepositoryKey {
        let mut bytes = [0; 32];
        for half in bytes.chunks_mut(16) {
            // A version 4 UUID has 122 random bits from the operating system; three of them, hashed below, contain
            // more than the 256 bits of the key.
            half.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        }
        let third = uuid::Uuid::new_v4();
        RepositoryKey { repository, bytes: hmac(&bytes, &[third.as_bytes()]) }
    }

    pub(crate) fn from_bytes(repository: &str, bytes: [u8; 32]) -> RepositoryKey {
        RepositoryKey { repository: repository.to_owned(), bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Derives a separate key for each purpose: chunk ids are public, so no chunk id may be usable as a key or a
    /// signature.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        hmac(&self.bytes, &[purpose.as_bytes()])
    }

    /// The repository it belongs to.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Parses a key file.
    pub fn parse_file(text: &str) -> Result<RepositoryKey, Error> {
        let what = "the key file";
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let mut words = line.unwrap_or_default().split_ascii_whitespace();
        let (Some(KEY_LINE), Some(repository), Some(key), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(unusable(what, format!("it has no line `{KEY_LINE} …`")));
        };
        let bytes = unhex(key).ok_or_else(|| unusable(what, "its key is not 64 hexadecimal digits"))?;
        Ok(RepositoryKey { repository: repository.to_owned(), bytes })
    }

    /// The key file's text.
    pub fn to_file(&self) -> String {
        format!(
            "# The key of a dbhaul repository, for a host that writes backups: it cannot decrypt them.\n\
             # Keep it from those who hold the store: with it they could forge a backup, or tell whether a known chunk \
             is stored.\n{KEY_LINE} {} {}\n",
            self.repository,
            hex(&self.bytes)
        )
    }
}

impl fmt::Debug for RepositoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryKey").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// Parses 64 hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        let digits = text.get(at..at + 2)?;
        // `from_str_radix` would accept a sign.
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

/// Credentials to open an encrypted repository. An identity or the passphrase gives full access; the repository key
/// alone allows writing, listing, forgetting, pruning and checking, but not reading data.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The key of a backup host.
    pub key: Option<RepositoryKey>,
    /// The identities of a restoring host.
    pub identities: Vec<Identity>,
    /// An alternative to an identity, if the repository was created with one.
    pub passphrase: Option<Passphrase>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_files_read_back_and_show_no_secret() {
        let key = RepositoryKey::generate("0123".to_owned());
        assert_eq!(RepositoryKey::parse_file(&key.to_file()).unwrap(), key);
        assert!(!format!("{key:?}").contains(&hex(&key.bytes)));
        for bad in ["", "# only words", "DBHAUL-REPOSITORY-KEY-1 a", "DBHAUL-REPOSITORY-KEY-1 a +1", "X a b"]
        {
            assert!(RepositoryKey::parse_file(bad).is_err(), "{bad}");
        }
        let identity = Identity::generate();
        let text = identity.to_file();
        assert_eq!(Identity::parse_file(&text).unwrap()[0].recipient(), identity.recipient());
        let secret = text.lines().last().unwrap();
        assert!(!format!("{identity:?}").contains(secret));
        let error = secret.parse::<Recipient>().unwrap_err().to_string();
        assert!(!error.contains(secret), "{error}");
        let error = Identity::parse_file(&secret[..40]).unwrap_err().to_string();
        assert!(!error.contains(&secret[16..40]), "{error}");
    }

    /// RFC 4231, test case 2 has a short key; a key of 32 bytes is checked against Python's hmac.
    #[test]
    fn the_hmac_is_the_usual_one() {
        let mac = hmac(&[7; 32], &[b"ab", b"c"]);
        assert_eq!(hex(&mac), "127da4ced6a839b8f6118bc244684d2663e70cb5ff0adeefca89d7e74d5a0525");
    }
}
