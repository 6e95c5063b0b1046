//! What a user gets for logging in: whoever shows it is let in as that user.

use serde::{Deserialize, Serialize};

use super::{KeyNumber, NotSigned, Signable, SigningKeys, sign};
use crate::env::Timestamp;
use crate::planted::{self, Bug};
use crate::security::{KeyPair, PublicKey};
use crate::types::account::CredentialEpoch;
use crate::types::{Caller, ClusterId, UserId};

/// That somebody has logged in. It does not say what the user may do: the state machine does,
/// with every request, so a user that is shut out is out whatever it shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// To which cluster.
    pub cluster: ClusterId,
    /// As whom.
    pub user: UserId,
    /// With which credentials.
    pub epoch: CredentialEpoch,
    /// The key of the client: to others the ticket is of no use.
    holder: [u8; 32],
    /// From when on it is void.
    pub expires: Timestamp,
}

impl Signable for Ticket {
    const KIND: u8 = 1;
}

impl Ticket {
    /// For a client that has shown who its user is.
    pub fn new(
        (cluster, user, epoch): (ClusterId, UserId, CredentialEpoch),
        holder: PublicKey,
        expires: Timestamp,
    ) -> Ticket {
        Ticket {
            cluster,
            user,
            epoch,
            holder: holder.0,
            expires,
        }
    }

    /// Signs it.
    ///
    /// # Errors
    /// Never: it is short.
    pub fn sign(&self, key: (KeyNumber, &KeyPair)) -> Result<Vec<u8>, NotSigned> {
        sign(self, key)
    }

    /// The caller that a signed ticket lets in, shown by the client with a key, and until when.
    ///
    /// # Errors
    /// The masters have not signed it, or it is another client's or cluster's, or void.
    pub fn open(
        bytes: &[u8],
        keys: &SigningKeys,
        (cluster, holder, now): (ClusterId, PublicKey, Timestamp),
    ) -> Result<(Caller, Timestamp), NotSigned> {
        let ticket: Ticket = keys.open(bytes)?;
        let is_good = ticket.cluster == cluster && ticket.holder == holder.0;
        let is_late = now >= ticket.expires && !planted::active(Bug::ExpiredTokenAccepted);
        match is_good && !is_late {
            true => {
                let Ticket {
                    user,
                    epoch,
                    expires,
                    ..
                } = ticket;
                Ok((Caller::User { user, epoch }, expires))
            }
            false => Err(NotSigned),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use super::*;
    use crate::env::SeededRandom;

    #[test]
    fn a_ticket_is_good_for_its_client_its_cluster_and_its_time() {
        let random = SeededRandom::new(7);
        let [master, client, thief] = [(); 3].map(|()| KeyPair::generate(&random).unwrap());
        let (user, epoch) = (UserId(7), CredentialEpoch(2));
        let who = (ClusterId(1), user, epoch);
        let ticket = Ticket::new(who, client.public(), Timestamp(10));
        let signed = ticket.sign((1, &master)).unwrap();
        let keys = SigningKeys::new([(1, master.public())]);
        let open = |cluster, holder: &KeyPair, now| {
            let shown = (ClusterId(cluster), holder.public(), Timestamp(now));
            Ticket::open(&signed, &keys, shown)
        };
        let caller = Caller::User { user, epoch };
        assert_eq!(open(1, &client, 9), Ok((caller, Timestamp(10))));
        assert_eq!(open(1, &client, 10), Err(NotSigned));
        assert_eq!(open(2, &client, 9), Err(NotSigned));
        assert_eq!(open(1, &thief, 9), Err(NotSigned));
    }
}
