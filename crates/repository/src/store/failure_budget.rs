//! How many failures of a store a run tolerates. A disk has bad sectors and a server has outages: one unreadable object
//! must not hide the state of the others. A store that is gone, however, fails on every object.

use crate::Error;

/// Consecutive failures after which the store counts as gone.
const CONSECUTIVE: u32 = 8;

/// Counts consecutive failures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FailureBudget {
    limit: u32,
    left: u32,
}

impl FailureBudget {
    /// The first failure ends the run.
    pub(crate) fn strict() -> FailureBudget {
        FailureBudget { limit: 0, left: 0 }
    }

    /// Tolerates the failures of a store with a few bad objects.
    pub(crate) fn tolerant() -> FailureBudget {
        FailureBudget { limit: CONSECUTIVE, left: CONSECUTIVE }
    }

    /// The store answered.
    pub(crate) fn reset(&mut self) {
        self.left = self.limit;
    }

    /// The store failed: returns the text to report for this object, or the error itself once the budget is spent.
    pub(crate) fn spend(&mut self, error: Error) -> Result<String, Error> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(error.to_string())
            }
            None => Err(error),
        }
    }
}
