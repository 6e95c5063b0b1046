//! A join token as people pass it on: where the cluster is, which it is, and a secret.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Fingerprint, SecurityError};
use crate::env::Random;
use crate::types::node::TokenHash;

/// What every token begins with.
const PREFIX: &str = "dfsjoin1-";
/// Most addresses in a token.
const ADDRESSES_MAX: usize = 8;
/// Longest token, in characters.
const LEN_MAX: usize = 4096;

/// What makes a node of whoever shows it.
pub struct JoinToken {
    /// Where masters are, `host:port`.
    pub addresses: Vec<String>,
    /// The certificate of the cluster's authority: nobody else is believed.
    pub authority: Fingerprint,
    secret: Zeroizing<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
struct Parts {
    addresses: Vec<String>,
    authority: [u8; 32],
    secret: [u8; 32],
}

impl JoinToken {
    /// A new one.
    pub fn generate(
        addresses: Vec<String>,
        authority: Fingerprint,
        random: &dyn Random,
    ) -> JoinToken {
        let mut secret = Zeroizing::new([0; 32]);
        random.fill(&mut *secret);
        JoinToken {
            addresses,
            authority,
            secret,
        }
    }

    /// The same for masters that are at more places, which are tried after its own.
    pub fn with_addresses(&self, more: Vec<String>) -> JoinToken {
        let mut addresses = self.addresses.clone();
        addresses.extend(more.into_iter().filter(|a| !self.addresses.contains(a)));
        JoinToken {
            addresses,
            authority: self.authority,
            secret: self.secret.clone(),
        }
    }

    /// What masters are shown.
    pub fn secret(&self) -> [u8; 32] {
        *self.secret
    }

    /// What masters keep of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Fingerprint::of(&*self.secret).0)
    }

    /// The whole of it, to be passed on in private.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn reveal(&self) -> Result<Zeroizing<String>, SecurityError> {
        let parts = Parts {
            addresses: self.addresses.iter().take(ADDRESSES_MAX).cloned().collect(),
            authority: self.authority.0,
            secret: *self.secret,
        };
        let bytes = postcard::to_stdvec(&parts).map_err(SecurityError::new)?;
        let bytes = Zeroizing::new(bytes);
        let mut text = Zeroizing::new(PREFIX.to_owned());
        for byte in &*bytes {
            text.push_str(&format!("{byte:02x}"));
        }
        Ok(text)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("addresses", &self.addresses)
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = SecurityError;

    /// What is wrong is not repeated: it may be nearly right.
    fn from_str(text: &str) -> Result<JoinToken, SecurityError> {
        let wrong = || SecurityError::new("not a join token, or not all of it");
        let text = text.trim();
        let digits = text.strip_prefix(PREFIX).ok_or_else(wrong)?;
        if digits.len() > LEN_MAX {
            return Err(wrong());
        }
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(wrong);
        let byte = |[high, low]: &[u8; 2]| {
            let byte = digit(*high)? << 4 | digit(*low)?;
            u8::try_from(byte).map_err(|_| wrong())
        };
        let bytes: Result<Vec<u8>, SecurityError> = pairs.iter().map(byte).collect();
        let bytes = Zeroizing::new(bytes?);
        let parts = match (postcard::take_from_bytes::<Parts>(&bytes), rest) {
            (Ok((parts, [])), []) => parts,
            _ => return Err(wrong()),
        };
        if parts.addresses.is_empty() || parts.addresses.len() > ADDRESSES_MAX {
            return Err(wrong());
        }
        Ok(JoinToken {
            addresses: parts.addresses,
            authority: Fingerprint(parts.authority),
            secret: Zeroizing::new(parts.secret),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use super::*;
    use crate::env::SeededRandom;

    fn token() -> JoinToken {
        let addresses = vec!["10.0.0.1:7400".to_owned(), "m2:7400".to_owned()];
        JoinToken::generate(addresses, Fingerprint([5; 32]), &SeededRandom::new(7))
    }

    #[test]
    fn a_token_is_passed_on_as_text() {
        let text = token().reveal().unwrap();
        let read: JoinToken = format!(" {}\n", *text).parse().unwrap();
        assert_eq!(read.addresses, token().addresses);
        assert_eq!(read.authority, token().authority);
        assert_eq!(read.hash(), token().hash());
    }

    #[test]
    fn what_is_cut_or_mistyped_is_refused_without_being_repeated() {
        let text = token().reveal().unwrap();
        for length in 0..text.len() {
            assert!(text[..length].parse::<JoinToken>().is_err(), "{length}");
        }
        let secret: String = text.chars().rev().take(16).collect();
        for wrong in [
            format!("{}00", *text),
            text.replace('-', "_"),
            format!("{}x", *text),
        ] {
            let error = wrong.parse::<JoinToken>().unwrap_err().to_string();
            assert!(!error.contains(&secret) && error.len() < 60, "{error}");
        }
        assert!(
            format!("{PREFIX}{}", "00".repeat(65))
                .parse::<JoinToken>()
                .is_err()
        );
    }

    #[test]
    fn its_secret_is_not_shown() {
        let (shown, text) = (format!("{:?}", token()), token().reveal().unwrap());
        assert!(!shown.contains(&text[text.len() - 16..]));
    }
}
