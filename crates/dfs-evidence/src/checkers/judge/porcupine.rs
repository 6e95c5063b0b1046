//! A judge made by others.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use super::{Finding, Judge, Machine, Timed};

/// The crate `porcupine-rs`.
#[derive(Debug, Clone, Copy)]
pub struct Porcupine {
    /// After which it gives up.
    pub limit: Duration,
}

impl Default for Porcupine {
    fn default() -> Porcupine {
        Porcupine {
            limit: Duration::from_secs(60),
        }
    }
}

#[derive(Debug, Clone)]
struct Adapter<M>(PhantomData<M>);

/// A call, and the machine, because an adapter has no values.
#[derive(Debug, Clone)]
struct Call<M: Machine>(Arc<M>, M::Call);

impl<M: Machine> Model for Adapter<M> {
    /// Nothing before the first call.
    type State = Option<M::State>;
    type Op = Call<M>;
    type Metadata = ();

    fn init() -> Self::State {
        None
    }

    fn step(state: &Self::State, Call(machine, call): &Self::Op) -> (bool, Self::State) {
        let next = match state {
            Some(state) => M::step(state, call),
            None => M::step(&machine.start(), call),
        };
        (next.is_some(), next)
    }
}

impl Judge for Porcupine {
    fn judge<M: Machine>(&self, machine: &M, history: &[Timed<M::Call>]) -> Finding {
        let machine = Arc::new(machine.clone());
        let time = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        let operation = |timed: &Timed<M::Call>| Operation::<Adapter<M>> {
            client_id: None,
            call_time: time(timed.began),
            return_time: timed.ended.map_or(i64::MAX, time),
            op: Call(machine.clone(), timed.call.clone()),
            metadata: None,
        };
        let operations: Vec<_> = history.iter().map(operation).collect();
        match check_operations_timeout(&operations, self.limit) {
            CheckResult::Ok => Finding::Right,
            CheckResult::Illegal => Finding::Wrong,
            CheckResult::Unknown => Finding::Unknown,
        }
    }
}
