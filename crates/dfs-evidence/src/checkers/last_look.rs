//! The last look: when all is healed and nobody changes anything, all there is can be looked at.

use crate::history::{End, Op, Operation};
use crate::model::Seen;

/// What is wrong with the last look at `directory`, of the operations in it: it was not taken, or
/// something of it failed. A refusal that only says what names there are is an answer.
pub fn complaints(directory: &str, operations: &[Operation<'_>]) -> Vec<String> {
    let is_begin = |o: &&Operation<'_>| matches!(o.op, Op::LastLook { of } if of == directory);
    let Some(begin) = operations.iter().find(is_begin) else {
        return vec![format!(
            "P1: unknown: nobody looked at {directory} at the end"
        )];
    };
    let looks = operations.iter().filter(|o| o.began > begin.began);
    let failed = |look: &Operation<'_>| {
        let why = match look.end {
            End::Ok { .. } => return None,
            End::Fail { error, .. } if Seen::refusal(error).is_some() => return None,
            End::Fail { error, .. } => error,
            End::Unknown => "nobody knows",
        };
        let what = look.op;
        Some(format!(
            "P1: the last look at {directory} failed, {what:?}: {why}"
        ))
    };
    looks.filter_map(failed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::operations;
    use crate::history::tale::{Tale, create, file, last_look, names, stat};

    fn told(tell: impl Fn(&mut Tale)) -> Vec<String> {
        let mut tale = Tale::default();
        tell(&mut tale);
        let history = tale.history();
        complaints("/d", &operations(&history, |_| true).unwrap())
    }

    fn look() -> Op {
        let path = "/d".to_owned();
        Op::ListAll { path }
    }

    #[test]
    fn what_failed_before_the_last_look_and_names_that_are_not_there_are_no_matter() {
        let found = told(|tale| {
            tale.refused(1, create("/d/a"), "Unavailable: no quorum", 0);
            tale.does(1, last_look("/d"), None, 0);
            tale.does(1, stat("/d/a"), file(7), 10);
            tale.refused(1, stat("/d/b"), "NotFound: /d/b", 10);
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_last_look_that_fails_or_is_never_taken_is_found() {
        let found = told(|tale| {
            tale.does(1, last_look("/d"), None, 0);
            tale.does(1, stat("/d/a"), file(7), 10);
            tale.refused(1, stat("/d/b"), "Unavailable: no quorum", 0);
            tale.loses(1, look());
        });
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].ends_with("Unavailable: no quorum"), "{found:?}");
        let never = told(|tale| {
            tale.does(1, last_look("/other"), None, 0);
            tale.does(1, look(), names(&[]), 0);
        });
        assert_eq!(never, ["P1: unknown: nobody looked at /d at the end"]);
    }
}
