//! Naming and packing of chunks, and signing of documents. Without encryption, SHA-256 replaces the keyed hashes, and
//! zstd frames are not encrypted.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zstd::bulk::Compressor;

use crate::crypto::keys::hmac;
use crate::crypto::recipient_sets::RecipientSets;
use crate::format::chunk::ChunkId;
use crate::format::document;
use crate::format::document::hex;
use crate::{Error, Identity, Recipient, RepositoryKey};

/// How this repository names, packs and signs. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crypt(Option<Arc<Keys>>);

#[derive(Debug)]
struct Keys {
    /// Key for chunk ids.
    ids: [u8; 32],
    /// Key for signatures of documents.
    documents: [u8; 32],
    key: RepositoryKey,
    recipients: Vec<Recipient>,
    identities: Vec<Identity>,
    sets: RecipientSets,
}

/// Why packed bytes cannot be read.
#[derive(Debug)]
pub(crate) enum Unpack {
    /// They are encrypted, and no identity was given.
    Locked,
    /// They are encrypted, but not for any of the given identities. Damage to the header of an age file, which
    /// contains its key, looks the same.
    OtherRecipients,
    /// They are damaged.
    Damaged(String),
}

impl Crypt {
    pub(crate) fn new(key: RepositoryKey, recipients: Vec<Recipient>, identities: Vec<Identity>) -> Crypt {
        let (ids, documents) = (key.derive("dbhaul chunk ids"), key.derive("dbhaul documents"));
        let sets = RecipientSets::new(&documents, &[], &recipients);
        Crypt(Some(Arc::new(Keys { ids, documents, key, recipients, identities, sets })))
    }

    /// The same keys, with the sets of recipients from `dbhaul.json`.
    pub(crate) fn with_history(self, history: &[Vec<String>]) -> Crypt {
        let Some(keys) = &self.0 else { return self };
        let sets = RecipientSets::new(&keys.documents, history, &keys.recipients);
        let (key, recipients, identities) =
            (keys.key.clone(), keys.recipients.clone(), keys.identities.clone());
        let (ids, documents) = (keys.ids, keys.documents);
        Crypt(Some(Arc::new(Keys { ids, documents, key, recipients, identities, sets })))
    }

    /// The sets of recipients.
    pub(crate) fn sets(&self) -> &RecipientSets {
        static NONE: RecipientSets = RecipientSets::none();
        self.0.as_ref().map_or(&NONE, |keys| &keys.sets)
    }

    /// The same keys, with only those identities that belong to current recipients.
    pub(crate) fn of_current_recipients(&self) -> Crypt {
        let Some(keys) = &self.0 else { return Crypt(None) };
        let current =
            keys.identities.iter().filter(|identity| keys.recipients.contains(&identity.recipient()));
        let current = current.cloned().collect();
        Crypt::new(keys.key.clone(), keys.recipients.clone(), current).with_history(&keys.sets.history())
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.is_some()
    }

    /// False if data is encrypted and no identity was given.
    pub(crate) fn can_read(&self) -> bool {
        self.0.as_ref().is_none_or(|keys| !keys.identities.is_empty())
    }

    pub(crate) fn key(&self) -> Option<&RepositoryKey> {
        self.0.as_ref().map(|keys| &keys.key)
    }

    pub(crate) fn recipients(&self) -> &[Recipient] {
        self.0.as_ref().map_or(&[], |keys| &keys.recipients)
    }

    /// The same keys, with other recipients.
    pub(crate) fn with_recipients(&self, recipients: Vec<Recipient>) -> Crypt {
        match &self.0 {
            Some(keys) => Crypt::new(keys.key.clone(), recipients, keys.identities.clone())
                .with_history(&keys.sets.history()),
            None => Crypt(None),
        }
    }

    /// Whether both compute the same chunk ids.
    pub(crate) fn names_like(&self, other: &Crypt) -> bool {
        self.0.as_ref().map(|keys| keys.ids) == other.0.as_ref().map(|keys| keys.ids)
    }

    /// Id of a chunk.
    pub(crate) fn name(&self, plain: &[u8]) -> ChunkId {
        match &self.0 {
            Some(keys) => ChunkId::from_bytes(hmac(&keys.ids, &[plain])),
            None => ChunkId::of(plain),
        }
    }

    /// The identity of a source as stored in the open: a keyed hash if the repository is encrypted.
    pub(crate) fn identity_as_stored(&self, identity: &str) -> String {
        match &self.0 {
            Some(keys) => {
                let key = keys.key.derive("dbhaul source identities");
                format!("hmac-sha256:{}", hex(&hmac(&key, &[identity.as_bytes()])))
            }
            None => identity.to_owned(),
        }
    }

    /// Compresses, and encrypts if the repository is encrypted.
    pub(crate) fn pack(&self, plain: &[u8], compressor: &mut Compressor<'_>) -> std::io::Result<Vec<u8>> {
        let mut packed = compressor.compress(plain)?;
        // The buffer was allocated for the worst case, and may wait for its upload.
        packed.shrink_to_fit();
        match &self.0 {
            Some(keys) => encrypt(&packed, &keys.recipients),
            None => Ok(packed),
        }
    }

