//! Banks: files that only move are always all there, each once.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{End, Op, Operation, Output};

/// What a bank is: which listings show what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bank<'a> {
    /// The directory whose files stay in it: each listing of it shows all of them.
    pub vault: &'a str,
    /// How many they are.
    pub in_vault: usize,
    /// The other directories: the last listings of all of them together show the other files.
    pub places: &'a [String],
    /// How many those are.
    pub in_places: usize,
    /// The name of the directory that moves between them.
    pub r#box: &'a str,
}

impl Bank<'_> {
    /// What is wrong. Listings in between are of different points of history; what they show
    /// together is for the judge of certificates.
    pub fn complaints(&self, operations: &[Operation<'_>]) -> Vec<String> {
        let mut found = self.vault(operations);
        found.extend(self.places(operations));
        found
    }

    fn vault(&self, operations: &[Operation<'_>]) -> Vec<String> {
        let mut found = Vec::new();
        let mut all: Option<BTreeSet<u64>> = None;
        for (began, names) in listings(operations, self.vault) {
            let ids: BTreeSet<u64> = names.iter().map(|(_, id)| *id).collect();
            let (shown, files) = (names.len(), self.in_vault);
            if shown != files || ids.len() != files {
                found.push(format!(
                    "M3: the listing {began} of the vault shows {shown} names of {} files, \
                     where {files} files only move",
                    ids.len()
                ));
            } else if *all.get_or_insert_with(|| ids.clone()) != ids {
                found.push(format!(
                    "M3: the listing {began} of the vault shows other files"
                ));
            }
        }
        let looks = last_looks(operations, self.vault, last_move(operations));
        found.extend(differ(self.vault, &looks));
        if all.is_none() {
            found.push("M3: unknown: nobody looked into the vault".to_owned());
        }
        found
    }

    fn places(&self, operations: &[Operation<'_>]) -> Vec<String> {
        let last = last_move(operations);
        let mut files: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        let (mut boxes, mut found) = (0, Vec::new());
        for place in self.places {
            let looks = last_looks(operations, place, last);
            let [.., _, look] = looks.as_slice() else {
                return vec![format!(
                    "M3: unknown: nobody saw twice what {place} holds at the end"
                )];
            };
            found.extend(differ(place, &looks));
            for (name, id) in look.iter().copied().flatten() {
                match name == self.r#box {
                    true => boxes += 1,
                    false => files
                        .entry(*id)
                        .or_default()
                        .push(format!("{place}/{name}")),
                }
            }
        }
        if files.len() != self.in_places || boxes != 1 {
            let (shown, all) = (files.len(), self.in_places);
            found.push(format!(
                "M3: at the end there are {shown} files of {all}, and the box is in {boxes} places"
            ));
        }
        let twice = files.iter().filter(|(_, at)| at.len() > 1);
        found
            .extend(twice.map(|(id, at)| format!("M3: the inode {id} is at {}", at.join(" and "))));
        found
    }
}

/// What a listing shows; nothing where the directory does not exist.
type Look<'a> = Option<&'a Vec<(String, u64)>>;

/// The event after which nothing moves.
fn last_move(operations: &[Operation<'_>]) -> u64 {
    let moves = operations
        .iter()
        .filter(|o| matches!(o.op, Op::Rename { .. }));
    let ends = moves.map(|o| o.ended().unwrap_or(o.began));
    ends.max().unwrap_or(0)
}

/// The complaint that looks differ where nothing moves any more.
fn differ(directory: &str, looks: &[Look<'_>]) -> Option<String> {
    let mut pairs = looks.windows(2);
    let pair = pairs.find(|pair| pair.first() != pair.last())?;
    Some(format!(
        "M3: where nothing moves any more {directory} is seen to hold {:?} and then {:?}",
        pair.first()?,
        pair.last()?
    ))
}

/// What listings of a directory that began after `last` show.
fn last_looks<'a>(operations: &'a [Operation<'a>], directory: &str, last: u64) -> Vec<Look<'a>> {
    let lists = |o: &&Operation<'_>| matches!(o.op, Op::List { path } if path == directory);
    let looks = operations.iter().filter(lists).filter(|o| o.began > last);
    let shown = looks.filter_map(|look| match look.end {
        End::Ok {
            output: Some(Output::Names(names)),
            ..
        } => Some(Some(names)),
        End::Fail { error, .. } if error.starts_with("NotFound") => Some(None),
        _ => None,
    });
    shown.collect()
}

fn listings<'a>(
    operations: &'a [Operation<'a>],
    directory: &str,
) -> impl Iterator<Item = (u64, &'a Vec<(String, u64)>)> {
    let lists = move |o: &&Operation<'_>| matches!(o.op, Op::List { path } if path == directory);
    let lists = operations.iter().filter(lists);
    lists.filter_map(|operation| match operation.output() {
        Some(Output::Names(names)) => Some((operation.began, names)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::operations;
    use crate::history::tale::{Tale, file, list, names, rename};

    fn told(tell: impl Fn(&mut Tale)) -> Vec<String> {
        let mut tale = Tale::default();
        tell(&mut tale);
        let history = tale.history();
        let bank = Bank {
            vault: "/v",
            in_vault: 2,
            places: &["/a".to_owned(), "/b".to_owned(), "/b/box".to_owned()],
            in_places: 2,
            r#box: "box",
        };
        bank.complaints(&operations(&history, |_| true).unwrap())
    }

    fn vault(tale: &mut Tale) {
        tale.does(1, list("/v"), names(&[("x", 1), ("y", 2)]), 10);
    }

    fn end(tale: &mut Tale, b: &[(&str, u64)], inside: &[(&str, u64)]) {
        for _ in 0..2 {
            tale.does(1, list("/a"), names(&[("p", 3)]), 20);
            tale.does(1, list("/b"), names(b), 20);
            tale.does(1, list("/b/box"), names(inside), 20);
        }
    }

    #[test]
    fn where_all_are_there_once_nothing_is_wrong() {
        let found = told(|tale| {
            vault(tale);
            tale.does(2, rename("/v/x", "/v/z"), file(1), 11);
            tale.does(1, list("/v"), names(&[("y", 2), ("z", 1)]), 12);
            end(tale, &[("box", 9)], &[("q", 4)]);
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_nowhere_or_in_two_places_for_a_moment_is_found() {
        for seen in [&[("y", 2)][..], &[("x", 1), ("y", 2), ("z", 1)]] {
            let found = told(|tale| {
                tale.begins(2, rename("/v/x", "/v/z"));
                tale.does(1, list("/v"), names(seen), 11);
                tale.ends(2, file(1), 11);
                vault(tale);
                end(tale, &[("box", 9)], &[("q", 4)]);
            });
            assert!(
                found.len() == 1 && found[0].contains("listing 1 of the vault"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_file_that_is_nowhere_or_in_two_places_at_the_end_is_found() {
        let lost = told(|tale| {
            vault(tale);
            end(tale, &[("box", 9)], &[]);
        });
        assert!(
            lost.len() == 1 && lost[0].contains("1 files of 2"),
            "{lost:?}"
        );
        let twice = told(|tale| {
            vault(tale);
            end(tale, &[("box", 9), ("r", 4)], &[("q", 4)]);
        });
        assert_eq!(twice, ["M3: the inode 4 is at /b/r and /b/box/q"]);
    }

    #[test]
    fn an_end_that_is_seen_in_two_ways_is_found() {
        let found = told(|tale| {
            vault(tale);
            end(tale, &[("box", 9)], &[("q", 4)]);
            tale.does(1, list("/a"), names(&[("r", 3)]), 20);
        });
        assert!(
            found.len() == 1 && found[0].contains("and then"),
            "{found:?}"
        );
    }

    #[test]
    fn an_end_that_nobody_saw_is_not_good() {
        let found = told(|tale| {
            vault(tale);
            end(tale, &[("box", 9)], &[("q", 4)]);
            tale.does(2, rename("/a/p", "/b/p"), file(3), 21);
        });
        assert!(
            found.len() == 1 && found[0].contains("unknown"),
            "{found:?}"
        );
    }
}
