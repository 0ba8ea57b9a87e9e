//! How long to go on when a store fails. A disk has bad sectors and a server has its moments: one object that cannot be
//! read must not hide what is to be said of the others. But a store that is gone fails on all of them.

use crate::Error;

/// Failures in a row after which the store counts as gone.
const IN_A_ROW: u32 = 8;

/// Counts failures in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    most: u32,
    left: u32,
}

impl Patience {
    /// Ends with the first failure.
    pub(crate) fn none() -> Patience {
        Patience { most: 0, left: 0 }
    }

    /// Bears what a store with a few bad places does.
    pub(crate) fn some() -> Patience {
        Patience { most: IN_A_ROW, left: IN_A_ROW }
    }

    /// The store answered.
    pub(crate) fn restore(&mut self) {
        self.left = self.most;
    }

    /// It failed: gives what to say of the object, or the error itself if it is one too many.
    pub(crate) fn bear(&mut self, error: Error) -> Result<String, Error> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(error.to_string())
            }
            None => Err(error),
        }
    }
}
