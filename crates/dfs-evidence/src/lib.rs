//! Evidence: what it takes to attack the system and to judge what it did.
//!
//! ```text
//! faults ──▶ schedule, from a seed ─┐
//! workloads ─▶ operations ──────────┼─▶ a cluster ─▶ history ─▶ checkers ─▶ violations
//!                                   │                   └─────▶ report
//!            simulated (tests/sim) ─┤
//!            real processes ────────┘
//! ```
//!
//! Two instruments run the same workloads under the same kinds of faults and judge them by the
//! same checkers: the simulation (`tests/sim`) and real processes ([`processes`], used by
//! `tests/chaos` and `dfs chaos`). Every promise, its workload and its checker are in
//! `docs/PROMISES.md`.

pub mod checkers;
pub mod faults;
pub mod history;
pub mod model;
pub mod processes;
pub mod report;
pub mod workloads;
