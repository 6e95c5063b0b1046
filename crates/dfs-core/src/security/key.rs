//! Key pairs. What is secret of them is never shown.

use std::fmt;
use std::str::FromStr;

use ring::signature::{self, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::SecurityError;
use crate::env::Random;

/// Bytes of a secret key, and of a public one.
const LEN: usize = 32;
/// A secret key of Ed25519 in PKCS #8 (RFC 8410): what comes before its bytes.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// A public key of Ed25519 as `SubjectPublicKeyInfo` (RFC 8410): what comes before its bytes.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A secret key and its public one.
pub struct KeyPair {
    secret: Zeroizing<[u8; LEN]>,
    pair: Ed25519KeyPair,
}

impl KeyPair {
    /// A new one.
    ///
    /// # Errors
    /// The bytes are none of a key; never with those of [`Random`].
    pub fn generate(random: &dyn Random) -> Result<KeyPair, SecurityError> {
        let mut secret = Zeroizing::new([0; LEN]);
        random.fill(&mut *secret);
        KeyPair::from_secret(&*secret)
    }

    /// One that was kept.
    ///
    /// # Errors
    /// It is not 32 bytes long.
    pub fn from_secret(secret: &[u8]) -> Result<KeyPair, SecurityError> {
        let wrong = |_| SecurityError::new("a secret key is not 32 bytes long");
        let secret = Zeroizing::new(<[u8; LEN]>::try_from(secret).map_err(wrong)?);
        let pair = Ed25519KeyPair::from_seed_unchecked(&*secret).map_err(SecurityError::new)?;
        Ok(KeyPair { secret, pair })
    }

    /// What to keep of it, and to tell nobody.
    pub fn secret(&self) -> &[u8] {
        &*self.secret
    }

    /// What others may know of it.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    pub(super) fn public_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }

    /// As the libraries of TLS want it.
    pub(super) fn pkcs8(&self) -> PrivateKeyDer<'static> {
        let der = [&PKCS8_PREFIX[..], &*self.secret].concat();
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public().fingerprint())
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; LEN]);

impl PublicKey {
    /// The key of a `SubjectPublicKeyInfo`, as in certificates.
    ///
    /// # Errors
    /// It is of another kind.
    pub(super) fn from_spki(der: &[u8]) -> Result<PublicKey, SecurityError> {
        let bytes = der.strip_prefix(&SPKI_PREFIX);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        let other = || SecurityError::new("a key is not of Ed25519");
        bytes.map(PublicKey).ok_or_else(other)
    }

    /// Whether a message was signed with its secret.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&signature::ED25519, &self.0);
        key.verify(message, signature).is_ok()
    }

    /// A short name that no other key has.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Fingerprint(self.0).fmt(f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// SHA-256 of something public: a key, a certificate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> Fingerprint {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest.as_ref());
        Fingerprint(fingerprint)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = SecurityError;

    fn from_str(text: &str) -> Result<Fingerprint, SecurityError> {
        let wrong = || SecurityError(format!("`{text:.70}` is no fingerprint: 64 of 0-9 a-f"));
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(wrong()),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Vec<u8> = pairs
            .iter()
            .map(|[high, low]| Ok(digit(*high)? << 4 | digit(*low)?))
            .collect::<Result<_, SecurityError>>()?;
        match (bytes.try_into(), rest) {
            (Ok(bytes), []) => Ok(Fingerprint(bytes)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRandom;

    #[test]
    fn what_a_key_has_signed_is_known_to_its_public_one_alone() {
        let random = SeededRandom::new(7);
        let key = KeyPair::generate(&random).unwrap();
        let other = KeyPair::generate(&random).unwrap();
        let signature = key.sign(b"message");
        assert!(key.public().has_signed(b"message", &signature));
        assert!(!key.public().has_signed(b"massage", &signature));
        assert!(!other.public().has_signed(b"message", &signature));
        for bit in 0..signature.len() * 8 {
            let mut forged = signature;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.public().has_signed(b"message", &forged), "bit {bit}");
        }
        assert!(!key.public().has_signed(b"message", &signature[..63]));
    }

    #[test]
    fn a_kept_key_is_the_same() {
        let key = KeyPair::generate(&SeededRandom::new(7)).unwrap();
        let again = KeyPair::from_secret(key.secret()).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(KeyPair::from_secret(&[1; 31]).is_err());
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let key = KeyPair::generate(&SeededRandom::new(7)).unwrap();
        let hex: String = key.secret().iter().map(|b| format!("{b:02x}")).collect();
        assert!(!format!("{key:?} {:?}", key.public()).contains(&hex[..8]));
    }

    #[test]
    fn a_fingerprint_prints_as_it_parses() {
        let fingerprint = Fingerprint::of(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(text.parse::<Fingerprint>().unwrap(), fingerprint);
        for wrong in [
            "",
            "e3",
            &text[1..],
            &text.to_uppercase(),
            &format!("{text}00"),
        ] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
