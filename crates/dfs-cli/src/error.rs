//! What went wrong, for people (message and hints) and for scripts (exit status).

use std::error::Error as _;
use std::fmt::Display;
use std::io;
use std::iter::successors;

use dfs_core::error::{Error, ErrorKind};
use dfs_core::types::RefusalKind;

/// Exit statuses; scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Refused: the same request will be refused again.
    Refused = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Not possible now; try again.
    Unavailable = 3,
    /// Data is damaged. Nothing damaged was handed out.
    Integrity = 4,
    /// Stopped by a signal.
    Interrupted = 130,
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told to the person.
    Said(Box<Message>),
    /// Told already, one by one; what is left is the exit status.
    Told(Exit),
    /// Whoever read our output wants no more of it, which is no failure.
    OutputClosed,
}

/// `error: …` and its `hint: …` lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// What went wrong.
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) hints: Vec<String>,
    /// The exit status.
    pub(crate) exit: Exit,
}

/// The result of a command.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    fn said(exit: Exit, text: impl Into<String>) -> Failure {
        Failure::Said(Box::new(Message {
            text: text.into(),
            hints: Vec::new(),
            exit,
        }))
    }

    /// A request that makes sense and is refused.
    pub(crate) fn refused(text: impl Into<String>) -> Failure {
        Failure::said(Exit::Refused, text)
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Failure {
        Failure::said(Exit::Usage, text)
    }

    /// Something that may work later.
    pub(crate) fn unavailable(text: impl Into<String>) -> Failure {
        Failure::said(Exit::Unavailable, text)
    }

    /// Stopped by a signal.
    pub(crate) fn interrupted() -> Failure {
        Failure::said(Exit::Interrupted, "interrupted")
    }

    /// The same, and what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        if let Failure::Said(message) = &mut self {
            message.hints.push(hint.into());
        }
        self
    }

    /// The exit status.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Said(message) => message.exit,
            Failure::Told(exit) => *exit,
            Failure::OutputClosed => Exit::Done,
        }
    }
}

/// Says what was being done when something failed: `cannot remove `/a`: …`.
pub(crate) trait Doing<T> {
    /// Turns the error into a failure to `verb` `subject`.
    ///
    /// # Errors
    /// As before.
    fn doing(self, verb: &str, subject: impl Display) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, Error> {
    fn doing(self, verb: &str, subject: impl Display) -> Result<T> {
        self.map_err(|error| explain(verb, &subject.to_string(), &error))
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, verb: &str, subject: impl Display) -> Result<T> {
        self.map_err(|error| {
            // Errors of the cluster pass through streams in the clothes of `std::io`.
            match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(inner) => explain(verb, &subject.to_string(), inner),
                None => explain_local(verb, &subject.to_string(), &error),
            }
        })
    }
}

/// A failure of the cluster.
fn explain(verb: &str, subject: &str, error: &Error) -> Failure {
    let text = format!("cannot {verb} `{subject}`: {}", reason(subject, error));
    let mut failure = Failure::said(exit_of(error), text);
    for hint in hints(verb, subject, error) {
        failure = failure.hint(hint);
    }
    failure
}

/// The reason, without saying again what it is about.
fn reason(subject: &str, error: &Error) -> String {
    let Some(refusal) = error.refusal() else {
        return error.to_string();
    };
    let kind = refusal.kind;
    if refusal.subject == subject || refusal.subject.is_empty() {
        return kind.to_string();
    }
    match refusal.subject.strip_prefix(last(subject)) {
        Some(count) if count.starts_with(" (") => format!("{kind}{count}"),
        _ => format!("{kind}: {}", refusal.subject),
    }
}

/// Of `a` to `b` the second.
fn last(subject: &str) -> &str {
    subject.rsplit('`').next().unwrap_or(subject)
}

/// The exit status for an error of the cluster.
pub(crate) fn exit_of(error: &Error) -> Exit {
    match error.kind() {
        ErrorKind::Unavailable { .. } => Exit::Unavailable,
        ErrorKind::Corrupt => Exit::Integrity,
        ErrorKind::NotFound
        | ErrorKind::Exists
        | ErrorKind::Invalid
        | ErrorKind::Denied
        | ErrorKind::Conflict
        | ErrorKind::OutOfSpace
        | ErrorKind::Internal => Exit::Refused,
    }
}

