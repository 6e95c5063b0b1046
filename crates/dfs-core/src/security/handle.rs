//! What vouches for inodes: a code that only the masters can make, for one user.

use ring::hmac;

use crate::types::{Caller, Handle, InodeId};

/// Nothing else is authenticated with this key.
const DOMAIN: &[u8] = b"dfs handle";

/// The masters' key for handles (HMAC-SHA-256, RFC 2104). It is not shown.
pub struct HandleKey(hmac::Key);

impl HandleKey {
    /// The key of a secret.
    pub fn new(secret: &[u8; 32]) -> HandleKey {
        HandleKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Vouches for an inode that somebody was led to. With other credentials, as after it was
    /// confined, it must be led there again.
    pub fn vouch(&self, who: Caller, inode: InodeId) -> Handle {
        let tag = hmac::sign(&self.0, &message(who, inode));
        let mut handle = Handle([0; 32]);
        for (to, from) in handle.0.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        handle
    }

    /// Whether a handle is of that inode and caller.
    pub fn is_good(&self, who: Caller, inode: InodeId, handle: &Handle) -> bool {
        hmac::verify(&self.0, &message(who, inode), &handle.0).is_ok()
    }
}

impl std::fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandleKey(…)")
    }
}

fn message(who: Caller, inode: InodeId) -> Vec<u8> {
    let epoch = match who {
        Caller::System => 0,
        Caller::User { epoch, .. } => epoch.0,
    };
    let (user, inode) = (who.user().0.to_le_bytes(), inode.0.to_le_bytes());
    [DOMAIN, &user, &epoch.to_le_bytes(), &inode].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UserId;
    use crate::types::account::CredentialEpoch;

    #[test]
    fn a_handle_is_of_one_inode_one_user_its_credentials_and_one_cluster() {
        let (key, other) = (HandleKey::new(&[1; 32]), HandleKey::new(&[2; 32]));
        let caller = |user, epoch| Caller::User {
            user: UserId(user),
            epoch: CredentialEpoch(epoch),
        };
        let (user, inode) = (caller(7, 1), InodeId(9));
        let handle = key.vouch(user, inode);
        assert!(key.is_good(user, inode, &handle));
        assert!(!key.is_good(caller(8, 1), inode, &handle));
        assert!(!key.is_good(caller(7, 2), inode, &handle));
        assert!(!key.is_good(user, InodeId(8), &handle));
        assert!(!other.is_good(user, inode, &handle));
        for byte in 0..32 {
            let mut forged = handle;
            forged.0[byte] ^= 1;
            assert!(!key.is_good(user, inode, &forged), "byte {byte}");
        }
    }
}
