use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::machines::RegisterCall;
use super::*;
use crate::checkers::certificate::is_of_names;
use crate::checkers::rehearsal::Rehearsal;
use crate::history::{Event, Output, operations};
use crate::model::Namespace;

/// The verdict of all judges, which must be one.
fn agreed<M: Machine>(machine: &M, history: &[Timed<M::Call>]) -> Finding {
    let exhaustive = Exhaustive.judge(machine, history);
    let search = Search::default().judge(machine, history);
    assert_eq!(search, exhaustive, "{history:#?}");
    #[cfg(feature = "porcupine")]
    assert_eq!(
        Porcupine::default().judge(machine, history),
        exhaustive,
        "{history:#?}"
    );
    exhaustive
}

/// Calls at random times with random answers: right, wrong, or nearly.
fn any_register(random: &mut StdRng) -> Vec<Timed<RegisterCall>> {
    let calls = random.random_range(1..=8);
    let call = |_| {
        let began = random.random_range(0..20) * 2;
        let number = random.random_range(0..3);
        let lasts = random.random_range(0..6) * 2 + 1;
        match random.random_range(0..5) {
            0..2 => Timed {
                began,
                ended: Some(began + lasts),
                call: RegisterCall::Set(number),
            },
            2 => Timed {
                began,
                ended: None,
                call: RegisterCall::Set(number),
            },
            _ => Timed {
                began,
                ended: Some(began + lasts),
                call: RegisterCall::Get((number > 0).then_some(number)),
            },
        }
    };
    (0..calls).map(call).collect()
}

#[test]
fn judges_agree_on_random_registers() {
    let mut random = StdRng::seed_from_u64(5);
    let mut found = [0, 0];
    for _ in 0..4000 {
        let history = any_register(&mut random);
        found[usize::from(agreed(&Register, &history) == Finding::Right)] += 1;
    }
    assert!(found[0] > 500 && found[1] > 500, "{found:?}");
}

fn judge_names(history: &[Event], judge: &impl Judge, most: usize) -> Finding {
    let operations = operations(history, is_of_names).unwrap();
    judge.judge(&Names(Namespace::new()), &names(&operations, most))
}

#[test]
fn judges_agree_on_random_names() {
    let mut random = StdRng::seed_from_u64(6);
    let mut found = [0, 0];
    for seed in 0..600 {
        let rehearsal = Rehearsal {
            seed,
            operations: 8,
            names: 1,
            unanswered: 100,
            clients: 3,
        };
        let mut history = rehearsal.history();
        // Some are made wrong, if it matters.
        let at = random.random_range(0..history.len());
        for event in &mut history[at..] {
            match &mut event.output {
                Some(Output::Node(node)) => node.links += 1,
                Some(Output::Names(names)) => drop(names.pop()),
                _ => continue,
            }
            break;
        }
        let operations = operations(&history, is_of_names).unwrap();
        let calls = names(&operations, usize::MAX);
        let right = agreed(&Names(Namespace::new()), &calls) == Finding::Right;
        found[usize::from(right)] += 1;
    }
    assert!(found[0] > 50 && found[1] > 50, "{found:?}");
}

/// The verdict on names of those judges that can judge long histories, which must be one.
fn agreed_on_names(history: &[Event], most: usize) -> Finding {
    let search = judge_names(history, &Search::default(), most);
    #[cfg(feature = "porcupine")]
    assert_eq!(judge_names(history, &Porcupine::default(), most), search);
    search
}

#[test]
fn long_histories_are_judged_as_well() {
    let rehearsal = Rehearsal {
        operations: 1000,
        unanswered: 2,
        ..Rehearsal::default()
    };
    let mut history = rehearsal.history();
    assert_eq!(agreed_on_names(&history, usize::MAX), Finding::Right);
    let late = history
        .iter()
        .rposition(|e| matches!(e.output, Some(Output::Node(_))))
        .unwrap();
    if let Some(Output::Node(node)) = &mut history[late].output {
        node.links += 1;
    }
    assert_eq!(agreed_on_names(&history, usize::MAX), Finding::Wrong);
    // Of the beginning nothing is wrong.
    assert_eq!(agreed_on_names(&history, 500), Finding::Right);
}

#[test]
fn a_judge_that_gives_up_has_found_nothing_good() {
    let history = Rehearsal::default().history();
    let search = Search { steps_max: 20 };
    assert_eq!(judge_names(&history, &search, usize::MAX), Finding::Unknown);
    assert_eq!(
        judge_names(&history, &Exhaustive, usize::MAX),
        Finding::Unknown
    );
    let operations = operations(&history, is_of_names).unwrap();
    let names = names(&operations, usize::MAX);
    let complaint = search.complaint("names", &Names(Namespace::new()), &names);
    assert!(complaint.is_some_and(|c| c.contains("unknown")));
}

#[test]
fn a_register_that_goes_back_is_found() {
    let timed = |began, ended, call| Timed { began, ended, call };
    let set = |number, at| timed(at, Some(at + 1), RegisterCall::Set(number));
    let get = |number, at| timed(at, Some(at + 1), RegisterCall::Get(number));
    let judge = |history: &[_]| agreed(&Register, history);
    assert_eq!(
        judge(&[set(1, 0), set(2, 2), get(Some(2), 4)]),
        Finding::Right
    );
    assert_eq!(
        judge(&[set(1, 0), set(2, 2), get(Some(1), 4)]),
        Finding::Wrong
    );
    assert_eq!(judge(&[set(1, 0), get(None, 2)]), Finding::Wrong);
    let lost = timed(0, None, RegisterCall::Set(1));
    assert_eq!(
        judge(&[lost.clone(), get(None, 2), get(Some(1), 4)]),
        Finding::Right
    );
    assert_eq!(
        judge(&[lost, get(Some(1), 2), get(None, 4)]),
        Finding::Wrong
    );
}
