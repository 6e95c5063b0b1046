//! Passwords and keys of users: what is kept of them, and whether one was shown.
//!
//! Of a password argon2id is kept (RFC 9106), with the first of the parameters that OWASP
//! recommends: 19 MiB, two passes, one lane; what is kept says with which. A key is 32 random
//! bytes, so a plain hash of it is as hard to turn back as the key is to guess.

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use zeroize::Zeroizing;

use super::{Fingerprint, SecurityError};
use crate::env::Random;
use crate::types::account::{KeyHash, PasswordHash};

/// Shortest password, in bytes (NIST SP 800-63B asks for as many characters).
pub const PASSWORD_LEN_MIN: usize = 8;
/// Longest password, in bytes.
pub const PASSWORD_LEN_MAX: usize = 1024;
/// The most that what is kept may ask for to be verified, whoever brought it here.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const SALT_LEN: usize = 16;
/// What every key begins with.
const KEY_PREFIX: &str = "dfskey1-";

/// A password as it was typed. It is not shown.
pub struct Password(Zeroizing<String>);

impl Password {
    /// One that was typed, to be compared.
    pub fn new(text: impl Into<String>) -> Password {
        Password(Zeroizing::new(text.into()))
    }

    /// What to keep of it. It takes some 20 ms and 19 MiB: not for a thread that others wait for.
    ///
    /// # Errors
    /// It is too short or too long.
    pub fn hash(&self, random: &dyn Random) -> Result<PasswordHash, SecurityError> {
        let length = self.0.len();
        if !(PASSWORD_LEN_MIN..=PASSWORD_LEN_MAX).contains(&length) {
            let limits = format!("{PASSWORD_LEN_MIN} to {PASSWORD_LEN_MAX} bytes");
            return Err(SecurityError(format!("a password has {limits}")));
        }
        let mut salt = [0; SALT_LEN];
        random.fill(&mut salt);
        let hashed: Result<Phc, _> =
            Argon2::default().hash_password_with_salt(self.0.as_bytes(), &salt);
        let hashed = hashed.map_err(SecurityError::new)?;
        Ok(PasswordHash(hashed.to_string()))
    }

    /// Whether it is the one of which something was kept. Where nothing was, it takes as long,
    /// and it is not. It takes some 20 ms and 19 MiB.
    pub fn is(&self, kept: Option<&PasswordHash>) -> bool {
        let usual = kept.and_then(usual);
        let password = self.0.as_bytes();
        if password.len() > PASSWORD_LEN_MAX {
            return false;
        }
        let argon2 = Argon2::default();
        match usual {
            Some(kept) => argon2.verify_password(password, &kept).is_ok(),
            None => {
                let mut nothing = [0; 32];
                // Only the time matters.
                let _ = argon2.hash_password_into(password, &[0; SALT_LEN], &mut nothing);
                false
            }
        }
    }
}

/// What is kept of a password, if it can be verified and costs no more than is usual.
pub(crate) fn usual(kept: &PasswordHash) -> Option<Phc> {
    let kept = Phc::new(&kept.0).ok();
    kept.filter(|kept| {
        let params = Params::try_from(kept);
        params.is_ok_and(|p| p.m_cost() <= MEMORY_KIB_MAX && p.t_cost() <= PASSES_MAX)
    })
}

/// A key of a user, for programs. It is not shown.
#[derive(Clone)]
pub struct ApiKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl ApiKey {
    /// A new one.
    pub fn generate(random: &dyn Random) -> ApiKey {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(&mut *bytes);
        ApiKey(bytes)
    }

    /// What masters are shown.
    pub fn secret(&self) -> [u8; 32] {
        *self.0
    }

    /// One that was kept, as [`reveal`](Self::reveal) has it.
    ///
    /// # Errors
    /// It is none. What is wrong is not repeated.
    pub fn parse(text: &str) -> Result<ApiKey, SecurityError> {
        let digits = text.trim().strip_prefix(KEY_PREFIX);
        let bytes = digits.and_then(|digits| digits.parse::<Fingerprint>().ok());
        let wrong = || SecurityError::new("not a key, or not all of it");
        bytes
            .map(|bytes| ApiKey(Zeroizing::new(bytes.0)))
            .ok_or_else(wrong)
    }

    /// The whole of it, to be kept by its user.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{KEY_PREFIX}{}", Fingerprint(*self.0)))
    }

    /// What masters keep of it, and find it by.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Fingerprint::of(&*self.0).0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use super::*;
    use crate::env::SeededRandom;

    #[test]
    fn a_password_is_known_again_and_no_other() {
        let random = SeededRandom::new(7);
        let password = Password::new("correct horse");
        let kept = password.hash(&random).unwrap();
        assert!(
            kept.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            kept.0
        );
        assert!(password.is(Some(&kept)));
        assert!(!Password::new("correct horsf").is(Some(&kept)));
        assert!(!Password::new("").is(Some(&kept)));
        assert!(!password.is(None));
        let again = password.hash(&random).unwrap();
        assert!(again.0 != kept.0, "the same password has another salt");
        assert!(!format!("{kept:?}").contains("argon2"));
    }

    #[test]
    fn what_cannot_be_or_costs_too_much_is_not_verified() {
        let password = Password::new("correct horse");
        let kept = password.hash(&SeededRandom::new(7)).unwrap().0;
        for wrong in [
            String::new(),
            "x".to_owned(),
            kept.replace("m=19456", "m=4000000"),
            kept.replace("t=2", "t=1000"),
            kept.replace("argon2id", "argon2i"),
        ] {
            assert!(!password.is(Some(&PasswordHash(wrong.clone()))), "{wrong}");
        }
        for text in ["short", "", &"x".repeat(PASSWORD_LEN_MAX + 1)] {
            assert!(Password::new(text).hash(&SeededRandom::new(7)).is_err());
        }
    }

    #[test]
    fn a_key_is_found_by_its_hash_and_parsed_as_it_is_revealed() {
        let key = ApiKey::generate(&SeededRandom::new(7));
        let text = key.reveal();
        assert_eq!(ApiKey::parse(&text).unwrap().hash(), key.hash());
        for wrong in ["", "dfskey1-", &text[1..], &text[..text.len() - 1]] {
            let error = ApiKey::parse(wrong).err().unwrap().to_string();
            assert!(error.len() < 40, "{error}");
        }
    }
}
