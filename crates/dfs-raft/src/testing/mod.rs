//! For tests of state machines and of what is built on replicas.
//!
//! [`Loopback`] is a network inside the process whose links can be cut; [`Cluster`] is a group of
//! replicas on it; [`Solo`] applies commands without any replication; [`check_machine`] puts a
//! state machine through what every one must do; [`decoders`] are given any bytes.

mod cluster;
pub mod decoders;
mod loopback;
mod machine;

pub use cluster::Cluster;
pub use loopback::{Cut, Loopback, Registration};
pub use machine::{Solo, check_machine};
