//! Shared state of the steps of a restore: sessions, options, and remarks.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::RestoreEvent;
use super::options::{Failure, OnError, TargetOptions};
use crate::Error;
use crate::catalog::QualifiedName;
use crate::connect::Session;
use crate::dump::pool::Pool;
use crate::timescaledb::model::WaitingJob;
use crate::warning::Warning;

/// An open target, as the steps of a restore see it.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) session: Session,
    pub(crate) workers: Pool,
    pub(crate) options: TargetOptions,
    pub(crate) failures: Mutex<Vec<Failure>>,
    /// The tables that store the rows of continuous aggregates on the target.
    places: Mutex<HashMap<QualifiedName, QualifiedName>>,
    /// Jobs that were created but do not run yet.
    jobs: Mutex<Vec<WaitingJob>>,
    /// Remarks that were not reported yet.
    warnings: Mutex<Vec<Warning>>,
}

impl Context {
    pub(crate) fn new(session: Session, workers: Pool, options: TargetOptions) -> Context {
        let (failures, places, jobs, warnings) = Default::default();
        Context { session, workers, options, failures, places, jobs, warnings }
    }

    /// What the server rejected while the restore continued ([`OnError::Continue`]), in order.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn places(&self) -> MutexGuard<'_, HashMap<QualifiedName, QualifiedName>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn jobs(&self) -> MutexGuard<'_, Vec<WaitingJob>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table that stores the rows of a continuous aggregate.
    pub(crate) fn place(&self, name: &QualifiedName) -> Option<QualifiedName> {
        self.places().get(name).cloned()
    }

    /// Keeps a remark until it can be reported.
    pub(crate) fn warn(&self, warning: Warning) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }

    pub(crate) fn tell(&self, on_event: &(dyn Fn(RestoreEvent) + Sync)) {
        let warnings = std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner));
        warnings.into_iter().for_each(|warning| on_event(RestoreEvent::Warned { warning }));
    }

    /// Records a rejection by the server and continues, if that is requested. A lost connection, a full disk and the
    /// like are errors: the following statements would fail for the same reason.
    pub(crate) fn note<T>(&self, object: &str, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Err(error @ Error::Server { .. })
                if self.options.on_error == OnError::Continue
                    && !error.is_lost()
                    && !error
                        .sqlstate()
                        .is_some_and(|state| state.starts_with("53") || state.starts_with("58")) =>
            {
                let failure = Failure { object: object.to_owned(), error: error.to_string() };
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}
