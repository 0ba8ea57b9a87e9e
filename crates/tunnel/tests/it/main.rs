//! Tunnels through real kubectl and real ssh. The servers behind them are small ones of the tests: a tunnel carries
//! bytes, of whatever protocol. The tests of `dbhaul` use PostgreSQL and Redis.

mod docker;
mod killed;
mod kubernetes;
mod ssh;
mod support;
