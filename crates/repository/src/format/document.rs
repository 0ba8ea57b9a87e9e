//! Documents: the JSON objects of a repository. The last line of each is the SHA-256 of everything before it, so that
//! a flipped bit in a manifest is detected as in a chunk. Standard tools can check it: `head -n -1 FILE | sha256sum`,
//! `tail -n 1 FILE`. In an encrypted repository that line also contains a keyed hash.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::Error;

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The stored form of a document. `sign` returns the keyed hash of its text, if there is a key.
pub(crate) fn seal<T: Serialize>(value: &T, sign: impl FnOnce(&[u8]) -> Option<[u8; 32]>) -> Vec<u8> {
    // Serialization of these types cannot fail: maps have string keys, and no custom serializer returns an error.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    let seal = trailer(&text, sign(&text));
    text.extend_from_slice(&seal);
    text
}

/// The last line for this text.
fn trailer(text: &[u8], signature: Option<[u8; 32]>) -> Vec<u8> {
    let signed = signature.map(|mac| format!(",\"hmac\":\"{}\"", hex(&mac))).unwrap_or_default();
    format!("{{\"sha256\":\"{}\"{signed}}}\n", hex(&Sha256::digest(text))).into_bytes()
}

/// The document without its last line, after its checks.
pub(crate) fn unseal<'a>(
    object: &str,
    bytes: &'a [u8],
    sign: impl FnOnce(&[u8]) -> Option<[u8; 32]>,
) -> Result<&'a [u8], Error> {
    let damaged = |message: &str| Error::Damaged { object: object.to_owned(), message: message.to_owned() };
    let (text, seal) = split(bytes).ok_or_else(|| damaged("it is cut short"))?;
    let signature = sign(text);
    if seal == trailer(text, signature) {
        return Ok(text);
    }
    Err(damaged(if signature.is_some() && seal.get(..75) == trailer(text, None).get(..75) {
        "its last line is not signed with this repository's key: it was written by another, or under another name"
    } else {
        "its content does not match the SHA-256 in its last line"
    }))
}

/// The text of a document without checking its signature: `dbhaul.json`, which contains the key.
pub(crate) fn unseal_unsigned<'a>(object: &str, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
    let damaged = |message: &str| Error::Damaged { object: object.to_owned(), message: message.to_owned() };
    let (text, seal) = split(bytes).ok_or_else(|| damaged("it is cut short"))?;
    if seal.get(..75) == trailer(text, None).get(..75) {
        Ok(text)
    } else {
        Err(damaged("its content does not match the SHA-256 in its last line"))
    }
}

/// Splits into text and last line.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.strip_suffix(b"\n")?;
    let at = end.iter().rposition(|byte| *byte == b'\n')?;
    bytes.split_at_checked(at.checked_add(1)?)
}

/// Checks the format version, then parses a document's text.
pub(crate) fn parse<T: DeserializeOwned>(object: &str, text: &[u8]) -> Result<T, Error> {
    let damaged = |message: String| Error::Damaged { object: object.to_owned(), message };
    // The format first, to distinguish a document of another version from a damaged one.
    #[derive(serde::Deserialize)]
    struct Head {
        format: u64,
    }
    let head: Head = serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))?;
    if head.format != crate::FORMAT {
        let (object, found) = (object.to_owned(), head.format);
        return Err(Error::Format { object, found, known: crate::FORMAT, consequence: "" });
    }
    serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        for signature in [None, Some([7; 32])] {
            let sealed = seal(&serde_json::json!({ "format": 1, "name": "x" }), |_| signature);
            assert!(unseal("o", &sealed, |_| signature).is_ok());
            assert!(unseal_unsigned("o", &sealed).is_ok());
            for bit in 0..sealed.len() * 8 {
                let mut bad = sealed.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(unseal("o", &bad, |_| signature).unwrap_err().is_damaged());
            }
            for length in 0..sealed.len() {
                assert!(unseal("o", &sealed[..length], |_| signature).is_err());
            }
        }
    }

    #[test]
    fn another_format_is_distinguished_from_damage() {
        for found in [0, 2, 7] {
            let text = format!("{{\"format\":{found}}}");
            let error = parse::<serde_json::Value>("o", text.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Format { found: f, .. } if f == found));
        }
        let old = Error::Format { object: "o".into(), found: 0, known: 1, consequence: "" }.to_string();
        assert!(old.contains("before the format was settled"), "{old}");
    }
}
