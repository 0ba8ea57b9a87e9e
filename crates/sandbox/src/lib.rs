//! Private PostgreSQL, Redis and Valkey servers: find the programs, start them in a temporary folder, stop them, and
//! clean up.
//!
//! They are inaccessible to other users of the host: they listen on a Unix socket in a folder that only its user can
//! enter (as root, PostgreSQL runs as another user, who owns the folder), or on request on a port with a password.
//! Their programs get a clean environment.
//!
//! The same code serves rehearsals of restores and the tests of all crates.
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
//! All functions block: call them from a blocking task in async code. Dropping a server stops it and removes its
//! folder; if the process is killed, a watcher does the same within seconds.

pub mod container;
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

pub use container::{Container, ContainerOptions};
pub use error::Error;
pub use listen::Listen;
pub use places::Places;
pub use postgres::{Postgres, PostgresBinaries, PostgresOptions, Tls};
pub use redis::{Flavor, Redis, RedisBinaries, RedisOptions};
pub use redis_cluster::{ClusterOptions, RedisCluster};
pub use version::Version;
