//! Suspends AOF rewrites of a running server, and resumes them whatever happens.
//!
//! The connection lives in a thread with its own small runtime. Dropping the guard waits for that thread, so that the
//! setting is restored even if a job is cancelled and its runtime is shutting down. SIGKILL cannot be handled; for that
//! reason the window is as short as possible: it closes when the files are open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::client::connection::Connection;
use crate::client::identity::{identify, info, setting};
use crate::{ConnectOptions, Error, ServerIdentity};
use redis::{InfoDict, cmd};

/// The setting that makes a server rewrite its AOF automatically.
const SETTING: &str = "auto-aof-rewrite-percentage";
/// How long to wait for a running rewrite. The open files are consistent at any time; waiting only makes them smaller.
const REWRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time for which a server postpones a write (2 s in `flushAppendOnlyFile`), plus a margin.
const MAX_WRITE_DELAY: Duration = Duration::from_secs(5);
/// How long to try to restore the setting.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a server says about its files.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) server: ServerIdentity,
    /// Whether it writes an AOF.
    pub(super) appendonly: bool,
    /// Size of its AOF over all current files; `None` if unknown.
    pub(super) aof_bytes: Option<u64>,
    /// Number of changes that no RDB contains yet.
    pub(super) unsaved: Option<u64>,
    /// `appenddirname`, `appendfilename`, `dbfilename`, as far as it reveals them.
    pub(super) names: BTreeMap<String, String>,
    pub(super) warnings: Vec<String>,
}

/// Requests the size of the AOF from the thread.
type Question = oneshot::Sender<Option<u64>>;

/// A server whose AOF rewrites are suspended. Dropping it resumes them.
pub(super) struct Suspended {
    questions: Option<mpsc::UnboundedSender<Question>>,
    facts: Option<oneshot::Receiver<Facts>>,
    /// The setting was changed, or is about to be.
    touched: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Suspended {
    /// Starts to suspend rewrites; [`Suspended::facts`] waits until none is running.
    pub(super) fn begin(options: &ConnectOptions) -> Suspended {
        let (sender, facts) = oneshot::channel();
        let (questions, asked) = mpsc::unbounded_channel();
        let touched = Arc::new(AtomicBool::new(false));
        let options = options.clone();
        let mut keeper = Suspender { options, asked, touched: touched.clone(), before: None };
        let thread = std::thread::spawn(move || keeper.keep(sender));
        Suspended { questions: Some(questions), facts: Some(facts), touched, thread: Some(thread) }
    }

    /// What the server says about its files while rewrites are suspended.
    pub(super) async fn facts(&mut self) -> Result<Facts, Error> {
        if let Some(facts) = self.facts.take()
            && let Ok(facts) = facts.await
        {
            return Ok(facts);
        }
        // The thread ended without a result.
        self.resume()?;
        Err(Error::stream("the connection for suspending rewrites of the AOF was closed"))
    }

    /// The current size of the server's AOF.
    pub(super) async fn aof_bytes(&self) -> Option<u64> {
        let (answer, answered) = oneshot::channel();
        self.questions.as_ref()?.send(answer).ok()?;
        answered.await.ok()?
    }

    /// Resumes rewrites.
    pub(super) fn end(mut self) -> Result<(), Error> {
        self.resume()
    }

    fn resume(&mut self) -> Result<(), Error> {
        self.questions = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Ok(()),
        }
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        self.questions = None;
        // A thread that has not changed the server yet checks this before it does.
        if self.touched.load(Ordering::SeqCst) {
            // An error is already being reported, or the job was cancelled: there is no one left to tell.
            let _ = self.resume();
        }
    }
}

/// The state of the thread.
struct Suspender {
    options: ConnectOptions,
    asked: mpsc::UnboundedReceiver<Question>,
    touched: Arc<AtomicBool>,
    /// The original value of the setting.
    before: Option<String>,
}

