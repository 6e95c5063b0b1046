//! What the masters have signed: who may do something, until when, so that others need not ask.
//!
//! ```text
//! version(1) │ kind(1) │ signing key(4) │ body (postcard) │ signature(64)
//! └──────────────── signed, after "dfs signed" ──────────┘   Ed25519, RFC 8032
//! ```
//!
//! The version is 1; numbers are little-endian. There is one algorithm and nothing to choose, and
//! a kind is never taken for another. A body is decoded after its signature was verified.

pub mod capability;
pub(super) mod ticket;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{KeyPair, PublicKey};

/// The version of the form.
const VERSION: u8 = 1;
/// Nothing else that is signed with these keys begins so.
const DOMAIN: &[u8] = b"dfs signed";
const HEAD_LEN: usize = 6;
const SIGNATURE_LEN: usize = 64;
/// Longest signed thing that is looked at.
const LEN_MAX: usize = 16 << 10;

/// A signing key's number.
pub type KeyNumber = u32;

/// What can be signed.
pub trait Signable: Serialize + DeserializeOwned {
    /// Tells it from everything else that is signed.
    const KIND: u8;
}

/// The public keys of the masters that still count, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SigningKeys(BTreeMap<KeyNumber, [u8; 32]>);

impl SigningKeys {
    /// These.
    pub fn new(keys: impl IntoIterator<Item = (KeyNumber, PublicKey)>) -> SigningKeys {
        SigningKeys(keys.into_iter().map(|(n, key)| (n, key.0)).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was signed, if one of these keys has signed it.
    ///
    /// # Errors
    /// None has, or it is something else. It is the same error for all reasons.
    pub fn open<T: Signable>(&self, bytes: &[u8]) -> Result<T, NotSigned> {
        if bytes.len() > LEN_MAX {
            return Err(NotSigned);
        }
        let at = bytes.len().checked_sub(SIGNATURE_LEN).ok_or(NotSigned)?;
        let (message, signature) = bytes.split_at_checked(at).ok_or(NotSigned)?;
        let (head, body) = message.split_at_checked(HEAD_LEN).ok_or(NotSigned)?;
        let [version, kind, number @ ..] = head else {
            return Err(NotSigned);
        };
        let number = <[u8; 4]>::try_from(number).map_err(|_| NotSigned)?;
        let key = self.0.get(&KeyNumber::from_le_bytes(number));
        let key = PublicKey(*key.ok_or(NotSigned)?);
        let is_it = (*version, *kind) == (VERSION, T::KIND);
        if !is_it || !key.has_signed(&[DOMAIN, message].concat(), signature) {
            return Err(NotSigned);
        }
        match postcard::take_from_bytes(body) {
            Ok((opened, [])) => Ok(opened),
            _ => Err(NotSigned),
        }
    }
}

/// Signs something with the key of a number.
///
/// # Errors
/// It cannot be encoded, or is too long to be looked at by others.
pub(super) fn sign<T: Signable>(
    thing: &T,
    (number, key): (KeyNumber, &KeyPair),
) -> Result<Vec<u8>, NotSigned> {
    let body = postcard::to_stdvec(thing).map_err(|_| NotSigned)?;
    sign_body::<T>(&body, (number, key))
}

/// The same of what is encoded.
pub(crate) fn sign_body<T: Signable>(
    body: &[u8],
    (number, key): (KeyNumber, &KeyPair),
) -> Result<Vec<u8>, NotSigned> {
    let mut bytes = vec![VERSION, T::KIND];
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(body);
    let signature = key.sign(&[DOMAIN, &bytes].concat());
    bytes.extend_from_slice(&signature);
    match bytes.len() <= LEN_MAX {
        true => Ok(bytes),
        false => Err(NotSigned),
    }
}

/// Something was not signed by the masters, or is something else than it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not signed by the masters of this cluster")]
pub struct NotSigned;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use super::*;
    use crate::env::SeededRandom;

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    struct Word(String);

    impl Signable for Word {
        const KIND: u8 = 200;
    }

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Other(String);

    impl Signable for Other {
        const KIND: u8 = 201;
    }

    fn key(seed: u64) -> KeyPair {
        KeyPair::generate(&SeededRandom::new(seed)).unwrap()
    }

    #[test]
    fn what_was_signed_is_opened_with_the_key_of_its_number_alone() {
        let word = Word("yes".to_owned());
        let signed = sign(&word, (3, &key(1))).unwrap();
        let keys = |number, seed| SigningKeys::new([(number, key(seed).public())]);
        assert_eq!(keys(3, 1).open::<Word>(&signed), Ok(word));
        assert_eq!(keys(4, 1).open::<Word>(&signed), Err(NotSigned));
        assert_eq!(keys(3, 2).open::<Word>(&signed), Err(NotSigned));
        assert_eq!(keys(3, 1).open::<Other>(&signed), Err(NotSigned));
        assert_eq!(SigningKeys::default().open::<Word>(&signed), Err(NotSigned));
    }

    #[test]
    fn no_bit_of_it_can_be_changed_and_nothing_cut_or_added() {
        let signed = sign(&Word("yes".to_owned()), (3, &key(1))).unwrap();
        let keys = SigningKeys::new([(3, key(1).public()), (2, key(2).public())]);
        for bit in 0..signed.len() * 8 {
            let mut forged = signed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.open::<Word>(&forged), Err(NotSigned), "bit {bit}");
        }
        for length in 0..signed.len() {
            assert_eq!(keys.open::<Word>(&signed[..length]), Err(NotSigned));
        }
        assert!(keys.open::<Word>(&[&signed[..], b"x"].concat()).is_err());
        assert!(sign(&Word("x".repeat(LEN_MAX)), (3, &key(1))).is_err());
    }

    #[test]
    fn its_form_stays() {
        let signed = sign(&Word("hi".to_owned()), (300, &key(1))).unwrap();
        let hex: String = signed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(&hex[..18], "01c82c010000026869");
        assert_eq!(signed.len(), 9 + SIGNATURE_LEN);
    }
}
