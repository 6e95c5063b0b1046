//! Sets: what was added and acknowledged is there, and nothing is there that was not added.

pub mod quota;
pub mod snapshots;

use std::collections::{BTreeMap, BTreeSet};

use super::some_of;
use crate::history::{End, Op, Operation, Output};

/// What became of the elements of a set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// Elements that somebody tried to add.
    pub attempted: usize,
    /// Those of them that were acknowledged.
    pub acknowledged: usize,
    /// Acknowledged or seen, and missing in the last listing.
    pub lost: Vec<String>,
    /// Missing in a listing that began after they were acknowledged or seen, and there later.
    pub stale: Vec<String>,
    /// Acknowledged, and no listing began after that.
    pub never_read: Vec<String>,
    /// Seen, though nobody tried to add them before, or it was refused.
    pub unexpected: Vec<String>,
    /// Listings.
    pub listings: usize,
}

struct Element {
    /// When it began to be added.
    began: u64,
    /// From when on it must be there.
    since: Option<u64>,
    acknowledged: bool,
    refused: bool,
}

struct Listing<'a> {
    began: u64,
    ended: u64,
    names: BTreeSet<&'a str>,
}

/// Accounts for the files that were made in `directory`, by the listings of all of it.
pub fn account(directory: &str, operations: &[Operation<'_>]) -> Account {
    let mut elements: BTreeMap<&str, Element> = BTreeMap::new();
    let mut listings: Vec<Listing<'_>> = Vec::new();
    for operation in operations {
        match (operation.op, &operation.end) {
            (Op::Create { path, .. }, end) => {
                if let Some((above, name)) = path.rsplit_once('/')
                    && above == directory
                {
                    elements.insert(name, element(operation.began, end));
                }
            }
            (Op::ListAll { path }, End::Ok { at, output, .. }) if path == directory => {
                let Some(Output::Names(names)) = output else {
                    continue;
                };
                listings.push(Listing {
                    began: operation.began,
                    ended: *at,
                    names: names.iter().map(|(name, _)| name.as_str()).collect(),
                });
            }
            _ => {}
        }
    }
    listings.sort_by_key(|listing| listing.ended);
    let mut account = Account {
        attempted: elements.len(),
        listings: listings.len(),
        ..Account::default()
    };
    see(&mut elements, &listings, &mut account);
    for (name, element) in &elements {
        account.acknowledged += usize::from(element.acknowledged);
        judge(name, element, &listings, &mut account);
    }
    account
}

fn element(began: u64, end: &End<'_>) -> Element {
    let since = match end {
        End::Ok { at, .. } => Some(*at),
        _ => None,
    };
    Element {
        began,
        since,
        acknowledged: since.is_some(),
        refused: matches!(end, End::Fail { .. }),
    }
}

/// What was seen stays, acknowledged or not.
fn see<'a>(
    elements: &mut BTreeMap<&'a str, Element>,
    listings: &[Listing<'a>],
    account: &mut Account,
) {
    for listing in listings {
        for name in &listing.names {
            match elements.get_mut(name) {
                Some(element) if !element.refused && element.began < listing.ended => {
                    let since = element.since.unwrap_or(u64::MAX);
                    element.since = Some(since.min(listing.ended));
                }
                _ => account.unexpected.push((*name).to_owned()),
            }
        }
    }
    account.unexpected.sort();
    account.unexpected.dedup();
}

fn judge(name: &str, element: &Element, listings: &[Listing<'_>], account: &mut Account) {
    let Some(since) = element.since else {
        return;
    };
    let later = listings.iter().filter(|listing| listing.began > since);
    let seen: Vec<bool> = later.map(|listing| listing.names.contains(name)).collect();
    match seen.last() {
        // Seen in the last listing, perhaps, but by none that began after it was there.
        None if element.acknowledged => account.never_read.push(name.to_owned()),
        None => {}
        Some(false) => account.lost.push(name.to_owned()),
        Some(true) if seen.contains(&false) => account.stale.push(name.to_owned()),
        Some(true) => {}
    }
}

impl Account {
    /// What is wrong with it.
    pub fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (names, what) in [
            (&self.lost, "were acknowledged and are lost"),
            (&self.stale, "were acknowledged and not seen for a while"),
            (&self.never_read, "were acknowledged and never looked for"),
            (&self.unexpected, "are there and were never added"),
        ] {
            if !names.is_empty() {
                let (number, some) = (names.len(), some_of(names));
                found.push(format!(
                    "M2: {number} of {} names {what}: {some}",
                    self.attempted
                ));
            }
        }
        if self.listings == 0 {
            found.push("M2: unknown: nobody looked at all of the names".to_owned());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::operations;
    use crate::history::tale::{Tale, create, file, names};

    fn look() -> Op {
        let path = "/set".to_owned();
        Op::ListAll { path }
    }

    fn told(tell: impl Fn(&mut Tale)) -> Account {
        let mut tale = Tale::default();
        tell(&mut tale);
        let history = tale.history();
        account("/set", &operations(&history, |_| true).unwrap())
    }

    #[test]
    fn what_was_acknowledged_and_what_was_not_may_be_there() {
        let account = told(|tale| {
            tale.does(1, create("/set/a"), file(7), 10);
            tale.loses(2, create("/set/b"));
            tale.loses(3, create("/set/c"));
            tale.refused(4, create("/set/d"), "Unavailable: no quorum", 0);
            tale.does(1, look(), names(&[("a", 7), ("b", 8)]), 0);
        });
        assert_eq!(account.complaints(), Vec::<String>::new());
        assert_eq!((account.attempted, account.acknowledged), (4, 1));
    }

    #[test]
    fn a_lost_name_is_found_and_a_stale_one_is_told_apart() {
        let account = told(|tale| {
            tale.does(1, create("/set/a"), file(7), 10);
            tale.does(1, create("/set/b"), file(8), 11);
            tale.does(1, look(), names(&[]), 0);
            tale.does(1, look(), names(&[("b", 8)]), 0);
        });
        assert_eq!(
            (account.lost, account.stale),
            (vec!["a".into()], vec!["b".into()])
        );
    }

    #[test]
    fn a_name_that_was_seen_may_not_go_though_it_was_never_acknowledged() {
        let account = told(|tale| {
            tale.loses(1, create("/set/a"));
            tale.does(2, look(), names(&[("a", 7)]), 0);
            tale.does(2, look(), names(&[]), 0);
        });
        assert_eq!(account.lost, ["a"]);
    }

    #[test]
    fn what_nobody_added_or_what_was_refused_may_not_be_there() {
        let account = told(|tale| {
            tale.refused(1, create("/set/a"), "Unavailable: no quorum", 0);
            tale.does(2, look(), names(&[("a", 7), ("x", 9)]), 0);
        });
        assert_eq!(account.unexpected, ["a", "x"]);
    }

    #[test]
    fn without_a_last_look_nothing_is_good() {
        let account = told(|tale| {
            tale.does(2, look(), names(&[]), 0);
            tale.does(1, create("/set/a"), file(7), 10);
        });
        assert_eq!(account.never_read, ["a"]);
        assert_eq!(told(|_| {}).complaints().len(), 1);
    }
}
