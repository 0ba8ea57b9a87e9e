//! Documents: the JSON objects of a repository. Each ends in a line of its own that holds the SHA-256 of everything
//! before it, so that a flipped bit in a manifest is found as surely as one in a chunk. Stock tools can check it:
//! `head -n -1 FILE | sha256sum`, `tail -n 1 FILE`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::Error;

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A document as it is stored: indented, so that a person can read it, and sealed.
pub(crate) fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    // Every type that is stored serializes: maps have string keys, and no serializer here fails by itself.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    let seal = trailer(&text);
    text.extend_from_slice(&seal);
    text
}

/// The last line for this text.
fn trailer(text: &[u8]) -> Vec<u8> {
    format!("{{\"sha256\":\"{}\"}}\n", hex(&Sha256::digest(text))).into_bytes()
}

/// The document without its seal.
pub(crate) fn unseal<'a>(object: &str, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
    let damaged = |message: &str| Error::Damaged { object: object.to_owned(), message: message.to_owned() };
    let length = trailer(b"").len();
    let at = bytes.len().checked_sub(length).ok_or_else(|| damaged("it is cut short"))?;
    let (text, seal) = bytes.split_at_checked(at).ok_or_else(|| damaged("it is cut short"))?;
    if seal == trailer(text) {
        Ok(text)
    } else {
        Err(damaged("its text is not what its last line says (SHA-256)"))
    }
}

/// Checks the seal and the format's version, and reads the document.
pub(crate) fn read<T: DeserializeOwned>(object: &str, bytes: &[u8]) -> Result<T, Error> {
    let damaged = |message: String| Error::Damaged { object: object.to_owned(), message };
    let text = unseal(object, bytes)?;
    // The format first, so that a document from a newer version is told from a damaged one.
    #[derive(serde::Deserialize)]
    struct Head {
        format: u64,
    }
    let head: Head = serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))?;
    if head.format > crate::FORMAT {
        return Err(Error::Format { object: object.to_owned(), found: head.format, known: crate::FORMAT });
    }
    serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let sealed = seal(&serde_json::json!({ "format": 0, "name": "x" }));
        assert!(read::<serde_json::Value>("o", &sealed).is_ok());
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal("o", &bad).unwrap_err().is_damaged());
        }
        for length in 0..sealed.len() {
            assert!(unseal("o", &sealed[..length]).is_err());
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let error = read::<serde_json::Value>("o", &seal(&serde_json::json!({ "format": 7 }))).unwrap_err();
        assert!(matches!(error, Error::Format { found: 7, .. }));
    }
}
