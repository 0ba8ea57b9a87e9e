//! To whom each object was encrypted. An age file does not say: a set of recipients has a mark, which is the upper half
//! of the copy tag of every chunk object that was written for it, so that a listing tells who can open what. Chunks for
//! the recipients that a repository was created with have their plain names.

use std::collections::HashSet;

use crate::crypto::keys::hmac;
use crate::{CopyTag, Manifest, Recipient};

/// One set of recipients.
#[derive(Debug, Clone)]
struct Set {
    recipients: Vec<String>,
    mark: u16,
}

/// Every set of recipients so far, the first one first. None for a repository that is not encrypted.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecipientSets {
    sets: Vec<Set>,
    /// Which of them is written for.
    current: usize,
}

impl RecipientSets {
    /// Those of a repository that is not encrypted.
    pub(crate) const fn none() -> RecipientSets {
        RecipientSets { sets: Vec::new(), current: 0 }
    }

    /// The sets of `dbhaul.json`, and the current one, which is the last if it is in none of them.
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

    /// As `dbhaul.json` holds them.
    pub(crate) fn history(&self) -> Vec<Vec<String>> {
        self.sets.iter().map(|set| set.recipients.clone()).collect()
    }

    /// True once recipients have changed.
    pub(crate) fn have_changed(&self) -> bool {
        self.sets.len() > 1
    }

    fn mark(&self) -> u32 {
        self.sets.get(self.current).map_or(0, |set| u32::from(set.mark) << 16)
    }

    /// The tag of what is written now: none for the first set.
    pub(crate) fn tag(&self) -> Option<CopyTag> {
        (self.current > 0).then(|| CopyTag(self.mark()))
    }

    /// A tag that nobody else chooses, for a chunk whose usual name is taken by prune.
    pub(crate) fn fresh_tag(&self) -> CopyTag {
        let random = uuid::Uuid::new_v4().as_fields().0;
        CopyTag(if self.sets.is_empty() { random } else { self.mark() | (random & 0xffff).max(1) })
    }

    /// True if this recipient can open what bears this tag. Of a tag that no set has, that is not known.
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

    /// True if some current recipient can open what bears this tag.
    pub(crate) fn readable_by_any(&self, tag: Option<CopyTag>) -> bool {
        self.sets.is_empty() || self.current().iter().any(|recipient| self.can_decrypt(recipient, tag))
    }

    /// True if every current recipient can.
    pub(crate) fn readable_by_all(&self, tag: Option<CopyTag>) -> bool {
        self.current().iter().all(|recipient| self.can_decrypt(recipient, tag))
    }

    /// Which tags a snapshot needs opened: those of its chunks, and that of its manifest.
    fn tags(manifest: &Manifest) -> HashSet<Option<CopyTag>> {
        let mut tags: HashSet<_> = manifest.chunks().map(|chunk| chunk.copy).collect();
        tags.extend(manifest.sealed.iter().map(|sealed| sealed.set));
        tags
    }

    /// True if some current recipient can restore this sealed snapshot without the help of another identity.
    pub(crate) fn restorable_by_any(&self, manifest: &Manifest) -> bool {
        let tags = RecipientSets::tags(manifest);
        self.sets.is_empty()
            || self.current().iter().any(|recipient| tags.iter().all(|tag| self.can_decrypt(recipient, *tag)))
    }

    /// True if every current recipient can.
    pub(crate) fn restorable_by_all(&self, manifest: &Manifest) -> bool {
        RecipientSets::tags(manifest).into_iter().all(|tag| self.readable_by_all(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    #[test]
    fn a_tag_says_who_opens() {
        let [a, b] = [(); 2].map(|()| Identity::generate().recipient());
        let key = [7; 32];
        let first = RecipientSets::new(&key, &[], std::slice::from_ref(&a));
        assert!(!first.have_changed() && first.tag().is_none());
        // A tag of before there were marks.
        assert!(first.readable_by_all(Some(CopyTag(5))));
        let both = RecipientSets::new(&key, &first.history(), &[b.clone(), a.clone()]);
        assert!(both.have_changed() && both.readable_by_any(None) && !both.readable_by_all(None));
        assert!(both.readable_by_all(both.tag()) && both.readable_by_all(Some(both.fresh_tag())));
        assert!(!both.readable_by_any(Some(CopyTag(5))), "not known to anybody");
        let second = RecipientSets::new(&key, &both.history(), std::slice::from_ref(&b));
        assert_eq!(second.history().len(), 3);
        assert!(
            !second.readable_by_any(None)
                && second.readable_by_all(both.tag())
                && second.readable_by_all(second.tag())
        );
        // Back again: the plain names.
        let again = RecipientSets::new(&key, &second.history(), &[a]);
        assert!(again.tag().is_none() && again.history().len() == 3 && !again.readable_by_any(second.tag()));
    }
}
