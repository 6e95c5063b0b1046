//! The error of every public operation: few kinds, each of which asks for another reaction.
//!
//! | kind | what the caller does |
//! |---|---|
//! | `NotFound`, `Exists`, `Invalid`, `Denied` | corrects the request |
//! | `Conflict` | reads again, decides again |
//! | `Unavailable` | tries again later, see [`Error::is_retryable`] |
//! | `OutOfSpace` | frees or adds space |
//! | `Corrupt` | restores from elsewhere; no bad byte was returned |
//! | `Internal` | reports a fault in this software |

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::types::{PathError, Refusal, RefusalKind, Rev};

/// The result of a public operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation failed. Cheap to clone.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    refusal: Option<Refusal>,
    rev: Option<Rev>,
    outcome_unknown: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure it is, by what the caller would do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such thing.
    NotFound,
    /// There is such a thing already.
    Exists,
    /// The request cannot be right, whenever it is made.
    Invalid,
    /// The caller may not do this.
    Denied,
    /// Something changed between reading and changing it.
    Conflict,
    /// The cluster cannot do it now.
    Unavailable {
        /// When to try again, at the earliest.
        retry_after: Duration,
    },
    /// There is no room on the data nodes, or in a quota.
    OutOfSpace,
    /// Every replica that could be asked fails its checksums.
    Corrupt,
    /// This software is at fault.
    Internal,
}

/// How long to wait before trying something unavailable again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Arc::new(Inner {
            kind,
            message: message.into(),
            refusal: None,
            rev: None,
            outcome_unknown: false,
            source: None,
        }))
    }

    /// An error of `kind` that says `message`, because of `source`.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error(Arc::new(Inner {
            kind,
            message: message.into(),
            refusal: None,
            rev: None,
            outcome_unknown: false,
            source: Some(source.into()),
        }))
    }

    /// Something that cannot be right.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, message)
    }

    /// Something that is not possible now.
    pub fn unavailable(message: impl Into<String>) -> Error {
        let kind = ErrorKind::Unavailable {
            retry_after: RETRY_AFTER,
        };
        Error::new(kind, message)
    }

    /// A change that was or was not made, and nobody can be asked any more which.
    pub fn outcome_unknown(message: impl fmt::Display) -> Error {
        Error(Arc::new(Inner {
            kind: ErrorKind::Unavailable {
                retry_after: RETRY_AFTER,
            },
            message: format!("outcome unknown: {message}"),
            refusal: None,
            rev: None,
            outcome_unknown: true,
            source: None,
        }))
    }

    /// The kind, for decisions.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The exact reason a master refused the request, where one did: for callers that need the
    /// detail of an errno.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.refusal.as_ref()
    }

    /// The point of history at which a master refused the request, where one did and it was a
    /// matter of the state: see [`Stamped`](crate::client::Stamped).
    pub fn rev(&self) -> Option<Rev> {
        self.0.rev
    }

    /// Whether the same operation may succeed later and repeating it cannot do it twice.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable { .. }) && !self.0.outcome_unknown
    }

    /// Whether the operation may have taken effect in spite of the error.
    pub fn is_outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }

    /// The error of a request that a master refused at a point of history, if it had one.
    pub(crate) fn refused(refusal: Refusal, rev: Option<Rev>) -> Error {
        Error(Arc::new(Inner {
            kind: kind_of(refusal.kind),
            message: refusal.to_string(),
            refusal: Some(refusal),
            rev,
            outcome_unknown: false,
            source: None,
        }))
    }

    /// The same error, saying first what was being done: `reading /a: …`.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Error {
        Error(Arc::new(Inner {
            kind: self.0.kind,
            message: what.to_string(),
            refusal: self.0.refusal.clone(),
            rev: self.0.rev,
            outcome_unknown: self.0.outcome_unknown,
            source: Some(Box::new(self)),
        }))
    }
}

impl fmt::Display for Error {
    /// The message and, after it, what caused it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            // Our own errors print their causes themselves.
            write!(f, ": {source}")?;
            next = match source.is::<Error>() {
                true => None,
                false => source.source(),
            };
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source as &(dyn std::error::Error + 'static))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::refused(refusal, None)
    }
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Error {
        Error::invalid(error.to_string())
    }
}

