//! Judges of histories: each gives the violations of one promise.
//!
//! A complaint is a sentence that begins with the promise's id. *Unknown* is a complaint like any
//! other: what was not found right is not good.

pub mod audit;
pub mod bank;
pub mod certificate;
pub mod contents;
pub mod identity;
pub mod judge;
pub mod last_look;
pub mod rehearsal;
pub mod replicas;
pub mod rights;
pub mod set;

use crate::history::{Actor, Event, operations};
use crate::model::Seen;

/// What is wrong with a history as a whole, whichever workloads it is of.
pub fn of_all(history: &[Event]) -> Vec<String> {
    let mut found = unexplained(history);
    match operations(history, |_| true) {
        Ok(operations) => {
            found.extend(identity::complaints(&operations));
            // One history is behind all directories.
            let contradictions = certificate::contradictions(&operations).into_iter();
            found.extend(
                contradictions
                    .take(SHOWN_MAX)
                    .map(|what| format!("M1: {what}")),
            );
        }
        Err(why) => found.push(format!("M6: unknown: the history is unsound: {why}")),
    }
    found
}

/// Errors that say nothing of names, and that faults may cause.
const OF_FAULTS: [&str; 7] = [
    "Unavailable",
    "OutOfSpace",
    "Busy",
    "Conflict",
    "GrantExpired",
    "SessionExpired",
    "TooFewReplicas",
];
/// A master that stops, because its disk fails, says so to who asks it just then.
const MASTER_STOPS: &str = "Internal: a master failed";

/// Errors that no fault explains: `Corrupt`, as one good replica is always left, and `Internal`
/// before all.
fn unexplained(history: &[Event]) -> Vec<String> {
    let errors = history
        .iter()
        .filter_map(|event| Some((event, event.error.as_deref()?)));
    let of_clients = errors.filter(|(event, _)| event.actor != Actor::Nemesis);
    let strange = of_clients.filter(|(event, error)| {
        let name = error.split(':').next().unwrap_or_default();
        let is_of_fault = OF_FAULTS.contains(&name) || error.starts_with(MASTER_STOPS);
        !is_of_fault
            && Seen::refusal(error).is_none()
            && !set::quota::judges(error)
            && !rights::judges(&event.op, error)
    });
    let complaint = |(event, error): (&Event, &str)| {
        let (index, op) = (event.index, &event.op);
        format!("P1: an error that no fault explains, at event {index}: {error}: {op:?}")
    };
    strange.map(complaint).take(SHOWN_MAX).collect()
}

/// Names that complaints show, of many.
const SHOWN_MAX: usize = 5;

/// The first of some names, and whether there are more.
fn some_of(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN_MAX).map(String::as_str).collect();
    let more = if names.len() > SHOWN_MAX { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tale::{Tale, create};

    fn told(error: &str) -> Vec<String> {
        let mut tale = Tale::default();
        tale.refused(1, create("/a"), error, 0);
        of_all(&tale.history())
    }

    #[test]
    fn errors_of_names_and_of_faults_are_no_matter() {
        for error in [
            "NotFound: not found: /a",
            "Unavailable: no quorum",
            "GrantExpired: c7",
            "Internal: a master failed: the disk",
        ] {
            assert_eq!(told(error), Vec::<String>::new());
        }
    }

    #[test]
    fn an_error_that_no_fault_explains_is_found() {
        for error in [
            "Corrupt: no replica of c7 can be read",
            "Internal: a read was stopped",
            "Invalid: a writer was dropped",
        ] {
            let found = told(error);
            assert!(found.len() == 1 && found[0].contains(error), "{found:?}");
        }
    }
}
