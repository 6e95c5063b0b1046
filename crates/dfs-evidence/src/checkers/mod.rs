//! Judges of histories: each gives the violations of one promise.
//!
//! A complaint is a sentence that begins with the promise's id. *Unknown* is a complaint like any
//! other: what was not found right is not good.

pub mod bank;
pub mod certificate;
pub mod contents;
pub mod coverage;
pub mod identity;
pub mod judge;
pub mod last_look;
pub mod rehearsal;
pub mod replicas;
pub mod set;
#[cfg(test)]
mod tale;

use crate::history::{Event, operations};

/// What is wrong with a history as a whole, whichever workloads it is of.
pub fn of_all(history: &[Event]) -> Vec<String> {
    match operations(history, |_| true) {
        Ok(operations) => identity::complaints(&operations),
        Err(why) => vec![format!("M6: unknown: the history is unsound: {why}")],
    }
}

/// Names that complaints show, of many.
const SHOWN_MAX: usize = 5;

/// The first of some names, and whether there are more.
fn some_of(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN_MAX).map(String::as_str).collect();
    let more = if names.len() > SHOWN_MAX { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