/// Which kind a refusal is of.
fn kind_of(refusal: RefusalKind) -> ErrorKind {
    match refusal {
        RefusalKind::NotFound => ErrorKind::NotFound,
        RefusalKind::Exists => ErrorKind::Exists,
        RefusalKind::NotADirectory
        | RefusalKind::IsADirectory
        | RefusalKind::NotAFile
        | RefusalKind::NotASymlink
        | RefusalKind::NotEmpty
        | RefusalKind::IntoItself
        | RefusalKind::SymlinkLoop
        | RefusalKind::TooManyLinks
        | RefusalKind::NameTooLong
        | RefusalKind::TooLarge
        | RefusalKind::Invalid => ErrorKind::Invalid,
        RefusalKind::NotPermitted
        | RefusalKind::AccessDenied
        | RefusalKind::LoginRequired
        | RefusalKind::StillNeeded => ErrorKind::Denied,
        RefusalKind::OtherQuota => ErrorKind::Invalid,
        RefusalKind::OverQuota => ErrorKind::OutOfSpace,
        RefusalKind::Conflict => ErrorKind::Conflict,
        RefusalKind::SessionExpired
        | RefusalKind::GrantExpired
        | RefusalKind::Busy
        | RefusalKind::TooFewReplicas => ErrorKind::Unavailable {
            retry_after: RETRY_AFTER,
        },
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match (error.kind(), error.refusal().map(|r| r.kind)) {
            (_, Some(RefusalKind::NotADirectory)) => io::ErrorKind::NotADirectory,
            (_, Some(RefusalKind::IsADirectory)) => io::ErrorKind::IsADirectory,
            (_, Some(RefusalKind::NotEmpty)) => io::ErrorKind::DirectoryNotEmpty,
            (_, Some(RefusalKind::TooManyLinks)) => io::ErrorKind::TooManyLinks,
            (_, Some(RefusalKind::TooLarge)) => io::ErrorKind::FileTooLarge,
            (_, Some(RefusalKind::NameTooLong)) => io::ErrorKind::InvalidFilename,
            (_, Some(RefusalKind::OverQuota)) => io::ErrorKind::QuotaExceeded,
            (_, Some(RefusalKind::OtherQuota)) => io::ErrorKind::CrossesDevices,
            (ErrorKind::NotFound, _) => io::ErrorKind::NotFound,
            (ErrorKind::Exists, _) => io::ErrorKind::AlreadyExists,
            (ErrorKind::Invalid, _) => io::ErrorKind::InvalidInput,
            (ErrorKind::Denied, _) => io::ErrorKind::PermissionDenied,
            (ErrorKind::Conflict, _) => io::ErrorKind::ResourceBusy,
            (ErrorKind::Unavailable { .. }, _) => io::ErrorKind::TimedOut,
            (ErrorKind::OutOfSpace, _) => io::ErrorKind::StorageFull,
            (ErrorKind::Corrupt, _) => io::ErrorKind::InvalidData,
            (ErrorKind::Internal, _) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_detail_behind_the_kind() {
        let error = Error::from(Refusal::new(RefusalKind::NotEmpty, "/logs")).context("remove");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let refusal = error.refusal().map(|r| r.kind);
        assert_eq!(refusal, Some(RefusalKind::NotEmpty));
        assert_eq!(
            io::Error::from(error.clone()).kind(),
            io::ErrorKind::DirectoryNotEmpty
        );
        assert_eq!(error.to_string(), "remove: directory not empty: /logs");
    }

    #[test]
    fn an_unknown_outcome_is_not_to_be_repeated_blindly() {
        assert!(Error::unavailable("no quorum").is_retryable());
        let unknown = Error::outcome_unknown("the session expired");
        assert!(matches!(unknown.kind(), ErrorKind::Unavailable { .. }));
        assert!(!unknown.is_retryable() && unknown.is_outcome_unknown());
    }
}
