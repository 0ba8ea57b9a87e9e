//! Sessions that work at the same time: as many as asked for, opened when first needed, used again and again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;
use crate::connect::{ConnectOptions, Session, connect};

/// How often it is tried again to connect, where sessions of another pool are about to end.
const AGAIN: Duration = Duration::from_millis(250);

/// How often, where no session is there that could be waited for.
const TRIES: usize = 8;

/// A pool of sessions that are all prepared in one way.
#[derive(Debug)]
pub(crate) struct Pool {
    options: ConnectOptions,
    /// Statements that each new session runs first.
    prepare: Mutex<String>,
    sessions: Arc<Sessions>,
    room: Arc<Semaphore>,
    /// Another pool of the same server, whose idle sessions may have to make room.
    sibling: OnceLock<Arc<Sessions>>,
    /// How many fewer sessions there are than were asked for.
    missing: AtomicUsize,
}

/// The sessions of a pool.
#[derive(Debug, Default)]
struct Sessions {
    idle: Mutex<Vec<Session>>,
    /// Those that are lent.
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

    /// How its sessions connect.
    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Two pools of one server make room for each other.
    pub(crate) fn share_with(&self, other: &Pool) {
        let _ = self.sibling.set(Arc::clone(&other.sessions));
        let _ = other.sibling.set(Arc::clone(&self.sessions));
    }

    /// How many sessions the server did not give, since this was asked last.
    pub(crate) fn take_missing(&self) -> usize {
        self.missing.swap(0, Ordering::Relaxed)
    }

    /// Prepares sessions in another way from now on.
    pub(crate) fn prepare_by(&self, prepare: String) {
        *self.prepare.lock().unwrap_or_else(PoisonError::into_inner) = prepare;
        self.sessions.clear();
    }

    /// A session of one's own, as soon as there is room. Where the server has no connection left, the pool goes on with
    /// those that it has.
    ///
    /// # Errors
    /// As [`connect`], also where not even one is to be had.
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
                        // Whoever comes now waits for a session that is given back.
                        permit.forget();
                        self.missing.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                },
            };
            return Ok(Lease { session, lent: Lent::of(&self.sessions), _permit: permit });
        }
    }

    /// A session of one's own, now; nothing where the server has no connection left for it. The pool then has one fewer.
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
            Some(session) => Ok(Some(Lease { session, lent: Lent::of(&self.sessions), _permit: permit })),
            None => {
                permit.forget();
                Ok(None)
            }
        }
    }

    /// A new session; nothing where the server has none left, and others of this pool are at work.
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
                tokio::time::sleep(AGAIN).await;
            } else if self.sessions.lent.load(Ordering::Relaxed) > 0 {
                return Ok(None);
            } else if sibling.is_some_and(|sibling| sibling.lent.load(Ordering::Relaxed) > 0) || tries < TRIES
            {
                // Another may be connecting, or one that has ended may not be gone yet.
                tries += 1;
                tokio::time::sleep(AGAIN).await;
            } else {
                return Err(error);
            }
        }
    }
}

/// A session lent by the pool. It goes back by [`Lease::give_back`]; dropped without, it is closed, for nobody knows
/// what state it is in.
#[derive(Debug)]
pub(crate) struct Lease {
    session: Session,
    lent: Lent,
    _permit: OwnedSemaphorePermit,
}

/// Counts a session that is lent.
#[derive(Debug)]
struct Lent(Arc<Sessions>);

impl Lent {
    fn of(sessions: &Arc<Sessions>) -> Lent {
        sessions.lent.fetch_add(1, Ordering::Relaxed);
        Lent(Arc::clone(sessions))
    }
}

impl Drop for Lent {
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
