use super::*;
use crate::checkers::rehearsal::Rehearsal;
use crate::history::tale::{
    Tale, create, directory, file, gone, list, mkdir, names, rename, stat, unlink,
};
use crate::history::{Event, Kind, Output, operations};

fn judge(history: &[Event]) -> Verdict {
    let operations = operations(history, is_of_names).unwrap();
    check(&Namespace::new(), &operations)
}

#[test]
fn histories_that_are_right_are_found_right() {
    let mut compared = 0;
    for seed in 0..40 {
        let rehearsal = Rehearsal {
            seed,
            operations: 400,
            ..Rehearsal::default()
        };
        let verdict = judge(&rehearsal.history());
        assert_eq!(
            verdict.complaints("M1"),
            Vec::<String>::new(),
            "seed {seed}"
        );
        compared += verdict.compared;
    }
    assert_eq!(compared, 40 * 400);
}

#[test]
fn histories_with_lost_answers_are_found_right() {
    for seed in 0..60 {
        let rehearsal = Rehearsal {
            seed,
            operations: 400,
            unanswered: 15,
            ..Rehearsal::default()
        };
        let verdict = judge(&rehearsal.history());
        assert_eq!(
            verdict.complaints("M1"),
            Vec::<String>::new(),
            "seed {seed}"
        );
        assert!(verdict.unanswered < 30 && verdict.compared > 350);
    }
}

/// The complaints of a history that is told.
fn told(tell: impl Fn(&mut Tale)) -> Vec<String> {
    let mut tale = Tale::default();
    tell(&mut tale);
    judge(&tale.history()).complaints("M1")
}

/// There is one complaint, and it speaks of this.
fn one(complaints: &[String], word: &str) {
    assert!(
        complaints.len() == 1 && complaints[0].contains(word),
        "{complaints:?}"
    );
}

#[test]
fn a_change_that_was_acknowledged_and_is_missing_is_found() {
    let found = told(|tale| {
        tale.does(1, create("/a"), file(7), 10);
        tale.refused(2, stat("/a"), "NotFound: /a", 12);
    });
    one(&found, "to do it was right");
}

