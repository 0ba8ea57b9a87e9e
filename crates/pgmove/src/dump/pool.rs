//! A pool of parallel sessions: opened on demand up to a limit, and reused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;
use crate::connect::{ConnectOptions, Session, connect};

/// Pause between attempts to connect while sessions of another pool are about to end,
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// and number of attempts if there is no session to wait for.
const MAX_ATTEMPTS: usize = 8;

/// A pool of sessions that are all prepared in the same way.
#[derive(Debug)]
pub(crate) struct Pool {
    options: ConnectOptions,
    /// Statements that each new session runs first.
    prepare: Mutex<String>,
    sessions: Arc<Sessions>,
    room: Arc<Semaphore>,
    /// Another pool of the same server, whose idle sessions may have to make room.
    sibling: OnceLock<Arc<Sessions>>,
    /// Number of requested sessions that the server did not provide.
    missing: AtomicUsize,
}

/// The sessions of a pool.
#[derive(Debug, Default)]
struct Sessions {
    idle: Mutex<Vec<Session>>,
    /// Number of sessions in use.
    lent: AtomicUsize,
}

impl Sessions {
    fn pop(&self) -> Option<Session> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn clear(&self) -> bool {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::take(&mut *idle).is_empty()
    }
}

impl Pool {
    pub(crate) fn new(options: &ConnectOptions, sessions: usize, prepare: String) -> Pool {
        Pool {
            options: options.clone(),
            prepare: Mutex::new(prepare),
            sessions: Arc::default(),
            room: Arc::new(Semaphore::new(sessions.max(1))),
            sibling: OnceLock::new(),
            missing: AtomicUsize::new(0),
        }
    }

    /// Connection options of its sessions.
    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Makes two pools of one server make room for each other.
    pub(crate) fn share_with(&self, other: &Pool) {
        let _ = self.sibling.set(Arc::clone(&other.sessions));
        let _ = other.sibling.set(Arc::clone(&self.sessions));
    }

    /// The number of sessions that the server did not provide since the last call.
    pub(crate) fn take_missing(&self) -> usize {
        self.missing.swap(0, Ordering::Relaxed)
    }

    /// Changes how new sessions are prepared.
    pub(crate) fn prepare_by(&self, prepare: String) {
        *self.prepare.lock().unwrap_or_else(PoisonError::into_inner) = prepare;
        self.sessions.clear();
    }

    /// A session, as soon as one is available. If the server has no connections left, the pool continues with those
    /// that it has.
    ///
    /// # Errors
    /// As [`connect`], also if not even one session is available.
    pub(crate) async fn get(&self) -> Result<Lease, Error> {
        loop {
            let permit = Arc::clone(&self.room)
                .acquire_owned()
                .await
                .map_err(|_| Error::options("the pool of connections is closed"))?;
            let idle = self.sessions.pop().filter(|session| !session.client().is_closed());
            let session = match idle {
                Some(session) => session,
                None => match self.open().await? {
                    Some(session) => session,
                    None => {
                        // Later callers wait for a session that is given back.
                        permit.forget();
                        self.missing.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                },
            };
            return Ok(Lease { session, lent: SessionInUse::of(&self.sessions), _permit: permit });
        }
    }

    /// A new session, immediately; `None` if the server has no connection left for it. The pool is then reduced by
    /// one.
    ///
    /// # Errors
    /// As [`Pool::get`].
    pub(crate) async fn try_open(&self) -> Result<Option<Lease>, Error> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { return Ok(None) };
        let idle = self.sessions.pop().filter(|session| !session.client().is_closed());
        let session = match idle {
            Some(session) => Some(session),
            None => self.open().await?,
        };
        match session {
            Some(session) => {
                Ok(Some(Lease { session, lent: SessionInUse::of(&self.sessions), _permit: permit }))
            }
            None => {
                permit.forget();
                Ok(None)
            }
        }
    }

    /// A new session; `None` if the server has none left, and others of this pool are in use.
    async fn open(&self) -> Result<Option<Session>, Error> {
        let mut tries = 0;
        loop {
            let error = match connect(&self.options).await {
                Ok(session) => {
                    let prepare = self.prepare.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    session.execute("a worker's session", &prepare).await?;
                    return Ok(Some(session));
                }
                Err(error) => error,
            };
            // too_many_connections
            if error.sqlstate() != Some("53300") {
                return Err(error);
            }
            let sibling = self.sibling.get();
            let makes_room = sibling.is_some_and(|sibling| sibling.clear());
            if makes_room {
                tokio::time::sleep(RETRY_INTERVAL).await;
            } else if self.sessions.lent.load(Ordering::Relaxed) > 0 {
                return Ok(None);
            } else if sibling.is_some_and(|sibling| sibling.lent.load(Ordering::Relaxed) > 0)
                || tries < MAX_ATTEMPTS
            {
                // Another one may be connecting, or one that has ended may not be gone yet.
                tries += 1;
                tokio::time::sleep(RETRY_INTERVAL).await;
            } else {
                return Err(error);
            }
        }
    }
}

/// A session of the pool. [`Lease::give_back`] returns it; if dropped instead, it is closed, because its state is
/// unknown.
#[derive(Debug)]
pub(crate) struct Lease {
    session: Session,
    lent: SessionInUse,
    _permit: OwnedSemaphorePermit,
}

/// Counts a session in use.
#[derive(Debug)]
struct SessionInUse(Arc<Sessions>);

impl SessionInUse {
    fn of(sessions: &Arc<Sessions>) -> SessionInUse {
        sessions.lent.fetch_add(1, Ordering::Relaxed);
        SessionInUse(Arc::clone(sessions))
    }
}

impl Drop for SessionInUse {
    fn drop(&mut self) {
        self.0.lent.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lease {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn give_back(self) {
        let Lease { session, lent, _permit } = self;
        lent.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }
}
