use super::*;
use crate::checkers::tale::Tale;
use crate::history::{Output, operations};

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

/// What is found in a tale, after a last look that shows `last`.
fn told(is_log: bool, last: &[Block], tell: impl Fn(&mut Tale)) -> Vec<String> {
    let mut tale = Tale::default();
    tell(&mut tale);
    tale.does(90, look(), None, 0);
    tale.does(90, read(), shows(last), 0);
    let history = tale.history();
    complaints("/c", &|_| is_log, &operations(&history, |_| true).unwrap())
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
    tale.does(90, look(), None, 0);
    tale.refused(90, read(), "Corrupt: all replicas", 0);
    let history = tale.history();
    let operations = operations(&history, |_| true).unwrap();
    one(
        &complaints("/c", &|_| false, &operations),
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
        (&right[..2], "D1: the read 6 lacks"),
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
    assert_eq!(told(true, &turned, appends).len(), 2);
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
