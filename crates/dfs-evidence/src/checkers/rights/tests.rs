#![allow(clippy::unwrap_used, reason = "a history that is none fails the test")]

use super::*;
use crate::history::operations;
use crate::history::tale::Tale;

const DENIED: &str = "AccessDenied: access denied: /d";
const READ_ONLY: &str = "NotPermitted: not permitted: u7 may only read";
const NO_SUCH_USER: &str = "AccessDenied: no such user, or not its password or key";

fn told(tell: impl Fn(&mut Tale)) -> Vec<String> {
    let mut tale = Tale::default();
    tell(&mut tale);
    let history = tale.history();
    complaints(&operations(&history, |_| true).unwrap())
}

fn mode() -> Right {
    Right::Mode("/d".to_owned())
}

fn key() -> Right {
    Right::Key("u".to_owned())
}

fn give(right: Right) -> Op {
    Op::SetRight { right, on: true }
}

fn take(right: Right) -> Op {
    Op::SetRight { right, on: false }
}

fn used(how: Use) -> Op {
    Op::UseRight {
        user: "u".to_owned(),
        right: mode(),
        how,
        path: "/d".to_owned(),
    }
}

fn list() -> Op {
    used(Use::List)
}

fn see(right: Right) -> Op {
    Op::SeeRight { right }
}

const GOOD: Vec<String> = Vec::new();

#[test]
fn what_is_refused_while_it_is_taken_away_and_done_otherwise_is_good() {
    let found = told(|tale| {
        tale.does(2, list(), None, 10);
        tale.does(1, take(mode()), None, 11);
        tale.refused(2, list(), DENIED, 11);
        tale.does(1, see(mode()), Some(Output::Is(false)), 11);
        tale.does(1, give(mode()), None, 12);
        tale.does(2, list(), None, 12);
        tale.does(2, used(Use::Make), None, 13);
    });
    assert_eq!(found, GOOD);
}

#[test]
fn what_is_done_after_its_right_was_taken_away_is_found_whatever_its_point_says() {
    for point in [0, 10, 11, 12] {
        let found = told(|tale| {
            tale.does(1, take(mode()), None, 11);
            tale.does(2, list(), None, point);
        });
        assert_eq!(found.len(), 1, "{point}: {found:?}");
        assert!(found[0].starts_with("A1: event 2 (process 2)"), "{found:?}");
    }
}

#[test]
fn what_is_done_at_a_later_point_than_its_right_was_taken_away_is_found_though_concurrent() {
    let found = told(|tale| {
        tale.begins(2, list());
        tale.does(1, take(mode()), None, 11);
        tale.ends(2, None, 11);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("off since 11"), "{found:?}");
}

#[test]
fn what_is_refused_after_its_right_was_given_back_is_found() {
    let found = told(|tale| {
        tale.does(1, take(mode()), None, 11);
        tale.does(1, give(mode()), None, 12);
        tale.refused(2, list(), DENIED, 12);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    // Without anything taken away, too.
    let found = told(|tale| {
        tale.refused(2, list(), DENIED, 12);
    });
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn what_goes_on_while_a_right_changes_may_end_either_way() {
    for (was_first, point) in [(true, 10), (false, 12)] {
        let found = told(|tale| {
            tale.begins(2, list()).begins(1, take(mode()));
            match was_first {
                true => tale.ends(2, None, point),
                false => tale.ends(1, None, 11).refused(3, list(), DENIED, point),
            };
        });
        assert_eq!(found, GOOD, "{was_first}");
    }
    // What has no point, too.
    let found = told(|tale| {
        tale.begins(1, take(mode()));
        tale.does(2, used(Use::Read), None, 0);
        tale.ends(1, None, 11);
    });
    assert_eq!(found, GOOD);
}

#[test]
fn a_change_of_unknown_outcome_was_made_or_not_and_once_at_most() {
    let found = told(|tale| {
        tale.loses(1, take(mode()));
        tale.does(2, list(), None, 11);
        tale.refused(2, list(), DENIED, 13);
        tale.does(2, see(mode()), Some(Output::Is(false)), 14);
    });
    assert_eq!(found, GOOD);
    let found = told(|tale| {
        tale.loses(1, take(mode()));
        tale.refused(2, list(), DENIED, 13);
        tale.does(2, list(), None, 14);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    let found = told(|tale| {
        tale.loses(1, take(mode()));
        tale.refused(2, list(), DENIED, 13);
        tale.does(3, give(mode()), None, 14);
        tale.refused(2, list(), DENIED, 15);
    });
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_change_that_had_no_effect_explains_nothing() {
    let found = told(|tale| {
        tale.refused(1, take(mode()), "Unavailable: no quorum", 0);
        tale.refused(2, list(), DENIED, 13);
    });
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_user_that_is_shut_out_does_nothing_and_one_that_is_not_is_let_in() {
    let found = told(|tale| {
        tale.does(1, take(key()), None, 11);
        tale.refused(2, list(), NO_SUCH_USER, 0);
        tale.does(1, give(key()), None, 12);
        tale.does(2, list(), None, 12);
        tale.does(1, take(Right::LogIn("u".to_owned())), None, 13);
        tale.refused(2, list(), NO_SUCH_USER, 0);
    });
    assert_eq!(found, GOOD);
    let found = told(|tale| {
        tale.does(1, take(key()), None, 11);
        // That there is another reason does not help: whoever is shut out is told none.
        tale.does(1, take(mode()), None, 12);
        tale.refused(2, list(), DENIED, 12);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    let found = told(|tale| {
        tale.does(1, take(key()), None, 11);
        tale.does(1, give(key()), None, 12);
        tale.refused(2, list(), NO_SUCH_USER, 0);
    });
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn who_may_only_read_changes_nothing() {
    let only_reads = || Right::Change("u".to_owned());
    let found = told(|tale| {
        tale.does(1, take(only_reads()), None, 11);
        tale.refused(2, used(Use::Cut), READ_ONLY, 12);
        tale.does(2, list(), None, 12);
    });
    assert_eq!(found, GOOD);
    let found = told(|tale| {
        tale.does(1, take(only_reads()), None, 11);
        tale.does(2, used(Use::Cut), None, 12);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    let found = told(|tale| {
        tale.refused(2, used(Use::Cut), READ_ONLY, 12);
    });
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_refusal_that_is_no_matter_of_rights_is_found_unless_it_is_of_a_fault() {
    let found = told(|tale| {
        tale.refused(2, list(), "NotFound: not found: /d", 12);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    let found = told(|tale| {
        tale.refused(2, list(), "Unavailable: no quorum", 0);
    });
    assert_eq!(found, GOOD);
}

#[test]
fn what_was_tried_is_counted() {
    let mut tale = Tale::default();
    tale.does(2, list(), None, 10);
    tale.does(1, take(mode()), None, 11);
    tale.refused(2, list(), DENIED, 12);
    tale.refused(2, list(), "Unavailable: no quorum", 0);
    let history = tale.history();
    let counted = account(&operations(&history, |_| true).unwrap());
    let expected = Account {
        permitted: 1,
        refused: 1,
        taken: 1,
    };
    assert_eq!(counted, expected);
}
