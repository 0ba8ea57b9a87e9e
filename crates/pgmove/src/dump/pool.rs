//! Sessions that work at the same time: as many as asked for, opened when first needed, used again and again.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;
use crate::connect::{ConnectOptions, Session, connect};

/// A pool of sessions that are all prepared in one way.
#[derive(Debug)]
pub(crate) struct Pool {
    options: ConnectOptions,
    /// Statements that each new session runs first.
    prepare: Mutex<String>,
    idle: Arc<Mutex<Vec<Session>>>,
    room: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(options: &ConnectOptions, sessions: usize, prepare: String) -> Pool {
        Pool {
            options: options.clone(),
            prepare: Mutex::new(prepare),
            idle: Arc::default(),
            room: Arc::new(Semaphore::new(sessions.max(1))),
        }
    }

    /// Prepares sessions in another way from now on.
    pub(crate) fn prepare_by(&self, prepare: String) {
        *self.prepare.lock().unwrap_or_else(PoisonError::into_inner) = prepare;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A session of one's own, as soon as there is room.
    pub(crate) async fn get(&self) -> Result<Lease, Error> {
        let permit = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|_| Error::options("the pool of connections is closed"))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let session = match idle {
            Some(session) if !session.client().is_closed() => session,
            _ => {
                let session = connect(&self.options).await?;
                let prepare = self.prepare.lock().unwrap_or_else(PoisonError::into_inner).clone();
                session.execute("a worker's session", &prepare).await?;
                session
            }
        };
        Ok(Lease { session, idle: Arc::clone(&self.idle), _permit: permit })
    }
}

/// A session lent by the pool. It goes back by [`Lease::give_back`]; dropped without, it is closed, for nobody knows
/// what state it is in.
#[derive(Debug)]
pub(crate) struct Lease {
    session: Session,
    idle: Arc<Mutex<Vec<Session>>>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn give_back(self) {
        let Lease { session, idle, _permit } = self;
        idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }
}
