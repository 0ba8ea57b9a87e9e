//! Private PostgreSQL, Redis and Valkey servers: find the programs, start them in a temporary folder, stop them, and
//! clean up.
//!
//! Nobody else on the host reads or reaches them: they listen on a Unix socket in a folder that only its user enters
//! (as root, PostgreSQL runs as another user, and the folder is that user's), or on request on a port with a password.
//! Their programs get an environment of their own.
//!
//! The same code serves rehearsals of restores and the tests of every crate, so that what users trust to rehearse is
//! what tests run on every day.
//!
//! ```no_run
//! use sandbox::{Places, Postgres, PostgresOptions};
//!
//! let binaries = sandbox::postgres::find(Some(15), &Places::from_env())?;
//! let server = Postgres::start(&binaries, PostgresOptions::default())?;
//! println!("{}", server.url("postgres"));
//! # Ok::<(), sandbox::Error>(())
//! ```
//!
//! Everything here blocks; an async caller wraps it in a blocking task. Dropping a server stops it and removes its
//! folder; when the process that started it is killed, a watcher does the same within seconds.

pub mod postgres;
pub mod redis;
pub mod redis_cluster;
pub mod testing;

mod error;
mod folder;
mod listen;
mod places;
mod process;
mod version;

pub use error::Error;
pub use listen::Listen;
pub use places::Places;
pub use postgres::{Postgres, PostgresBinaries, PostgresOptions, Tls};
pub use redis::{Flavor, Redis, RedisBinaries, RedisOptions};
pub use redis_cluster::{ClusterOptions, RedisCluster};
pub use version::Version;
