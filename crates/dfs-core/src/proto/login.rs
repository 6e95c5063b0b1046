//! How a client is let in as a user.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::RpcError;
use crate::env::Timestamp;
use crate::types::UserId;
use crate::types::account::AccountName;

/// Tickets for users. Only the leader answers.
#[tarpc::service]
pub trait LoginRpc {
    /// Gives a ticket to whoever proves to be a user. It is for the key with which it has made
    /// the connection.
    async fn login(user: AccountName, proof: Proof) -> Result<LoggedIn, RpcError>;
}

/// What proves who somebody is. It is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// The password, as it was typed.
    Password(String),
    /// A key of the user, for programs.
    Key([u8; 32]),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proof::Password(_) => "Password(…)",
            Proof::Key(_) => "Key(…)",
        })
    }
}

/// What a user gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// Who it is.
    pub user: UserId,
    /// What it shows from now on, signed by the masters.
    pub ticket: Vec<u8>,
    /// From when on that is void.
    pub expires: Timestamp,
}