#[test]
fn a_read_of_the_past_is_found() {
    let found = told(|tale| {
        tale.does(1, create("/a"), file(7), 10);
        tale.refused(2, stat("/a"), "NotFound: /a", 9);
    });
    one(&found, "in the past");
    let found = told(|tale| {
        tale.begins(2, stat("/a"))
            .does(1, create("/a"), file(7), 10);
        tale.ends(2, file(7), 10);
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_change_that_is_done_twice_is_found() {
    let found = told(|tale| {
        tale.does(1, create("/a"), file(7), 10);
        tale.does(1, rename("/a", "/b"), file(7), 11);
        tale.does(1, create("/a"), file(8), 12);
        // The rename comes again: what is at `/a` is at `/b` now.
        tale.does(2, stat("/b"), file(8), 14);
    });
    one(&found, "the inode 7 was right");
}

#[test]
fn a_rename_that_is_seen_half_done_is_found() {
    for seen in [&[("a", 7), ("b", 7)][..], &[]] {
        let found = told(|tale| {
            tale.does(1, create("/a"), file(7), 10);
            tale.begins(1, rename("/a", "/b"));
            tale.does(2, list("/"), names(seen), 11);
            tale.ends(1, file(7), 12);
        });
        one(&found, "the names [\"a\"] were right");
    }
}

#[test]
fn an_id_that_comes_again_is_found() {
    let found = told(|tale| {
        tale.does(1, create("/a"), file(7), 10);
        tale.does(1, unlink("/a"), gone(), 11);
        tale.does(1, create("/b"), file(7), 12);
    });
    one(&found, "another's");
}

#[test]
fn a_wrong_refusal_is_found() {
    let found = told(|tale| {
        tale.refused(1, create("/a"), "Exists: /a", 10);
    });
    one(&found, "to do it was right");
    let found = told(|tale| {
        tale.does(1, mkdir("/d"), directory(7), 10);
        tale.refused(1, unlink("/d"), "NotFound: /d", 11);
    });
    one(&found, "IsADirectory was right");
}

#[test]
fn two_leaders_with_two_histories_are_found() {
    let found = told(|tale| {
        tale.begins(1, create("/a")).begins(2, create("/b"));
        tale.ends(1, file(7), 10);
        tale.ends(2, file(8), 10).in_term(2);
    });
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("two histories") && found[1].contains("two changes"));
    let found = told(|tale| {
        tale.begins(1, create("/a")).begins(2, create("/b"));
        tale.ends(1, file(7), 10).in_term(3);
        tale.ends(2, file(8), 11).in_term(2);
    });
    one(&found, "two histories");
}

#[test]
fn an_operation_without_an_answer_may_have_been_done_or_not_but_not_both() {
    let done = |tale: &mut Tale| {
        tale.loses(1, create("/a"));
        tale.does(2, stat("/a"), file(7), 12);
    };
    let not = |tale: &mut Tale| {
        tale.loses(1, create("/a"));
        tale.refused(2, stat("/a"), "NotFound: /a", 12);
    };
    assert_eq!((told(done), told(not)), (Vec::new(), Vec::new()));
    let late = told(|tale| {
        not(tale);
        tale.does(2, stat("/a"), file(7), 14);
    });
    assert_eq!(late, Vec::<String>::new());
    let both = told(|tale| {
        done(tale);
        tale.refused(2, stat("/a"), "NotFound: /a", 14);
    });
    one(&both, "to do it was right");
    let twice = told(|tale| {
        done(tale);
        tale.does(2, unlink("/a"), gone(), 13);
        tale.does(2, stat("/a"), file(8), 20);
    });
    one(&twice, "NotFound was right");
}

#[test]
fn operations_without_an_answer_may_depend_on_each_other() {
    let found = told(|tale| {
        tale.does(1, mkdir("/d"), directory(6), 10);
        tale.loses(1, create("/d/x"));
        tale.loses(3, rename("/d", "/e"));
        tale.loses(4, rename("/e/x", "/a"));
        tale.does(2, stat("/a"), file(7), 20);
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_operation_without_an_answer_is_not_done_before_it_began_nor_where_there_is_no_room() {
    let found = told(|tale| {
        tale.begins(2, stat("/a"))
            .does(3, mkdir("/d"), directory(7), 10);
        tale.loses(1, create("/a"));
        tale.ends(2, file(8), 10);
    });
    one(&found, "NotFound was right");
    let found = told(|tale| {
        tale.does(3, mkdir("/d"), directory(7), 10);
        tale.loses(1, create("/a"));
        tale.does(3, mkdir("/e"), directory(8), 11);
        tale.does(2, stat("/a"), file(9), 11);
    });
    one(&found, "NotFound was right");
}

#[test]
fn a_lost_restore_is_the_reason_that_an_entry_of_the_trash_is_not_there() {
    let restore = |to: &str| Op::Restore {
        trash: 5,
        to: Some(to.to_owned()),
    };
    let remove = Op::Unlink {
        path: "/a".to_owned(),
        skip_trash: false,
    };
    let found = told(|tale| {
        tale.does(1, create("/a"), file(7), 10);
        tale.does(1, remove.clone(), Some(Output::Trash(Some(5))), 11);
        tale.does(1, create("/b"), file(8), 12);
        tale.loses(2, restore("/c"));
        tale.refused(1, restore("/b"), "NotFound: t5", 20);
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn where_there_are_too_many_explanations_the_verdict_is_unknown() {
    let found = told(|tale| {
        for number in 0..20 {
            tale.loses(100 + number, create(&format!("/n{number}")));
        }
        // What none of them explains is none until all are tried.
        tale.does(1, list("/"), names(&[("x", 7)]), 50);
    });
    one(&found, "M1: unknown");
}

#[test]
fn what_has_no_point_of_history_is_not_judged_right() {
    let found = told(|tale| {
        tale.does(1, create("/a"), file(7), 0);
    });
    one(&found, "no point of history");
    let found = told(|tale| {
        tale.refused(1, stat("/a"), "NotFound: /a", 0);
        // This one is no matter of names.
        tale.refused(1, stat("/a"), "Unavailable: no quorum", 0);
    });
    one(&found, "no point of history");
}

#[test]
fn what_gave_nothing_is_found() {
    for (op, gave) in [(create("/a"), file(7)), (list("/"), names(&[]))] {
        let found = told(|tale| {
            tale.does(1, op.clone(), None, 10);
        });
        one(&found, "gave nothing");
        let right = told(|tale| {
            tale.does(1, op.clone(), gave.clone(), 10);
        });
        assert_eq!(right, Vec::<String>::new());
    }
}

#[test]
fn points_of_different_directories_must_agree_too() {
    let mut tale = Tale::default();
    tale.does(1, create("/a/x"), file(7), 10);
    tale.does(2, create("/b/x"), file(8), 9);
    let history = tale.history();
    let found = contradictions(&operations(&history, |_| true).unwrap());
    one(&found, "in the past of what ended before");
}

#[test]
fn a_wrong_answer_anywhere_is_found() {
    let rehearsal = Rehearsal {
        operations: 300,
        ..Rehearsal::default()
    };
    let history = rehearsal.history();
    let mut tried = 0;
    for at in (0..history.len()).step_by(7) {
        let mut wrong = history.clone();
        let event = &mut wrong[at];
        match (&mut event.output, event.kind) {
            (Some(Output::Node(node)), Kind::Ok) => node.links += 1,
            (Some(Output::Names(names)), Kind::Ok) => names.push(("zz".into(), 9)),
            (_, Kind::Fail) => event.error = Some("NotPermitted: refused".into()),
            _ => continue,
        }
        tried += 1;
        assert_ne!(
            judge(&wrong).complaints("M1"),
            Vec::<String>::new(),
            "event {at}"
        );
    }
    assert!(tried > 20);
}