fn hints(verb: &str, subject: &str, error: &Error) -> Vec<String> {
    // Of two it is the second that cannot be made.
    let subject = last(subject);
    let parent = subject.rsplit_once('/').map_or("/", |(parent, _)| parent);
    let one = |hint: String| vec![hint];
    if error.is_outcome_unknown() {
        let look = match verb {
            "exchange" => return one("it may have been done; once more does no harm".to_owned()),
            "remove master" => "dfs master ls".to_owned(),
            "take back" => "dfs node ls".to_owned(),
            _ if verb.ends_with(" node") => "dfs node ls".to_owned(),
            _ if verb.contains("token") => "dfs token ls".to_owned(),
            _ if verb.contains("group") => "dfs group ls".to_owned(),
            "set the password of" | "make a key of" => "dfs user ls".to_owned(),
            _ if verb.contains("user") || verb.contains("key") => "dfs user ls".to_owned(),
            _ => format!("dfs stat {subject}"),
        };
        return one(format!(
            "it may have been done: look with `{look}` before trying again"
        ));
    }
    if is_port_taken(error) {
        return one("masters keep their ports: stop the program that took this one".to_owned());
    }
    match (error.kind(), error.refusal().map(|r| r.kind), verb) {
        (_, Some(RefusalKind::IsADirectory), "remove") => one(format!(
            "`dfs rm -r {subject}` removes it with its contents"
        )),
        (_, Some(RefusalKind::IsADirectory), "read") => one(format!("see `dfs ls {subject}`")),
        (_, Some(RefusalKind::NotFound), "write" | "make directory" | "touch" | "link")
            if !parent.is_empty() =>
        {
            one(format!("`dfs mkdir -p {parent}` makes the directory first"))
        }
        (_, Some(RefusalKind::StillNeeded), "remove" | "move") => one(
            "`dfs snap ls` shows the snapshots of a directory, `dfs snap rm` removes them"
                .to_owned(),
        ),
        (_, Some(RefusalKind::NotFound), "restore a snapshot of" | "remove the snapshot of") => {
            one(format!("`dfs snap ls {subject}` shows which there are"))
        }
        (_, Some(RefusalKind::OverQuota), "limit") => one(format!(
            "`dfs quota set --force {subject}` takes nothing more until less is there"
        )),
        (_, Some(RefusalKind::OverQuota), _) => one(
            "`dfs quota show` shows what is used; what is removed is counted no more at once"
                .to_owned(),
        ),
        (_, Some(RefusalKind::OtherQuota), "move") => {
            one("`dfs cp -r` and `dfs rm -r` move what is in it file by file".to_owned())
        }
        (ErrorKind::OutOfSpace, ..) => vec![
            "`dfs status` shows the room on each data node".to_owned(),
            "`dfs trash ls` shows what is kept in the trash; `dfs trash drop` frees it".to_owned(),
        ],
        (ErrorKind::Corrupt, ..) => vec![
            "nothing damaged was written; other files are not affected".to_owned(),
            format!("`dfs stat --layout {subject}` shows where its chunks are"),
        ],
        (ErrorKind::Unavailable { .. }, None, _) => {
            one("try again in a moment; `dfs status` shows what is missing".to_owned())
        }
        (ErrorKind::Internal, ..) => {
            one("this is a fault of dfs; set DFS_LOG=debug for more".to_owned())
        }
        _ => Vec::new(),
    }
}

fn is_port_taken(error: &Error) -> bool {
    let causes = successors(error.source(), |&cause| cause.source());
    let mut causes = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::AddrInUse)
}

/// A failure of a file of this machine.
fn explain_local(verb: &str, subject: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::OutputClosed;
    }
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        io::ErrorKind::AlreadyExists => "exists already".to_owned(),
        io::ErrorKind::StorageFull => "no space left on this machine".to_owned(),
        _ => error.to_string(),
    };
    Failure::refused(format!("cannot {verb} `{subject}`: {reason}"))
}

#[cfg(test)]
mod tests {
    use dfs_core::types::Refusal;

    use super::*;

    fn message(failure: Failure) -> Message {
        match failure {
            Failure::Said(message) => *message,
            other => panic!("not said: {other:?}"),
        }
    }

    fn refused(kind: RefusalKind, subject: &str) -> std::result::Result<(), Error> {
        Err(Error::from(Refusal::new(kind, subject)))
    }

    #[test]
    fn every_kind_of_error_has_its_exit_status() {
        let retry_after = std::time::Duration::ZERO;
        for (kind, exit) in [
            (ErrorKind::NotFound, Exit::Refused),
            (ErrorKind::Exists, Exit::Refused),
            (ErrorKind::Invalid, Exit::Refused),
            (ErrorKind::Denied, Exit::Refused),
            (ErrorKind::Conflict, Exit::Refused),
            (ErrorKind::OutOfSpace, Exit::Refused),
            (ErrorKind::Internal, Exit::Refused),
            (ErrorKind::Unavailable { retry_after }, Exit::Unavailable),
            (ErrorKind::Corrupt, Exit::Integrity),
        ] {
            assert_eq!(exit_of(&Error::new(kind, "x")), exit, "{kind:?}");
        }
        assert_eq!(Failure::usage("x").exit() as u8, 2);
        assert_eq!(Failure::interrupted().exit() as u8, 130);
    }

    #[test]
    fn a_message_names_its_subject_once() {
        let result = refused(RefusalKind::NotFound, "/a").doing("read", "/a");
        assert_eq!(
            message(result.unwrap_err()).text,
            "cannot read `/a`: not found"
        );
        let result = refused(RefusalKind::NotADirectory, "/b").doing("read", "/a");
        assert_eq!(
            message(result.unwrap_err()).text,
            "cannot read `/a`: not a directory: /b"
        );
    }

    #[test]
    fn what_may_have_been_done_is_looked_for_where_it_shows() {
        for (verb, hint) in [
            ("exchange", "once more does no harm"),
            ("remove master", "dfs master ls"),
            ("make a token for role", "dfs token ls"),
            ("write", "dfs stat /a"),
        ] {
            let unknown: std::result::Result<(), _> = Err(Error::outcome_unknown("silence"));
            let hints = message(unknown.doing(verb, "/a").unwrap_err()).hints;
            assert!(
                matches!(&*hints, [one] if one.contains(hint)),
                "{verb}: {hints:?}"
            );
        }
    }

    #[test]
    fn an_error_of_the_cluster_is_found_inside_one_of_a_stream() {
        let inside = Error::new(ErrorKind::Corrupt, "c1: all replicas are damaged");
        let result: Result<()> = Err(io::Error::from(inside)).doing("read", "/a");
        assert_eq!(result.unwrap_err().exit(), Exit::Integrity);
    }

    #[test]
    fn a_closed_output_is_no_failure() {
        let result: Result<()> =
            Err(io::Error::from(io::ErrorKind::BrokenPipe)).doing("write", "-");
        assert_eq!(result.unwrap_err().exit(), Exit::Done);
    }
}
