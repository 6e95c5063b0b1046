//! The machines that black boxes are compared with, and how histories become calls of them.

use std::collections::BTreeMap;

use super::{Machine, Timed};
use crate::history::{End, Op, Operation, Output};
use crate::model::{Namespace, Seen};

/// A register: what was last written is what is read.
#[derive(Debug, Clone, Default)]
pub struct Register;

/// A read or write of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterCall {
    /// It was written.
    Set(u64),
    /// It was read, and this was in it; nothing if it did not exist.
    Get(Option<u64>),
}

impl Machine for Register {
    type State = Option<u64>;
    type Call = RegisterCall;

    fn start(&self) -> Option<u64> {
        None
    }

    fn step(state: &Option<u64>, call: &RegisterCall) -> Option<Option<u64>> {
        match call {
            RegisterCall::Set(number) => Some(Some(*number)),
            RegisterCall::Get(seen) => (seen == state).then_some(*state),
        }
    }
}

/// The calls of each register of a history.
pub fn registers(operations: &[Operation<'_>]) -> BTreeMap<String, Vec<Timed<RegisterCall>>> {
    let mut keys: BTreeMap<String, Vec<Timed<RegisterCall>>> = BTreeMap::new();
    for operation in operations {
        let (key, call) = match (operation.op, &operation.end) {
            (Op::Set { key, number }, End::Ok { .. } | End::Unknown) => {
                (key, RegisterCall::Set(*number))
            }
            (
                Op::Get { key },
                End::Ok {
                    output: Some(Output::Number(number)),
                    ..
                },
            ) => (key, RegisterCall::Get(*number)),
            _ => continue,
        };
        keys.entry(key.clone()).or_default().push(Timed {
            began: operation.began,
            ended: operation.ended(),
            call,
        });
    }
    keys
}

/// A namespace: the model.
#[derive(Debug, Clone)]
pub struct Names(pub Namespace);

/// An operation on names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesCall {
    number: u64,
    op: Op,
    answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Done(Option<Output>),
    Refused(String),
    None,
}

impl Machine for Names {
    type State = Namespace;
    type Call = NamesCall;

    fn start(&self) -> Namespace {
        self.0.clone()
    }

    fn step(state: &Namespace, call: &NamesCall) -> Option<Namespace> {
        let mut next = state.clone();
        let seen = match &call.answer {
            Answer::Done(output) => Seen::Done(output.as_ref()),
            Answer::Refused(reason) => Seen::Refused(reason),
            Answer::None => {
                // Refused, it has changed nothing.
                let _ = next.apply_unheard(&call.op, call.number);
                return Some(next);
            }
        };
        next.admit(&call.op, call.number, seen).ok()?;
        Some(next)
    }
}

/// The calls of a history of names, the first `most` of them. What these leave open at the
/// beginning of the next counts as never ended: of a history that can be explained each
/// beginning can.
pub fn names(operations: &[Operation<'_>], most: usize) -> Vec<Timed<NamesCall>> {
    let cut = operations.get(most).map_or(u64::MAX, |next| next.began);
    let mut calls = Vec::new();
    for (number, operation) in (0..).zip(operations.iter().take(most)) {
        let answered = operation.ended().is_some_and(|at| at < cut);
        let answer = match &operation.end {
            End::Ok { output, .. } if answered => Answer::Done(output.cloned()),
            End::Fail { error, .. } if answered => match Seen::refusal(error) {
                Some(Seen::Refused(reason)) => Answer::Refused(reason.to_owned()),
                _ => continue,
            },
            End::Fail { .. } => continue,
            End::Ok { .. } | End::Unknown => Answer::None,
        };
        let is_read = matches!(operation.op, Op::Stat { .. } | Op::List { .. });
        if answer == Answer::None && is_read {
            continue;
        }
        calls.push(Timed {
            began: operation.began,
            ended: operation.ended().filter(|_| answered),
            call: NamesCall {
                number,
                op: operation.op.clone(),
                answer,
            },
        });
    }
    calls
}