    fn decrypted<'a>(&self, packed: &'a [u8]) -> Result<Cow<'a, [u8]>, Unpack> {
        match &self.0 {
            Some(keys) => decrypt(packed, &keys.identities).map(Cow::Owned),
            None => Ok(Cow::Borrowed(packed)),
        }
    }

    /// Unpacks an unknown number of bytes; more than `most` are treated as damage. Memory grows with the actual data.
    pub(crate) fn unpack_at_most(&self, packed: &[u8], most: usize) -> Result<Vec<u8>, Unpack> {
        let damaged = |e: std::io::Error| Unpack::Damaged(e.to_string());
        let compressed = self.decrypted(packed)?;
        let decoder = zstd::stream::read::Decoder::new(compressed.as_ref()).map_err(damaged)?;
        let mut bytes = Vec::new();
        decoder.take(most as u64 + 1).read_to_end(&mut bytes).map_err(damaged)?;
        if bytes.len() > most {
            return Err(Unpack::Damaged(format!("it holds more than {most} bytes")));
        }
        Ok(bytes)
    }

    /// Unpacks exactly this number of bytes; any other number is damage.
    pub(crate) fn unpack(&self, packed: &[u8], plain: usize) -> Result<Vec<u8>, Unpack> {
        let compressed = self.decrypted(packed)?;
        // One byte more, to detect excess data.
        let bytes = zstd::bulk::decompress(&compressed, plain.saturating_add(1))
            .map_err(|e| Unpack::Damaged(e.to_string()))?;
        if bytes.len() == plain {
            Ok(bytes)
        } else {
            Err(Unpack::Damaged(format!("it holds {} bytes instead of {plain}", bytes.len())))
        }
    }

    /// A document as stored under this name: with checksum, and signed if there is a key.
    pub(crate) fn seal<T: Serialize>(&self, object: &str, value: &T) -> Vec<u8> {
        document::seal(value, |text| self.sign(object, text))
    }

    /// The signature covers the name too, so that documents cannot be swapped.
    fn sign(&self, object: &str, text: &[u8]) -> Option<[u8; 32]> {
        self.0.as_ref().map(|keys| hmac(&keys.documents, &[object.as_bytes(), b"\n", text]))
    }

    /// The text of a document, if it was sealed under this name.
    pub(crate) fn unseal<'a>(&self, object: &str, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        document::unseal(object, bytes, |text| self.sign(object, text))
    }

    /// The same, deserialized.
    pub(crate) fn read<T: DeserializeOwned>(&self, object: &str, bytes: &[u8]) -> Result<T, Error> {
        document::parse(object, self.unseal(object, bytes)?)
    }
}

/// Encrypts as an age file.
pub(crate) fn encrypt(bytes: &[u8], recipients: &[Recipient]) -> std::io::Result<Vec<u8>> {
    let encryptor = age::Encryptor::with_recipients(recipients.iter().map(Recipient::inner))
        .map_err(|e| std::io::Error::other(e.to_string()))?;
    // The header takes about 100 bytes per recipient, and each 64 KiB of data 16 more.
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4096 + 256 + recipients.len() * 128);
    let mut writer = encryptor.wrap_output(&mut out)?;
    writer.write_all(bytes)?;
    writer.finish()?;
    Ok(out)
}

/// Decrypts an age file. The result is shorter than the file.
pub(crate) fn decrypt(file: &[u8], identities: &[Identity]) -> Result<Vec<u8>, Unpack> {
    if identities.is_empty() {
        return Err(Unpack::Locked);
    }
    let damaged = |e: age::DecryptError| match e {
        age::DecryptError::NoMatchingKeys => Unpack::OtherRecipients,
        other => Unpack::Damaged(format!("it cannot be decrypted: {other}")),
    };
    let decryptor = age::Decryptor::new_buffered(file).map_err(damaged)?;
    let mut reader = decryptor.decrypt(identities.iter().map(Identity::inner)).map_err(damaged)?;
    let mut out = Vec::with_capacity(file.len());
    reader.read_to_end(&mut out).map_err(|e| Unpack::Damaged(format!("it cannot be decrypted: {e}")))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_of_another_size_is_damage() {
        let identity = Identity::generate();
        let key = RepositoryKey::generate("r".into());
        let locked = Crypt::new(key.clone(), vec![identity.recipient()], Vec::new());
        let open = Crypt::new(key, vec![identity.recipient()], vec![identity]);
        for crypt in [Crypt::default(), open.clone()] {
            let packed = crypt.pack(b"hello", &mut Compressor::new(3).unwrap()).unwrap();
            assert_eq!(crypt.unpack(&packed, 5).unwrap(), b"hello");
            assert!(crypt.unpack(&packed, 4).is_err());
            assert!(crypt.unpack(&packed, 6).is_err());
            assert!(crypt.unpack(b"junk", 5).is_err());
        }
        let packed = locked.pack(b"hello", &mut Compressor::new(3).unwrap()).unwrap();
        assert!(matches!(locked.unpack(&packed, 5), Err(Unpack::Locked)));
        assert!(matches!(
            Crypt::new(RepositoryKey::generate("r".into()), vec![], vec![Identity::generate()])
                .unpack(&packed, 5),
            Err(Unpack::OtherRecipients)
        ));
        for bit in 0..packed.len() * 8 {
            let mut bad = packed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open.unpack(&bad, 5).is_err(), "bit {bit}");
        }
        assert_ne!(open.name(b"x"), ChunkId::of(b"x"));
        assert_eq!(open.name(b"x"), locked.name(b"x"));
    }

    #[test]
    fn a_signed_document_is_bound_to_its_name_and_key() {
        let identity = Identity::generate();
        let crypt = |key| Crypt::new(key, vec![identity.recipient()], Vec::new());
        let ours = crypt(RepositoryKey::generate("r".into()));
        let value = serde_json::json!({ "format": 1, "x": "y" });
        let sealed = ours.seal("a", &value);
        assert_eq!(ours.read::<serde_json::Value>("a", &sealed).unwrap(), value);
        assert!(ours.unseal("b", &sealed).is_err());
        assert!(crypt(RepositoryKey::generate("r".into())).unseal("a", &sealed).is_err());
        assert!(ours.unseal("a", &Crypt::default().seal("a", &value)).is_err(), "an unsigned one is refused");
    }
}
