//! Tunnels through real kubectl and real ssh. The servers behind them are small ones of the tests' own: what passes
//! through is bytes, and whose they are does not matter here. PostgreSQL and Redis pass in the tests of `dbhaul`.

mod docker;
mod killed;
mod kubernetes;
mod ssh;
mod support;
