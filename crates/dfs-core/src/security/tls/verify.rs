//! Who may be at the other end: a node with a good certificate, or, of those that connect,
//! whoever has a key and does not claim to be a node.

use std::fmt;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use webpki::EndEntityCert;

use super::Trust;
use crate::planted::{self, Bug};
use crate::security::{Certificate, Fingerprint, NodeIdentity, Peer, PublicKey, SecurityError};

/// Judges what the other end shows.
pub(super) struct Verifier {
    trust: Trusted,
    algorithms: WebPkiSupportedAlgorithms,
}

enum Trusted {
    Roots(RootCertStore),
    Fingerprint(Fingerprint),
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    pub(super) fn new(trust: &Trust, provider: &CryptoProvider) -> Result<Verifier, SecurityError> {
        let trust = match trust {
            Trust::Fingerprint(fingerprint) => Trusted::Fingerprint(*fingerprint),
            Trust::Authorities(certificates) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates {
                    roots
                        .add(certificate.0.clone())
                        .map_err(SecurityError::new)?;
                }
                Trusted::Roots(roots)
            }
        };
        Ok(Verifier {
            trust,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Who shows a certificate, if it is good.
    pub(super) fn verified(
        &self,
        certificate: &Certificate,
        now: UnixTime,
    ) -> Result<Peer, SecurityError> {
        let issued = self.is_issued(&certificate.0, &[], now);
        issued.map_err(SecurityError::new)?;
        peer_of(&certificate.0)
    }

    /// Whether an authority that is trusted has issued a certificate, and it is good now.
    fn is_issued(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        if planted::active(Bug::CaCheckSkipped) {
            return Ok(());
        }
        let verify = |roots: &RootCertStore| {
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, &[], now, self.algorithms.all)
        };
        match &self.trust {
            Trusted::Roots(roots) => verify(roots),
            Trusted::Fingerprint(expected) => {
                // The token says which authority; the other end shows its certificate.
                let is_it = |other: &&CertificateDer<'_>| Fingerprint::of(other) == *expected;
                let Some(authority) = others.iter().find(is_it) else {
                    return Err(CertificateError::UnknownIssuer.into());
                };
                let mut roots = RootCertStore::empty();
                roots.add(authority.clone().into_owned())?;
                verify(&roots)
            }
        }
    }
}

/// Who shows a certificate. It is believed when it was verified.
pub(crate) fn peer_of(certificate: &CertificateDer<'_>) -> Result<Peer, SecurityError> {
    let parsed = EndEntityCert::try_from(certificate).map_err(SecurityError::new)?;
    let key = PublicKey::from_spki(parsed.subject_public_key_info().as_ref())?;
    let mut uris = parsed.valid_uri_names();
    let node = match (uris.next(), uris.next()) {
        (Some(uri), None) => Some(uri.parse::<NodeIdentity>()?),
        (Some(_), Some(_)) => return Err(SecurityError::new("a certificate of several nodes")),
        (None, _) => None,
    };
    Ok(Peer { key, node })
}

fn peer(certificate: &CertificateDer<'_>) -> Result<Peer, Error> {
    peer_of(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Who listens is a node.
        if peer(certificate)?.node.is_none() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        self.is_issued(certificate, others, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Whoever claims to be a node must be one; it is not let in as a key instead.
        if peer(certificate)?.node.is_some() {
            self.is_issued(certificate, others, now)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
