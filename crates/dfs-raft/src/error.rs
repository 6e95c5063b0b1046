//! Two kinds of error: one that ends a replica, and one that a caller can act on.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A fault that this replica must not survive: its disk failed, its database is damaged, or
/// something impossible was found. It stops and says why, instead of answering wrongly.
#[derive(Clone)]
pub struct Fatal {
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Fatal {
    /// A fault that `message` describes.
    pub fn new(message: impl Into<String>) -> Fatal {
        Fatal {
            message: message.into(),
            source: None,
        }
    }

    /// A fault with the error that caused it.
    pub fn with_source(
        message: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Fatal {
        Fatal {
            message: message.into(),
            source: Some(Arc::new(source)),
        }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl StdError for Fatal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|e| e as &(dyn StdError + 'static))
    }
}

macro_rules! fatal_from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Fatal {
            fn from(e: $error) -> Fatal {
                Fatal::with_source("the database failed", e)
            }
        }
    )*};
}

fatal_from_redb!(
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);
