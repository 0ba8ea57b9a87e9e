//! Byte streams to servers without a reachable port: in a Kubernetes pod, in a Docker container, behind ssh.
//!
//! One URL describes the route and the server:
//!
//! ```text
//! k8s://[context/]namespace/(pod|svc|statefulset|deployment)/name[:port]/database?user=…&secret=NAME/KEY
//! docker://container[:port]/database?user=…&password-env=POSTGRES_PASSWORD
//! ssh://[user@]host[:port]/<another URL>
//! ```
//!
//! [`Address::parse`] parses it, [`Tunnel::open`] resolves it and reads the password, [`Tunnel::connect`] returns a stream for each connection.
//!
//! ```no_run
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//! use tunnel::{Address, Programs, Target, Tunnel};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let address = Address::parse("ssh://ubuntu@vm/docker://coinpilot-redis?kind=redis")?;
//! let tunnel = Tunnel::open(&address, 6379, &Programs::default()).await?;
//! println!("{}", tunnel.reached()); // container coinpilot-redis (id 3f2a…, image redis:8.4.0-alpine) through ssh ubuntu@vm
//! let mut stream = tunnel.connect(&Target::Tcp("localhost".to_owned(), 6379)).await?;
//! stream.write_all(b"PING\r\n").await?;
//! let mut answer = [0; 7];
//! stream.read_exact(&mut answer).await?;
//! assert_eq!(&answer, b"+PONG\r\n");
//! # Ok(())
//! # }
//! ```
//!
//! # How
//!
//! It runs the user's own `kubectl`, `docker` and `ssh`, which use the user's configuration: contexts, keys, agents, jump hosts.
//!
//! | place | a connection is |
//! |---|---|
//! | behind ssh | `ssh -W host:port` over its standard input and output, within one login for all |
//! | a container | TCP to its address, if Docker's network is the host's own; otherwise `docker exec -i` with a relay that the image has (bash, nc, perl); otherwise a published port |
//! | a pod | a separate `kubectl port-forward`, to a port of 127.0.0.1 that kubectl chooses |
//!
//! Child processes are reaped, and end with their connection. They also end when this process is killed by a signal that it cannot handle: each reads from a pipe that ends with this process, or is supervised by a shell that does.
//!
//! If a program dies, the stream fails with the end of the program's output. Names that begin with `-` are refused, and each word for the shell of a remote host is quoted. Passwords are read from pipes and stay in memory.

mod address;
mod docker;
mod error;
mod host;
mod kubernetes;
mod process;
mod programs;
mod quote;
mod secret;
mod stream;
mod tunnel;

pub use address::{Address, Route};
pub use error::Error;
pub use host::Target;
pub use programs::Programs;
pub use secret::Secret;
pub use stream::Stream;
pub use tunnel::{Reached, ReachedContainer, ReachedPod, Tunnel};
