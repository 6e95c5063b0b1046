use super::*;
use crate::history::tale::{Tale, last_look, rename, unlink};
use crate::history::{BLOCK_LEN, Event, Node, operations};

const PATH: &str = "/c/f7";

fn put(version: u64, blocks: u64) -> Op {
    Op::Put {
        path: PATH.into(),
        file: 7,
        version,
        blocks,
    }
}

fn append(version: u64, blocks: u64) -> Op {
    Op::Append {
        path: PATH.into(),
        file: 7,
        version,
        blocks,
    }
}

fn overwrite(version: u64, first: u64, blocks: u64) -> Op {
    Op::Overwrite {
        path: PATH.into(),
        file: 7,
        version,
        first,
        blocks,
    }
}

fn truncate(version: u64, blocks: u64) -> Op {
    Op::Truncate {
        path: PATH.into(),
        file: 7,
        version,
        blocks,
    }
}

fn read() -> Op {
    let path = PATH.into();
    Op::ReadBlocks { path }
}

fn look() -> Op {
    let path = "/c".into();
    Op::ListAll { path }
}

fn data(version: u64, place: u64) -> Block {
    Block::Data {
        file: 7,
        version,
        place,
    }
}

fn shows(blocks: &[Block]) -> Option<Output> {
    Some(Output::Blocks(blocks.to_vec()))
}

fn judged(is_log: bool, history: &[Event]) -> Vec<String> {
    let files = Files {
        root: "/c",
        directories: &["/c"],
        log: if is_log { PATH } else { "/c/log" },
    };
    files.complaints(&operations(history, |_| true).unwrap())
}

fn listed(names: &[&str]) -> Option<Output> {
    let names = names.iter().map(|name| ((*name).to_owned(), 1));
    Some(Output::Names(names.collect()))
}

/// What is found in a tale, after a last look that shows `last`.
fn told(is_log: bool, last: &[Block], tell: impl Fn(&mut Tale)) -> Vec<String> {
    let mut tale = Tale::default();
    tell(&mut tale);
    tale.does(90, last_look("/c"), None, 0);
    tale.does(90, look(), listed(&["f7"]), 0);
    tale.does(90, read(), shows(last), 0);
    judged(is_log, &tale.history())
}

fn one(found: &[String], beginning: &str) {
    assert!(
        found.len() == 1 && found[0].starts_with(beginning),
        "{found:?}"
    );
}

