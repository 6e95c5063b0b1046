//! TLS 1.3 around another network.
//!
//! Who listens is a node and shows its certificate; who connects shows one, or a key. Names and
//! addresses do not matter: what counts is the identity that the authority has signed. Sessions
//! are not resumed, so that nobody comes back with a certificate that is no longer good;
//! connections are kept and used again instead.

mod lazy;
pub(crate) mod verify;

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::BoxFuture;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::crypto::ring::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::lazy::{LazyStream, wire};
use self::verify::Verifier;
use super::authority::of_key;
use super::{Certificate, Fingerprint, KeyPair, Peer, SecurityError};
use crate::env::{BoxStream, Clock, Connection, Env, Listener, Network, Timestamp};

/// What both ends must speak: not HTTP, nor another version of this.
const ALPN: &[u8] = b"dfs/2";
/// Stands where a name must stand; identities are in certificates.
const NAME: &str = "node.dfs.internal";
/// Bytes of a record, half of what TLS allows. A record is copied several times, and of 8 KiB or
/// more, where vectors have 64 bytes, glibc 2.36 copies with `rep movsb`, which on processors of
/// AMD is slow for some addresses.
const RECORD_SIZE: usize = 8 << 10;

/// Whom to believe, and how little: which authority says who is of the cluster.
#[derive(Debug, Clone)]
pub enum Trust {
    /// These, by their own certificates.
    Authorities(Vec<Certificate>),
    /// The one whose certificate has this fingerprint, which the other end shows: for whoever
    /// has nothing but a token to join with.
    Fingerprint(Fingerprint),
}

/// What this end shows: a certificate or just a key. They can be exchanged while connections are
/// made; those that are there stay.
pub struct Credentials {
    shown: RwLock<Arc<CertifiedKey>>,
}

impl Credentials {
    /// A key without a certificate.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn of_key(key: &KeyPair, env: &Env) -> Result<Credentials, SecurityError> {
        let certificate = of_key(key, &*env.random, env.clock.now())?;
        Ok(Credentials {
            shown: RwLock::new(Arc::new(certified(key, vec![certificate])?)),
        })
    }

    /// A node's key with its certificate, and that of the authority that issued it.
    ///
    /// # Errors
    /// They do not belong together.
    pub fn of_node(
        key: &KeyPair,
        certificate: Certificate,
        authority: Certificate,
    ) -> Result<Credentials, SecurityError> {
        let chain = vec![certificate, authority];
        Ok(Credentials {
            shown: RwLock::new(Arc::new(certified(key, chain)?)),
        })
    }

    /// Shows a new certificate from now on.
    ///
    /// # Errors
    /// It is not of this key; the former one is still shown.
    pub fn renew(
        &self,
        key: &KeyPair,
        certificate: Certificate,
        authority: Certificate,
    ) -> Result<(), SecurityError> {
        let new = Arc::new(certified(key, vec![certificate, authority])?);
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn shown(&self) -> Arc<CertifiedKey> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&shown)
    }
}

fn certified(key: &KeyPair, chain: Vec<Certificate>) -> Result<CertifiedKey, SecurityError> {
    let chain = chain.into_iter().map(|certificate| certificate.0).collect();
    CertifiedKey::from_der(chain, key.pkcs8(), &provider()).map_err(SecurityError::new)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Who shows a certificate, if an authority has issued it and it is good at a time.
pub(crate) fn verified(
    certificate: &Certificate,
    authority: &Certificate,
    now: Timestamp,
) -> Result<Peer, SecurityError> {
    let trust = Trust::Authorities(vec![authority.clone()]);
    let verifier = Verifier::new(&trust, &provider())?;
    verifier.verified(certificate, unix(now))
}

/// A network on which both ends have made sure of each other.
pub struct TlsNetwork {
    inner: Arc<dyn Network>,
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl TlsNetwork {
    /// TLS around the network of `env`, whose clock says which certificates are good.
    ///
    /// # Errors
    /// What is trusted is no certificate of an authority.
    pub fn new(
        env: &Env,
        credentials: &Arc<Credentials>,
        trust: &Trust,
    ) -> Result<TlsNetwork, SecurityError> {
        let provider = Arc::new(provider());
        let time: Arc<dyn TimeProvider> = Arc::new(Time(env.clock.clone()));
        let verifier = Arc::new(Verifier::new(trust, &provider)?);
        let versions = &[&rustls::version::TLS13];
        let builder = ClientConfig::builder_with_details(provider.clone(), time.clone());
        let mut client = builder
            .with_protocol_versions(versions)
            .map_err(SecurityError::new)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(credentials.clone());
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        client.max_fragment_size = Some(RECORD_SIZE);
        let builder = ServerConfig::builder_with_details(provider, time);
        let mut server = builder
            .with_protocol_versions(versions)
            .map_err(SecurityError::new)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(credentials.clone());
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_fragment_size = Some(RECORD_SIZE);
        Ok(TlsNetwork {
            inner: env.network.clone(),
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
        })
    }
}

/// The library of ciphers. Most bytes are those of chunks, and of the ciphers of TLS 1.3 the first
/// is the fastest where processors know AES, and the last where they do not.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..ring::default_provider()
    }
}

struct Time(Arc<dyn Clock>);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.now()))
    }
}

fn unix(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.0 / 1_000_000))
}

impl Network for TlsNetwork {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let connecting = self.inner.connect(address);
        let connector = self.connector.clone();
        Box::pin(async move {
            let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
            let stream = connector.connect(name, wire(connecting.await?)).await?;
            Ok(Box::new(LazyStream::dialed(stream)) as BoxStream)
        })
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let listening = self.inner.listen(address);
        let acceptor = self.acceptor.clone();
        Box::pin(async move {
            let inner = listening.await?;
            Ok(Box::new(TlsListener { inner, acceptor }) as Box<dyn Listener>)
        })
    }
}

struct TlsListener {
    inner: Box<dyn Listener>,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let Connection { stream, peer } = self.inner.accept().await?;
            // The handshake is done by whoever reads first, so that nobody waits for another's.
            let stream = LazyStream::accepted(self.acceptor.accept(wire(stream)));
            Ok(Connection {
                stream: Box::new(stream),
                peer,
            })
        })
    }

    fn local_address(&self) -> String {
        self.inner.local_address()
    }
}

#[cfg(test)]
mod tests;
