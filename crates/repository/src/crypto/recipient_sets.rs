//! The recipients that each object was encrypted to. An age file does not contain them, so each set of recipients has
//! a mark, the upper half of the copy tag of its chunk objects: a listing shows who can decrypt what. Chunks for the
//! repository's original recipients have plain names.

use std::collections::HashSet;

use crate::crypto::keys::hmac;
use crate::{CopyTag, Manifest, Recipient};

/// A set of recipients.
#[derive(Debug, Clone)]
struct Set {
    recipients: Vec<String>,
    mark: u16,
}

/// All sets of recipients so far, oldest first; empty for an unencrypted repository.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecipientSets {
    sets: Vec<Set>,
    /// Index of the current set.
    current: usize,
}

impl RecipientSets {
    /// For an unencrypted repository.
    pub(crate) const fn none() -> RecipientSets {
        RecipientSets { sets: Vec::new(), current: 0 }
    }

    /// The sets in `dbhaul.json`, and the current one, which is appended if it is new.
    pub(crate) fn new(
        documents_key: &[u8; 32],
        history: &[Vec<String>],
        current: &[Recipient],
    ) -> RecipientSets {
        let names = |recipients: &[String]| {
            let mut names = recipients.to_vec();
            names.sort();
            names.dedup();
            names
        };
        let current: Vec<String> = current.iter().map(ToString::to_string).collect();
        let mut all: Vec<Vec<String>> = Vec::new();
        for recipients in history.iter().chain(std::iter::once(&current)) {
            let recipients = names(recipients);
            if !all.contains(&recipients) {
                all.push(recipients);
            }
        }
        let current = names(&current);
        let current = all.iter().position(|set| *set == current).unwrap_or_default();
        let sets = all.into_iter().map(|recipients| {
            let [first, second, ..] =
                hmac(documents_key, &[b"recipient set\n", recipients.join("\n").as_bytes()]);
            Set { mark: u16::from_be_bytes([first, second]), recipients }
        });
        RecipientSets { sets: sets.collect(), current }
    }

    /// The form stored in `dbhaul.json`.
    pub(crate) fn history(&self) -> Vec<Vec<String>> {
        self.sets.iter().map(|set| set.recipients.clone()).collect()
    }

    /// Whether recipients ever changed.
    pub(crate) fn have_changed(&self) -> bool {
        self.sets.len() > 1
    }

    fn mark(&self) -> u32 {
        self.sets.get(self.current).map_or(0, |set| u32::from(set.mark) << 16)
    }

    /// The tag of new objects: `None` for the first set.
    pub(crate) fn tag(&self) -> Option<CopyTag> {
        (self.current > 0).then(|| CopyTag(self.mark()))
    }

    /// A unique tag, for a chunk whose usual name is pending deletion.
    pub(crate) fn fresh_tag(&self) -> CopyTag {
        let random = uuid::Uuid::new_v4().as_fields().0;
        CopyTag(if self.sets.is_empty() { random } else { self.mark() | (random & 0xffff).max(1) })
    }

    /// Whether this recipient can decrypt objects with this tag; false for a tag of no set, about which nothing is known.
    fn can_decrypt(&self, recipient: &str, tag: Option<CopyTag>) -> bool {
        let holds = |set: &Set| set.recipients.iter().any(|name| name == recipient);
        match (tag, self.sets.as_slice()) {
            (_, [only]) => holds(only),
            (None, sets) => sets.first().is_some_and(holds),
            (Some(CopyTag(tag)), sets) => {
                let mut same = sets.iter().filter(|set| u32::from(set.mark) == tag >> 16).peekable();
                same.peek().is_some() && same.all(holds)
            }
        }
    }

    fn current(&self) -> &[String] {
        self.sets.get(self.current).map_or(&[], |set| &set.recipients)
    }

    /// Whether some current recipient can decrypt objects with this tag.
    pub(crate) fn readable_by_any(&self, tag: Option<CopyTag>) -> bool {
        self.sets.is_empty() || self.current().iter().any(|recipient| self.can_decrypt(recipient, tag))
    }

    /// Whether every current recipient can.
    pub(crate) fn readable_by_all(&self, tag: Option<CopyTag>) -> bool {
        self.current().iter().all(|recipient| self.can_decrypt(recipient, tag))
    }

    /// The tags of all objects of a snapshot: its chunks and its manifest.
    fn tags(manifest: &Manifest) -> HashSet<Option<CopyTag>> {
        let mut tags: HashSet<_> = manifest.chunks().map(|chunk| chunk.copy).collect();
        tags.extend(manifest.sealed.iter().map(|sealed| sealed.set));
        tags
    }

    /// Whether some current recipient can restore this sealed snapshot without another identity.
    pub(crate) fn restorable_by_any(&self, manifest: &Manifest) -> bool {
        let tags = RecipientSets::tags(manifest);
        self.sets.is_empty()
            || self.current().iter().any(|recipient| tags.iter().all(|tag| self.can_decrypt(recipient, *tag)))
    }

    /// Whether every current recipient can.
    pub(crate) fn restorable_by_all(&self, manifest: &Manifest) -> bool {
        RecipientSets::tags(manifest).into_iter().all(|tag| self.readable_by_all(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    #[test]
    fn a_tag_identifies_the_recipients() {
        let [a, b] = [(); 2].map(|()| Identity::generate().recipient());
        let key = [7; 32];
        let first = RecipientSets::new(&key, &[], std::slice::from_ref(&a));
        assert!(!first.have_changed() && first.tag().is_none());
        // A tag from before sets had marks.
        assert!(first.readable_by_all(Some(CopyTag(5))));
        let both = RecipientSets::new(&key, &first.history(), &[b.clone(), a.clone()]);
        assert!(both.have_changed() && both.readable_by_any(None) && !both.readable_by_all(None));
        assert!(both.readable_by_all(both.tag()) && both.readable_by_all(Some(both.fresh_tag())));
        assert!(!both.readable_by_any(Some(CopyTag(5))), "whose identity is lost");
        let second = RecipientSets::new(&key, &both.history(), std::slice::from_ref(&b));
        assert_eq!(second.history().len(), 3);
        assert!(
            !second.readable_by_any(None)
                && second.readable_by_all(both.tag())
                && second.readable_by_all(second.tag())
        );
        // Back to the first set: plain names.
        let again = RecipientSets::new(&key, &second.history(), &[a]);
        assert!(again.tag().is_none() && again.history().len() == 3 && !again.readable_by_any(second.tag()));
    }
}