#[test]
fn reads_that_show_what_was_written_are_right() {
    let last = [data(3, 0), data(4, 1), Block::Hole];
    let found = told(false, &last, |tale| {
        tale.does(2, read(), None, 0);
        tale.does(1, put(1, 2), None, 0);
        tale.begins(1, put(2, 1));
        // While it is replaced, either is right, but one reader does not go back.
        tale.does(2, read(), shows(&[data(1, 0), data(1, 1)]), 0);
        tale.does(2, read(), shows(&[data(2, 0)]), 0);
        tale.ends(1, None, 0);
        tale.does(1, put(3, 1), None, 0);
        tale.does(1, overwrite(4, 1, 1), None, 0);
        tale.does(1, append(5, 1), Some(Output::Offset(2)), 0);
        tale.does(2, read(), shows(&[data(3, 0), data(4, 1), data(5, 0)]), 0);
        tale.does(1, truncate(6, 2), None, 0);
        tale.does(1, truncate(7, 3), None, 0);
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_write_of_unknown_outcome_may_be_seen_or_not_but_not_come_and_go() {
    let (old, new) = ([data(1, 0)], [data(2, 0)]);
    let writes = |tale: &mut Tale| {
        tale.does(1, put(1, 1), None, 0).loses(1, put(2, 1));
    };
    assert_eq!(told(false, &old, writes), Vec::<String>::new());
    let later = told(false, &new, |tale| {
        writes(tale);
        tale.does(2, read(), shows(&old), 0);
    });
    assert_eq!(later, Vec::<String>::new());
    let back = told(false, &old, |tale| {
        writes(tale);
        tale.does(2, read(), shows(&new), 0);
    });
    one(&back, "D1: stale");
}

#[test]
fn every_kind_of_wrong_bytes_is_told_apart() {
    let foreign = Block::Data {
        file: 9,
        version: 2,
        place: 1,
    };
    for (shown, right) in [
        (&[data(1, 0), data(1, 1)][..], "D1: stale"),
        (
            &[data(3, 0), data(3, 1)],
            "D1: a state of the file that was not written yet",
        ),
        (&[data(2, 0), Block::Bad], "D3: block 1 is torn"),
        (&[data(2, 0), Block::Hole], "D8: block 1 is a hole"),
        (&[data(2, 0), data(1, 1)], "D1: block 1 is of another state"),
        (&[data(2, 0), data(2, 0)], "D1: block 1 is of another state"),
        (
            &[data(2, 0), foreign],
            "D3: block 1 is of write 2 of file 9",
        ),
        (&[data(2, 0)], "D1: 1 blocks, a length"),
    ] {
        let found = told(false, &[data(3, 0), data(3, 1)], |tale| {
            tale.does(1, put(1, 2), None, 0).does(1, put(2, 2), None, 0);
            tale.does(2, read(), shows(shown), 0);
            tale.does(1, put(3, 2), None, 0);
        });
        one(&found, right);
    }
    let found = told(false, &[data(2, 0), data(2, 1)], |tale| {
        tale.does(1, put(1, 2), None, 0).begins(1, put(2, 2));
        tale.does(2, read(), shows(&[data(1, 0), data(2, 1)]), 0);
        tale.ends(1, None, 0);
    });
    one(&found, "D1: a mixture");
}

#[test]
fn a_file_that_is_gone_or_cannot_be_read_at_the_end_is_found() {
    let gone = told(false, &[data(1, 0)], |tale| {
        tale.does(1, put(1, 1), None, 0);
        tale.does(2, read(), None, 0);
    });
    one(&gone, "D1: the file is gone");
    let mut tale = Tale::default();
    tale.does(1, put(1, 1), None, 0);
    tale.does(90, last_look("/c"), None, 0);
    tale.does(90, look(), listed(&["f7"]), 0);
    tale.refused(90, read(), "Corrupt: all replicas", 0);
    one(
        &judged(false, &tale.history()),
        "D1: /c/f7: it cannot be read at the end: Corr",
    );
}

#[test]
fn an_append_that_lands_elsewhere_is_found() {
    let found = told(false, &[data(1, 0), data(2, 0)], |tale| {
        tale.does(1, put(1, 1), None, 0);
        tale.does(1, append(2, 1), Some(Output::Offset(0)), 0);
    });
    one(&found, "D1: an append went to block 0");
}

fn at(block: u64) -> Option<Output> {
    Some(Output::Offset(block))
}

#[test]
fn a_log_that_holds_each_append_once_is_right() {
    let last = [data(1, 0), data(1, 1), data(3, 0), data(2, 0)];
    let found = told(true, &last, |tale| {
        tale.does(1, append(1, 2), at(0), 0).begins(2, append(2, 1));
        tale.does(3, read(), shows(&last[..2]), 0);
        tale.loses(4, append(3, 1)).loses(5, append(4, 1));
        tale.ends(2, at(3), 0);
        tale.refused(6, append(5, 1), "Unavailable: no quorum", 0);
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_wrong_of_a_log_is_found() {
    let right = [data(1, 0), data(1, 1), data(2, 0)];
    let appends = |tale: &mut Tale| {
        tale.does(1, append(1, 2), at(0), 0)
            .does(1, append(2, 1), at(2), 0);
    };
    assert_eq!(told(true, &right, appends), Vec::<String>::new());
    for (last, wrong) in [
        (&right[..2], "D1: the read 8 lacks"),
        (
            &[&right[..], &right[2..]].concat(),
            "M5: the append 2 is there twice",
        ),
        (
            &[&right[..], &[Block::Hole]].concat(),
            "D8: block 3 is a hole",
        ),
        (&[&right[..], &[Block::Bad]].concat(), "D3: block 3 is torn"),
        (&[&right[..], &[data(9, 0)]].concat(), "D3: nobody made"),
        (
            &[&right[..], &[data(1, 1)]].concat(),
            "D1: block 3 is block 1 of",
        ),
    ] {
        one(&told(true, last, appends), wrong);
    }
    let turned = [data(2, 0), data(1, 0), data(1, 1)];
    let found = told(true, &turned, appends);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[2].contains("began after 1 was acknowledged"),
        "{found:?}"
    );
    let refused = told(true, &right, |tale| {
        tale.does(1, append(1, 2), at(0), 0);
        tale.refused(1, append(2, 1), "Unavailable", 0);
    });
    one(&refused, "M5: the append 2 was refused and is there");
    let stale = told(true, &right, |tale| {
        tale.does(1, append(1, 2), at(0), 0).begins(1, append(2, 1));
        tale.does(2, read(), shows(&right), 0);
        tale.does(2, read(), shows(&right[..2]), 0);
        tale.ends(1, at(2), 0);
    });
    one(&stale, "D1: stale");
}

fn put_at(path: &str, version: u64) -> Op {
    Op::Put {
        path: path.into(),
        file: 7,
        version,
        blocks: 1,
    }
}

fn read_at(path: &str) -> Op {
    let path = path.into();
    Op::ReadBlocks { path }
}

fn link(from: &str, to: &str) -> Op {
    let (from, to) = (from.into(), to.into());
    Op::Link { from, to }
}

fn to_trash(path: &str) -> Op {
    let (path, skip_trash) = (path.into(), false);
    Op::Unlink { path, skip_trash }
}

fn restore(trash: u64, to: &str) -> Op {
    let to = Some(to.into());
    Op::Restore { trash, to }
}

fn drop_trash(trash: u64) -> Op {
    let path = A.into();
    Op::DropTrash { trash, path }
}

fn trashed(id: u64) -> Option<Output> {
    Some(Output::Trash(Some(id)))
}

fn node(inode: u64, blocks: usize, links: u64) -> Option<Output> {
    Some(Output::Node(Node {
        inode,
        directory: false,
        size: (blocks * BLOCK_LEN) as u64,
        links,
    }))
}

const A: &str = "/c/f7.a";
const B: &str = "/c/f7.b";

/// What is found in a tale of files with several names, after a last look that shows `last`: names
/// and the version that each holds.
fn told_of_names(last: &[(&str, Option<u64>)], tell: impl Fn(&mut Tale)) -> Vec<String> {
    let mut tale = Tale::default();
    tell(&mut tale);
    tale.does(90, last_look("/c"), None, 0);
    let there = last.iter().filter(|(_, holds)| holds.is_some());
    let names: Vec<&str> = there.map(|(path, _)| &path[3..]).collect();
    tale.does(90, look(), listed(&names), 0);
    for (path, holds) in last {
        let shown = holds.and_then(|version| shows(&[data(version, 0)]));
        tale.does(90, read_at(path), shown, 0);
    }
    judged(false, &tale.history())
}

/// Two names of one file; then one of them goes for good and the other to the trash and back.
fn names_come_and_go(tale: &mut Tale) {
    tale.does(1, put_at(PATH, 1), node(70, 1, 1), 0);
    tale.does(1, link(PATH, A), node(70, 1, 2), 0);
    tale.does(1, unlink(PATH), Some(Output::Trash(None)), 0);
    tale.does(1, to_trash(A), trashed(3), 0);
    tale.does(1, put_at(A, 2), node(71, 1, 1), 0);
    tale.does(1, restore(3, B), node(70, 1, 1), 0);
}

#[test]
fn files_whose_names_come_and_go_are_right() {
    let found = told_of_names(
        &[(PATH, None), (A, Some(2)), (B, Some(1))],
        names_come_and_go,
    );
    assert_eq!(found, Vec::<String>::new());
    let replaced = told_of_names(&[(A, None), (B, Some(2))], |tale| {
        names_come_and_go(tale);
        tale.does(1, rename(A, B), node(71, 1, 1), 0);
        // Onto itself: nothing happens.
        tale.does(1, rename(B, B), node(71, 1, 1), 0);
        tale.does(1, to_trash(B), trashed(4), 0);
        tale.refused(1, restore(3, A), "NotFound: t3", 0);
        tale.does(1, restore(4, B), node(71, 1, 1), 0);
    });
    assert_eq!(replaced, Vec::<String>::new());
    let linked = told_of_names(&[(PATH, Some(1)), (A, Some(1)), (B, None)], |tale| {
        tale.does(1, put_at(PATH, 1), None, 0);
        tale.does(1, link(PATH, A), None, 0);
        tale.does(1, rename(PATH, A), None, 0);
        tale.does(1, link(A, B), None, 0);
        tale.does(1, to_trash(B), trashed(5), 0);
        tale.does(1, drop_trash(5), None, 0);
    });
    assert_eq!(linked, Vec::<String>::new());
}

#[test]
fn a_removal_of_one_name_that_takes_the_bytes_from_another_is_found() {
    for wrong in [shows(&[Block::Hole]), shows(&[]), None] {
        let found = told_of_names(&[(A, Some(1))], |tale| {
            tale.does(1, put_at(PATH, 1), None, 0);
            tale.does(1, link(PATH, A), None, 0);
            tale.does(1, unlink(PATH), Some(Output::Trash(None)), 0);
            tale.does(2, read_at(A), wrong.clone(), 0);
        });
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn a_change_through_one_name_that_another_does_not_show_is_found() {
    let cut = Op::Truncate {
        path: A.into(),
        file: 7,
        version: 2,
        blocks: 0,
    };
    let tell = |tale: &mut Tale| {
        tale.does(1, put_at(PATH, 1), None, 0);
        tale.does(1, link(PATH, A), None, 0);
        tale.does(1, cut.clone(), None, 0);
        tale.does(90, last_look("/c"), None, 0);
        tale.does(90, look(), listed(&["f7", "f7.a"]), 0);
        tale.does(90, read_at(A), shows(&[]), 0);
    };
    for (shown, wrongs) in [(&[][..], 0), (&[data(1, 0)], 1)] {
        let mut tale = Tale::default();
        tell(&mut tale);
        tale.does(90, read_at(PATH), shows(shown), 0);
        assert_eq!(judged(false, &tale.history()).len(), wrongs);
    }
}

#[test]
fn a_name_that_shows_another_file_than_it_should_is_found() {
    let last = [(PATH, None), (A, Some(2)), (B, Some(1))];
    for (path, version) in [(A, 1), (B, 2), (PATH, 1), (PATH, 2)] {
        let found = told_of_names(&last, |tale| {
            names_come_and_go(tale);
            tale.does(2, read_at(path), shows(&[data(version, 0)]), 0);
        });
        assert_eq!(found.len(), 1, "{found:?}");
    }
    for (path, version) in [(A, None), (B, None), (PATH, Some(1))] {
        let mut last = last;
        *last.iter_mut().find(|(p, _)| *p == path).unwrap() = (path, version);
        let found = told_of_names(&last, names_come_and_go);
        assert!(!found.is_empty(), "{path}");
    }
}

#[test]
fn while_a_name_moves_readers_may_find_it_at_either_place_and_do_not_see_it_come_back() {
    let last = [(PATH, None), (A, Some(1))];
    let moves = |tale: &mut Tale| {
        tale.does(1, put_at(PATH, 1), None, 0)
            .begins(1, rename(PATH, A));
        tale.does(2, read_at(PATH), shows(&[data(1, 0)]), 0);
        tale.does(2, read_at(A), shows(&[data(1, 0)]), 0);
    };
    let found = told_of_names(&last, |tale| {
        moves(tale);
        tale.does(2, read_at(PATH), None, 0).ends(1, None, 0);
    });
    assert_eq!(found, Vec::<String>::new());
    let found = told_of_names(&last, |tale| {
        moves(tale);
        tale.does(2, read_at(PATH), shows(&[data(1, 0)]), 0);
        tale.ends(1, None, 0);
    });
    one(&found, "D1: stale");
}

#[test]
fn a_removal_of_unknown_outcome_may_be_seen_or_not() {
    for there in [Some(1), None] {
        let found = told_of_names(&[(PATH, there)], |tale| {
            tale.does(1, put_at(PATH, 1), None, 0)
                .loses(1, to_trash(PATH));
        });
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn wrong_answers_to_changes_of_names_are_found() {
    let found = |tell: &dyn Fn(&mut Tale)| {
        let found = told_of_names(&[(PATH, Some(1))], |tale| {
            tale.does(1, put_at(PATH, 1), node(70, 1, 1), 0);
            tell(tale);
        });
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    let refused = found(&|tale| {
        tale.refused(1, link(PATH, A), "NotFound: /c/f7", 0);
    });
    assert!(refused.starts_with("D1: NotFound"), "{refused}");
    let twice = found(&|tale| {
        tale.does(1, to_trash(PATH), trashed(3), 0);
        tale.does(1, restore(3, PATH), None, 0);
        tale.does(1, restore(3, A), None, 0);
    });
    assert!(
        twice.starts_with("M1: it was done, and NotFound"),
        "{twice}"
    );
    for wrong in [node(70, 0, 1), node(70, 1, 2), node(71, 1, 1)] {
        let gave = found(&|tale| {
            tale.does(1, rename(PATH, PATH), wrong.clone(), 0);
        });
        assert!(gave.starts_with("D1: it gave"), "{gave}");
    }
    let for_good = found(&|tale| {
        tale.does(1, to_trash(PATH), Some(Output::Trash(None)), 0);
        tale.does(1, put_at(PATH, 1), None, 0);
    });
    assert!(for_good.starts_with("D4: what was removed"), "{for_good}");
}

#[test]
fn a_name_that_nobody_made_or_that_is_not_listed_is_found() {
    let mut tale = Tale::default();
    tale.does(1, put(1, 1), None, 0);
    tale.does(90, last_look("/c"), None, 0);
    tale.does(90, look(), listed(&["f8"]), 0);
    tale.does(90, read(), shows(&[data(1, 0)]), 0);
    let found = judged(false, &tale.history());
    assert_eq!(
        found,
        [
            "D1: /c/f7: it is not listed at the end",
            "D1: /c/f8: nobody made it"
        ]
    );
}

fn clone_of(from: &str, to: &str, replace: bool) -> Op {
    let (from, to) = (from.to_owned(), to.to_owned());
    Op::Clone { from, to, replace }
}

#[test]
fn a_clone_has_the_bytes_of_its_moment_whatever_becomes_of_the_file_it_was_made_of() {
    let clones = |tale: &mut Tale| {
        tale.does(1, put_at(PATH, 1), node(70, 1, 1), 0);
        tale.does(1, clone_of(PATH, A, false), node(71, 1, 1), 0);
        tale.does(1, put_at(B, 2), node(72, 1, 1), 0);
        tale.does(1, clone_of(B, PATH, true), node(73, 1, 1), 0);
        tale.refused(1, clone_of(A, B, false), "Exists: /c/f7.b", 0);
    };
    let right = [(PATH, Some(2)), (A, Some(1)), (B, Some(2))];
    assert_eq!(told_of_names(&right, clones), Vec::<String>::new());
    let shared = [(PATH, Some(2)), (A, Some(2)), (B, Some(2))];
    assert_eq!(told_of_names(&shared, clones).len(), 1);
    let same_id = told_of_names(&right, |tale| {
        clones(tale);
        tale.does(1, rename(A, A), node(70, 1, 1), 0);
    });
    one(&same_id, "D1: it gave");
}

#[test]
fn a_concatenation_is_all_of_both_files_and_takes_the_name_of_the_second() {
    let concat = |tale: &mut Tale| {
        tale.does(1, put(1, 2), None, 0);
        tale.does(1, put_at(A, 2), None, 0);
        let (to, from) = (PATH.to_owned(), A.to_owned());
        tale.does(1, Op::Concat { to, from }, node(70, 3, 1), 0);
    };
    let whole = [data(1, 0), data(1, 1), data(2, 0)];
    assert_eq!(told(false, &whole, concat), Vec::<String>::new());
    for wrong in [&whole[..2], &[whole[0], whole[1], whole[1]]] {
        assert_eq!(told(false, wrong, concat).len(), 1);
    }
    let still_there = told(false, &whole, |tale| {
        concat(tale);
        tale.does(2, read_at(A), shows(&[data(2, 0)]), 0);
    });
    one(&still_there, "D1: stale");
}
