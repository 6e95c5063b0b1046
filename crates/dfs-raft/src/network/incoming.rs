//! What callers send, before tarpc has it.
//!
//! A caller says how long it waits, and tarpc adds that to the clock and gives it to a timer:
//! both panic at times that they cannot count. So it is read here, as a number, and cut.

use std::time::Duration;

use serde::Deserialize;
use tarpc::{ClientMessage, Request, trace};

/// How long a request may be worked on, whatever its caller says.
const DEADLINE_MAX: Duration = Duration::from_secs(60 * 60);

/// What tarpc reads as a [`ClientMessage`], byte by byte.
#[derive(Debug, Deserialize)]
pub enum Incoming<T> {
    /// A request.
    Request {
        /// How long it is waited for, and of what it is a part.
        context: Context,
        /// Its number on this connection.
        id: u64,
        /// What is asked.
        message: T,
    },
    /// Nobody waits for a request any more.
    Cancel {
        /// Of what it is a part.
        trace_context: trace::Context,
        /// The number of the request.
        request_id: u64,
    },
}

/// What is said beside a request.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Context {
    deadline: Duration,
    trace_context: trace::Context,
}

impl<T> From<Incoming<T>> for ClientMessage<T> {
    fn from(incoming: Incoming<T>) -> ClientMessage<T> {
        match incoming {
            Incoming::Request {
                context,
                id,
                message,
            } => ClientMessage::Request(Request {
                context: context.bounded(),
                id,
                message,
            }),
            Incoming::Cancel {
                trace_context,
                request_id,
            } => ClientMessage::Cancel {
                trace_context,
                request_id,
            },
        }
    }
}

impl Context {
    fn bounded(self) -> tarpc::context::Context {
        let mut context = tarpc::context::current();
        #[allow(
            clippy::disallowed_methods,
            reason = "tarpc's deadlines are in this clock"
        )]
        let now = std::time::Instant::now();
        context.deadline = now + self.deadline.min(DEADLINE_MAX);
        context.trace_context = self.trace_context;
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tarpc_sends_is_read_byte_by_byte() {
        let mut context = tarpc::context::current();
        context.trace_context.trace_id = (7_u128 << 100).into();
        context.trace_context.span_id = 300.into();
        let trace = context.trace_context;
        let request = ClientMessage::Request(Request {
            context,
            id: 300,
            message: "asked".to_owned(),
        });
        let bytes = postcard::to_stdvec(&request).unwrap();
        let (read, rest) = postcard::take_from_bytes::<Incoming<String>>(&bytes).unwrap();
        assert!(rest.is_empty());
        let ClientMessage::Request(read) = ClientMessage::from(read) else {
            panic!("a request became something else");
        };
        assert_eq!((read.id, read.message.as_str()), (300, "asked"));
        assert_eq!(read.context.trace_context, trace);
        let later = read.context.deadline.duration_since(context.deadline);
        assert!(later < Duration::from_secs(1), "{later:?}");

        let cancel = ClientMessage::<String>::Cancel {
            trace_context: trace,
            request_id: 300,
        };
        let bytes = postcard::to_stdvec(&cancel).unwrap();
        let (read, rest) = postcard::take_from_bytes::<Incoming<String>>(&bytes).unwrap();
        assert!(rest.is_empty());
        let ClientMessage::Cancel {
            trace_context,
            request_id,
        } = ClientMessage::from(read)
        else {
            panic!("a cancellation became something else");
        };
        assert_eq!((trace_context, request_id), (trace, 300));
    }

    // When it does, all of this can go.
    #[test]
    fn tarpc_does_not_survive_a_time_that_no_clock_can_count() {
        let request = ClientMessage::Request(Request {
            context: tarpc::context::current(),
            id: 7,
            message: (),
        });
        let sent = postcard::to_stdvec(&request).unwrap();
        let (_, rest) = postcard::take_from_bytes::<(u8, Duration)>(&sent).unwrap();
        let begin = postcard::to_stdvec(&(0_u8, Duration::from_secs(u64::MAX))).unwrap();
        let frame = [&begin, rest].concat();
        let read = || postcard::from_bytes::<ClientMessage<()>>(&frame).is_ok();
        assert!(std::panic::catch_unwind(read).is_err());
        let read = postcard::from_bytes::<Incoming<()>>(&frame).unwrap();
        assert!(matches!(
            ClientMessage::from(read),
            ClientMessage::Request(_)
        ));
    }
}
