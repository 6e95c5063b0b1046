//! The cluster's certificate authority.

use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::{Fingerprint, KeyPair, NodeIdentity, PublicKey, SecurityError};
use crate::env::{Random, Timestamp};
use crate::types::ClusterId;

/// How long a node's certificate is good for. It is renewed when half of that is over.
pub const NODE_CERTIFICATE_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The same of the authority's own.
const AUTHORITY_TTL: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
/// Certificates are good this long before they are issued, for clocks that are behind. It costs
/// nothing: nobody has the key before.
const SKEW: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// What is said to be good for ever: a client's key, which nobody vouches for.
const NO_END: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A certificate in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(pub(super) CertificateDer<'static>);

impl Certificate {
    /// One that was kept or sent. Whether it is one shows when it is used.
    pub fn from_der(der: Vec<u8>) -> Certificate {
        Certificate(CertificateDer::from(der))
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// A short name that no other certificate has.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }
}

/// Who says which nodes are of the cluster.
#[derive(Debug)]
pub struct Authority {
    key: KeyPair,
    certificate: Certificate,
    cluster: ClusterId,
}

impl Authority {
    /// That of a new cluster.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn found(
        cluster: ClusterId,
        random: &dyn Random,
        now: Timestamp,
    ) -> Result<Authority, SecurityError> {
        let key = KeyPair::generate(random)?;
        let mut params = params_of(cluster);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        dated(&mut params, now, AUTHORITY_TTL, random)?;
        let made = params
            .self_signed(&Signer(&key))
            .map_err(SecurityError::new)?;
        let certificate = Certificate(made.der().clone());
        Ok(Authority {
            key,
            certificate,
            cluster,
        })
    }

    /// One that was kept.
    pub fn from_parts(cluster: ClusterId, key: KeyPair, certificate: Certificate) -> Authority {
        Authority {
            key,
            certificate,
            cluster,
        }
    }

    /// What others may know of it.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What to keep of it, and to tell masters only.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Says who has a key.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn issue(
        &self,
        identity: &NodeIdentity,
        key: &PublicKey,
        (now, ttl): (Timestamp, Duration),
        random: &dyn Random,
    ) -> Result<Certificate, SecurityError> {
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, identity.role.to_string());
        params.distinguished_name = name;
        let uri = Ia5String::try_from(identity.to_string()).map_err(SecurityError::new)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        dated(&mut params, now, ttl, random)?;
        let issuer = Issuer::new(params_of(self.cluster), Signer(&self.key));
        let made = params.signed_by(&Known(key), &issuer);
        Ok(Certificate(made.map_err(SecurityError::new)?.der().clone()))
    }
}

/// What nobody but its own key vouches for: how a client shows that it has one.
pub(super) fn of_key(
    key: &KeyPair,
    random: &dyn Random,
    now: Timestamp,
) -> Result<Certificate, SecurityError> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "key");
    params.distinguished_name = name;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    dated(&mut params, now, NO_END, random)?;
    let made = params
        .self_signed(&Signer(key))
        .map_err(SecurityError::new)?;
    Ok(Certificate(made.der().clone()))
}

/// How the authority of a cluster is called.
fn params_of(cluster: ClusterId) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("dfs cluster {cluster}"));
    params.distinguished_name = name;
    params
}

fn dated(
    params: &mut CertificateParams,
    now: Timestamp,
    ttl: Duration,
    random: &dyn Random,
) -> Result<(), SecurityError> {
    let at = |time: Timestamp| {
        let seconds = i64::try_from(time.0 / 1_000_000).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(seconds).map_err(SecurityError::new)
    };
    params.not_before = at(Timestamp(now.0.saturating_sub(micros(SKEW))))?;
    params.not_after = at(now.saturating_add(ttl))?;
    let mut serial = [0; 16];
    random.fill(&mut serial);
    // Positive, and of full length.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A key of ours as the library wants it.
struct Signer<'a>(&'a KeyPair);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).to_vec())
    }
}

/// Somebody's key as the library wants it.
struct Known<'a>(&'a PublicKey);

impl PublicKeyData for Known<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.0.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}
