//! Progress of long operations on a repository: the phase, and how far it is.

use std::fmt;
use std::sync::Arc;

/// A phase of a check or a prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Manifests and other documents are read.
    Manifests,
    /// Objects in the store are listed.
    Listing,
    /// Chunks are read, decrypted, decompressed and hashed.
    Reading,
    /// Unreferenced chunks are deleted.
    Deleting,
}

/// A progress step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A phase began, with its totals if known.
    Began {
        /// The phase.
        phase: Phase,
        /// Bytes, as stored.
        bytes: Option<u64>,
        /// Objects.
        objects: Option<u64>,
    },
    /// Progress within the phase.
    Advanced {
        /// Bytes, as stored.
        bytes: u64,
        /// Objects.
        objects: u64,
    },
    /// The last phase ended.
    Ended,
}

/// The callback, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Observer(Option<Arc<dyn Fn(Step) + Send + Sync>>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Observer" } else { "no observer" })
    }
}

impl Observer {
    pub(crate) fn new(tell: impl Fn(Step) + Send + Sync + 'static) -> Observer {
        Observer(Some(Arc::new(tell)))
    }

    fn tell(&self, step: Step) {
        if let Some(tell) = &self.0 {
            tell(step);
        }
    }

    pub(crate) fn began(&self, phase: Phase, bytes: Option<u64>, objects: Option<u64>) {
        self.tell(Step::Began { phase, bytes, objects });
    }

    pub(crate) fn advanced(&self, bytes: u64, objects: u64) {
        self.tell(Step::Advanced { bytes, objects });
    }

    pub(crate) fn ended(&self) {
        self.tell(Step::Ended);
    }
}
