//! Listing objects.

use futures::TryStreamExt as _;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::objects::Store;
use crate::Error;

impl Store {
    /// Calls `visit` for every object below a prefix, in any order; nothing is collected.
    pub(crate) async fn visit(&self, prefix: &str, mut visit: impl FnMut(ObjectMeta)) -> Result<(), Error> {
        let path = Path::from(prefix);
        let mut listed = self.objects.list(Some(&path));
        let mut repetition = LoopDetector::default();
        while let Some(meta) = listed.try_next().await.map_err(|e| self.failed("list", prefix, e))? {
            if repetition.is(&meta.location) {
                let source = format!(
                    "{} was listed twice: the server repeats pages, as one that ignores continuation tokens does",
                    meta.location
                );
                let source = object_store::Error::Generic { store: "listing", source: source.into() };
                return Err(self.failed("list", prefix, source));
            }
            if !is_stray(&meta) {
                visit(meta);
            }
        }
        Ok(())
    }

    /// All objects below a prefix, in any order.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, Error> {
        let mut objects = Vec::new();
        self.visit(prefix, |meta| objects.push(meta)).await?;
        Ok(objects)
    }

    /// Whether there is any object below a prefix.
    pub(crate) async fn has_any(&self, prefix: &str) -> Result<bool, Error> {
        let path = Path::from(prefix);
        let mut listed = self.objects.list(Some(&path));
        while let Some(meta) = listed.try_next().await.map_err(|e| self.failed("list", prefix, e))? {
            if !is_stray(&meta) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Detects a cyclic listing by Brent's method: one name is remembered, and replaced by a later one at each power of
/// two. A listing that ends names no object twice.
#[derive(Debug, Default)]
struct LoopDetector {
    seen: u64,
    replace_at: u64,
    remembered: Option<Path>,
}

impl LoopDetector {
    fn is(&mut self, name: &Path) -> bool {
        if self.remembered.as_ref() == Some(name) {
            return true;
        }
        if self.seen >= self.replace_at {
            self.remembered = Some(name.clone());
            self.replace_at = (self.seen + 1).saturating_mul(2);
        }
        self.seen += 1;
        false
    }
}

/// Files of other programs, such as `._name` and `.DS_Store`: no object has such a name.
fn is_stray(meta: &ObjectMeta) -> bool {
    meta.location.filename().is_some_and(|name| name.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cyclic_listing_is_detected_wherever_the_cycle_begins() {
        let name = |n: u64| Path::from(format!("chunks/{n}"));
        for (before, round) in [(0, 1), (0, 1000), (5, 3), (1000, 1), (2000, 777)] {
            let endless = (0..before).chain((before..before + round).cycle());
            let mut repetition = LoopDetector::default();
            let found = endless.take(20_000).position(|n| repetition.is(&name(n)));
            assert!(found.is_some_and(|at| at as u64 >= before + round), "{before} {round}: {found:?}");
        }
        let mut repetition = LoopDetector::default();
        assert!(!(0..100_000).any(|n| repetition.is(&name(n))));
    }
}