impl Suspender {
    /// Suspends, answers requests, resumes.
    fn keep(&mut self, sender: oneshot::Sender<Facts>) -> Result<(), Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::stream)?;
        let outcome = runtime.block_on(self.work(sender));
        match self.before.take() {
            Some(value) => runtime.block_on(resume(&self.options, &value)).and(outcome),
            None => outcome,
        }
    }

    async fn work(&mut self, sender: oneshot::Sender<Facts>) -> Result<(), Error> {
        let mut connection = Connection::open(&self.options).await?;
        let facts = self.suspend(&mut connection).await?;
        if sender.send(facts).is_ok() {
            // Ends when the guard is dropped.
            while let Some(answer) = self.asked.recv().await {
                let _ = answer.send(aof_bytes(&persistence(&mut connection).await?));
            }
        }
        Ok(())
    }

    async fn suspend(&mut self, connection: &mut Connection) -> Result<Facts, Error> {
        let server = identify(connection, &self.options).await?;
        let mut warnings = Vec::new();
        let mut names = BTreeMap::new();
        for name in ["appenddirname", "appendfilename", "dbfilename"] {
            names.extend(
                setting(connection, name).await?.ok().flatten().map(|value| (name.to_owned(), value)),
            );
        }
        let mut at = persistence(connection).await?;
        let appendonly = at.get("aof_enabled").unwrap_or(false);
        if appendonly {
            match setting(connection, SETTING).await? {
                Ok(Some(value)) if value != "0" => {
                    if let Some(words) = self.set_to_zero(connection, value).await? {
                        warnings.push(not_suspended(&server, &words));
                    }
                }
                Ok(_) => {}
                Err(words) => warnings.push(not_suspended(&server, &words)),
            }
            let since = Instant::now();
            while is_rewriting(&at) && since.elapsed() < REWRITE_TIMEOUT && !self.asked.is_closed() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                at = persistence(connection).await?;
            }
            // While an fsync runs, writes are postponed (appendfsync everysec): wait until acknowledged writes are in
            // the file.
            let wanted = aof_bytes(&at).unwrap_or_default().saturating_add(number(&at, "aof_buffer_length"));
            let since = Instant::now();
            while aof_bytes(&at).is_some_and(|bytes| bytes < wanted)
                && since.elapsed() < MAX_WRITE_DELAY
                && !self.asked.is_closed()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
                at = persistence(connection).await?;
            }
            if at.get::<String>("aof_last_write_status").is_some_and(|status| status != "ok") {
                warnings.push(format!(
                    "{server} says that its last write to the AOF failed (aof_last_write_status): what it did not \
                     write is missing here too"
                ));
            }
        }
        Ok(Facts {
            server,
            appendonly,
            aof_bytes: aof_bytes(&at),
            unsaved: at.get("rdb_changes_since_last_save"),
            names,
            warnings,
        })
    }

    /// The server's error message if it refuses.
    async fn set_to_zero(
        &mut self,
        connection: &mut Connection,
        value: String,
    ) -> Result<Option<String>, Error> {
        self.touched.store(true, Ordering::SeqCst);
        if self.asked.is_closed() {
            return Ok(None);
        }
        // Recorded first: if the reply is lost, the server may have changed the setting.
        self.before = Some(value);
        let refused = connection.reply_to(cmd("CONFIG").arg("SET").arg(SETTING).arg(0)).await?.err();
        if refused.is_some() {
            self.before = None;
        }
        Ok(refused)
    }
}

fn not_suspended(server: &ServerIdentity, words: &str) -> String {
    format!(
        "{server} does not allow suspending rewrites of its AOF ({words}); its files are kept open and checked instead"
    )
}

/// Restores the setting on a new connection, since the old one may be what failed.
async fn resume(options: &ConnectOptions, value: &str) -> Result<(), Error> {
    let since = Instant::now();
    loop {
        let set = async {
            let mut connection = Connection::open(options).await?;
            connection.query::<()>(cmd("CONFIG").arg("SET").arg(SETTING).arg(value)).await
        };
        match set.await {
            Ok(()) => return Ok(()),
            Err(_) if since.elapsed() < RESTORE_TIMEOUT => {
                tokio::time::sleep(Duration::from_millis(300)).await
            }
            Err(error) => {
                return Err(Error::Server {
                    target: options.display().to_string(),
                    operation: format!("restoring {SETTING} from 0 to {value}"),
                    message: format!(
                        "{error}. Unless the server was restarted it does not rewrite its AOF by itself now: CONFIG SET \
                         {SETTING} {value}"
                    ),
                });
            }
        }
    }
}

async fn persistence(connection: &mut Connection) -> Result<InfoDict, Error> {
    info(connection, "persistence").await
}

fn number(persistence: &InfoDict, name: &str) -> u64 {
    persistence.get(name).unwrap_or_default()
}

fn aof_bytes(persistence: &InfoDict) -> Option<u64> {
    persistence.get("aof_current_size")
}

fn is_rewriting(persistence: &InfoDict) -> bool {
    ["aof_rewrite_in_progress", "aof_rewrite_scheduled"]
        .iter()
        .any(|name| persistence.get(name).unwrap_or(false))
}
