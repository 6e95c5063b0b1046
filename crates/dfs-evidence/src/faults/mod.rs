//! Faults and schedules: what goes wrong, when, for how long, all from one seed.
//!
//! A [`Fault`] says what kind of thing happens; on whom it falls is decided when it happens, by
//! its `pick`, because only then is it known who leads. Both instruments carry out the same
//! kinds, so one table shows what each promise has withstood.

mod kind;
mod schedule;

pub use kind::FaultKind;
pub use schedule::{Fault, Schedule, ScheduleConfig};
