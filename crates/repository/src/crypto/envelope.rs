//! The key envelope: the part of `dbhaul.json` that opens an encrypted repository.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::crypto::crypt::{Crypt, Unpack, decrypt, encrypt};
use crate::crypto::keys::unhex;
use crate::format::document::hex;
use crate::tasks::blocking;
use crate::{Access, Error, Identity, Passphrase, Recipient, RepositoryKey};

/// scrypt work factor of passphrases: 2^17 blocks, which takes 128 MiB and a fraction of a second.
const WORK: u8 = 17;
/// Limit for the work factor, because a malicious `dbhaul.json` could exhaust memory.
const MAX_WORK_FACTOR: u8 = 18;

/// `encryption` in `dbhaul.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Envelope {
    /// `age`.
    scheme: String,
    /// Recipients of new data.
    recipients: Vec<String>,
    /// The repository key, as an age file for the recipients, in base64.
    key: String,
    /// An identity, as an age file for a passphrase, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passphrase_identity: Option<String>,
}

/// Recipients of a new repository. At least one of the two is given.
#[derive(Debug, Clone, Default)]
pub struct Encryption {
    /// Public halves of identities that are kept elsewhere.
    pub recipients: Vec<Recipient>,
    /// Creates an identity, and stores it in `dbhaul.json` encrypted with this passphrase.
    pub passphrase: Option<Passphrase>,
}

fn damaged(message: impl Into<String>) -> Error {
    Error::Damaged { object: "dbhaul.json".to_owned(), message: message.into() }
}

impl Envelope {
    /// Creates the key of the repository with this id, and its envelope.
    pub(crate) async fn new(repository: &str, wanted: &Encryption) -> Result<(Envelope, Crypt), Error> {
        let mut recipients = wanted.recipients.clone();
        let mut identities = Vec::new();
        let mut passphrase_identity = None;
        if let Some(passphrase) = wanted.passphrase.clone() {
            let identity = Identity::generate();
            recipients.push(identity.recipient());
            let secret = identity.to_file();
            let file = blocking(move || protect(secret.as_bytes(), &passphrase)).await?;
            passphrase_identity = Some(STANDARD.encode(file.map_err(|e| damaged(e.to_string()))?));
            identities.push(identity);
        }
        let crypt = Crypt::new(RepositoryKey::generate(repository.to_owned()), recipients, identities);
        let envelope = Envelope {
            scheme: "age".to_owned(),
            recipients: Vec::new(),
            key: String::new(),
            passphrase_identity,
        };
        Ok((envelope.rewrap(&crypt)?, crypt))
    }

    /// The same envelope for the recipients of `crypt`.
    pub(crate) fn rewrap(mut self, crypt: &Crypt) -> Result<Envelope, Error> {
        let Some(key) = crypt.key() else { return Err(damaged("it has no key")) };
        if crypt.recipients().is_empty() {
            return Err(Error::Key {
                what: "the list of recipients".to_owned(),
                message: "it would be empty, and nobody could decrypt new data".to_owned(),
            });
        }
        let file = encrypt(hex(key.bytes()).as_bytes(), crypt.recipients());
        self.key = STANDARD.encode(file.map_err(|e| damaged(e.to_string()))?);
        self.recipients = crypt.recipients().iter().map(ToString::to_string).collect();
        Ok(self)
    }

    /// Whether it contains an identity encrypted with a passphrase.
    pub(crate) fn has_passphrase(&self) -> bool {
        self.passphrase_identity.is_some()
    }

    /// The recipients of the identities that this passphrase decrypts; `None` if there are none.
    pub(crate) async fn passphrase_recipients(
        &self,
        passphrase: &Passphrase,
    ) -> Result<Option<Vec<Recipient>>, Error> {
        let Some(protected) = &self.passphrase_identity else { return Ok(None) };
        let file = STANDARD.decode(protected).map_err(|e| damaged(e.to_string()))?;
        let passphrase = passphrase.clone();
        let identities = blocking(move || unprotect(&file, &passphrase)).await??;
        Ok(Some(identities.iter().map(Identity::recipient).collect()))
    }

    /// Opens the envelope with the keys in `access`.
    pub(crate) async fn open(&self, repository: &str, access: &Access) -> Result<Crypt, Error> {
        if self.scheme != "age" {
            return Err(damaged(format!("it uses the unknown encryption `{}`", self.scheme)));
        }
        let recipients =
            self.recipients.iter().map(|text| text.parse()).collect::<Result<Vec<Recipient>, Error>>()?;
        let mut identities = access.identities.clone();
        if let (Some(passphrase), Some(protected)) = (&access.passphrase, &self.passphrase_identity) {
            let file = STANDARD.decode(protected).map_err(|e| damaged(e.to_string()))?;
            let passphrase = passphrase.clone();
            identities.extend(blocking(move || unprotect(&file, &passphrase)).await??);
        }
        if let Some(key) = &access.key {
            if key.repository() != repository {
                return Err(Error::Key {
                    what: "the key file".to_owned(),
                    message: format!(
                        "it belongs to repository {}, but this one is {repository}",
                        key.repository()
                    ),
                });
            }
            return Ok(Crypt::new(key.clone(), recipients, identities));
        }
        if identities.is_empty() {
            return Err(Error::Locked { what: "the repository".to_owned() });
        }
        let file = STANDARD.decode(&self.key).map_err(|e| damaged(e.to_string()))?;
        let opened = decrypt(&file, &identities).map_err(|e| match e {
            Unpack::Locked => Error::Locked { what: "the repository".to_owned() },
            Unpack::OtherRecipients => Error::Key {
                what: "the repository's key".to_owned(),
                message:
                    "none of the given identities can decrypt it: it is encrypted for other recipients, or damaged"
                        .to_owned(),
            },
            Unpack::Damaged(message) => Error::Key { what: "the repository's key".to_owned(), message },
        })?;
        let bytes = std::str::from_utf8(&opened).ok().and_then(unhex);
        let bytes = bytes.ok_or_else(|| damaged("the key in it is not 64 hexadecimal digits"))?;
        Ok(Crypt::new(RepositoryKey::from_bytes(repository, bytes), recipients, identities))
    }
}

/// Encrypts with a passphrase.
fn protect(bytes: &[u8], passphrase: &Passphrase) -> std::io::Result<Vec<u8>> {
    use std::io::Write as _;
    let mut recipient = age::scrypt::Recipient::new(passphrase.secret());
    recipient.set_work_factor(WORK);
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        .map_err(|e| std::io::Error::other(e.to_string()))?;
    let mut out = Vec::new();
    let mut writer = encryptor.wrap_output(&mut out)?;
    writer.write_all(bytes)?;
    writer.finish()?;
    Ok(out)
}

/// The identities that a passphrase decrypts.
fn unprotect(file: &[u8], passphrase: &Passphrase) -> Result<Vec<Identity>, Error> {
    use std::io::Read as _;
    let wrong = |message: String| Error::Key { what: "the passphrase".to_owned(), message };
    let mut identity = age::scrypt::Identity::new(passphrase.secret());
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    let decryptor = age::Decryptor::new_buffered(file).map_err(|e| damaged(e.to_string()))?;
    let mut reader = decryptor
        .decrypt(std::iter::once(&identity as &dyn age::Identity))
        .map_err(|e| wrong(format!("it does not decrypt this repository: {e}")))?;
    let mut text = String::new();
    reader.read_to_string(&mut text).map_err(|e| wrong(e.to_string()))?;
    Identity::parse_file(&text)
}
