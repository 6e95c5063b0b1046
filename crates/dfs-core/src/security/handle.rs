//! What vouches for inodes: a code that only the masters can make, for one user.

use ring::hmac;

use crate::types::{Handle, InodeId, UserId};

/// Nothing else is authenticated with this key.
const DOMAIN: &[u8] = b"dfs handle";

/// The masters' key for handles (HMAC-SHA-256, RFC 2104). It is not shown.
pub struct HandleKey(hmac::Key);

impl HandleKey {
    /// The key of a secret.
    pub fn new(secret: &[u8; 32]) -> HandleKey {
        HandleKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Vouches for an inode that a user was led to.
    pub fn vouch(&self, user: UserId, inode: InodeId) -> Handle {
        let tag = hmac::sign(&self.0, &message(user, inode));
        let mut handle = Handle([0; 32]);
        for (to, from) in handle.0.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        handle
    }

    /// Whether a handle is of that inode and user.
    pub fn is_good(&self, user: UserId, inode: InodeId, handle: &Handle) -> bool {
        hmac::verify(&self.0, &message(user, inode), &handle.0).is_ok()
    }
}

impl std::fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandleKey(…)")
    }
}

fn message(user: UserId, inode: InodeId) -> Vec<u8> {
    [DOMAIN, &user.0.to_le_bytes(), &inode.0.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_of_one_inode_one_user_and_one_cluster() {
        let (key, other) = (HandleKey::new(&[1; 32]), HandleKey::new(&[2; 32]));
        let (user, inode) = (UserId(7), InodeId(9));
        let handle = key.vouch(user, inode);
        assert!(key.is_good(user, inode, &handle));
        assert!(!key.is_good(UserId(8), inode, &handle));
        assert!(!key.is_good(user, InodeId(8), &handle));
        assert!(!other.is_good(user, inode, &handle));
        for byte in 0..32 {
            let mut forged = handle;
            forged.0[byte] ^= 1;
            assert!(!key.is_good(user, inode, &forged), "byte {byte}");
        }
    }
}
