//! How a client proves who its user is, and makes sure who it talks to.

mod profile;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub use profile::Profile;

use super::config::ClientConfig;
use crate::env::{Env, Network, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::proto::error::RpcError;
use crate::proto::hello::{self, Hello, Service};
use crate::proto::login::{LoggedIn, LoginRpcClient, Proof};
use crate::proto::transport::messages;
use crate::security::{
    ApiKey, Credentials, Fingerprint, KeyPair, SecurityError, TlsNetwork, Trust,
};
use crate::types::account::AccountName;

/// A master takes a moment to verify a password, and more when several log in.
const PASSWORD_PATIENCE: Duration = Duration::from_secs(5);
/// The pause before all masters are asked once more.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// How a client proves who its user is, and which authority it believes. Nothing secret of it is
/// shown.
#[derive(Debug, Clone)]
pub struct Access {
    authority: Fingerprint,
    user: AccountName,
    login: Login,
}

/// What a client logs in with.
#[derive(Debug, Clone)]
pub(super) enum Login {
    /// A key of the user, whenever a ticket is needed.
    Key(ApiKey),
    /// A ticket that it has, and nothing to get another with.
    Ticket(Arc<HeldTicket>),
}

/// A ticket, with the key of the client that it is for.
#[derive(Clone)]
pub struct HeldTicket {
    /// The secret key that it is for.
    pub key: [u8; 32],
    /// What the masters have signed.
    pub ticket: Vec<u8>,
    /// From when on it is void.
    pub expires: Timestamp,
}

impl fmt::Debug for HeldTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldTicket")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// With a key of a user, for programs: it logs in whenever that is needed.
    pub fn with_key(authority: Fingerprint, user: AccountName, key: ApiKey) -> Access {
        Access {
            authority,
            user,
            login: Login::Key(key),
        }
    }

    /// With a ticket from [`Access::log_in`], until it is void.
    pub fn with_ticket(authority: Fingerprint, user: AccountName, ticket: HeldTicket) -> Access {
        Access {
            authority,
            user,
            login: Login::Ticket(Arc::new(ticket)),
        }
    }

    /// The fingerprint of the authority that it believes.
    pub fn authority(&self) -> Fingerprint {
        self.authority
    }

    /// As whom it logs in.
    pub fn user(&self) -> &AccountName {
        &self.user
    }

    pub(super) fn login(&self) -> &Login {
        &self.login
    }

    /// The world in which the client shows its key, and believes this authority alone.
    pub(super) fn env(&self, env: &Env) -> Result<Env> {
        let key = match &self.login {
            Login::Key(_) => KeyPair::generate(&*env.random),
            Login::Ticket(held) => KeyPair::from_secret(&held.key),
        };
        secured(env, &key.map_err(failed)?, self.authority)
    }

    /// Logs in with a password, for some hours. `config` says where masters are.
    ///
    /// # Errors
    /// `Denied` if it is not the password, or no such user; `Unavailable`.
    pub async fn log_in(
        config: &ClientConfig,
        authority: Fingerprint,
        (user, password): (&AccountName, String),
        env: &Env,
    ) -> Result<HeldTicket> {
        config.validate()?;
        let key = KeyPair::generate(&*env.random).map_err(failed)?;
        let secret = key.secret().try_into();
        let secret = secret.map_err(|_| Error::invalid("a cut key"))?;
        let network = secured(env, &key, authority)?.network;
        let proof = Proof::Password(password);
        let deadline = Instant::now() + config.deadlines.operation;
        let mut last = String::new();
        loop {
            for address in &config.masters {
                match log_in_at(&*network, address, (user, &proof), PASSWORD_PATIENCE).await {
                    Ok(LoggedIn {
                        ticket, expires, ..
                    }) => {
                        let key = secret;
                        return Ok(HeldTicket {
                            key,
                            ticket,
                            expires,
                        });
                    }
                    Err(Failed::Refused(RpcError::Refused { refusal, .. })) => {
                        return Err(refusal.into());
                    }
                    Err(Failed::Refused(error)) => last = error.to_string(),
                    Err(Failed::Unreached(why)) => last = why,
                }
            }
            if Instant::now() >= deadline {
                let what = format!("no master could log anybody in: {last}");
                return Err(Error::unavailable(what));
            }
            sleep(ROUND_PAUSE).await;
        }
    }
}

fn secured(env: &Env, key: &KeyPair, authority: Fingerprint) -> Result<Env> {
    let shown = Arc::new(Credentials::of_key(key, env).map_err(failed)?);
    let trust = Trust::Fingerprint(authority);
    let network = TlsNetwork::new(env, &shown, &trust).map_err(failed)?;
    Ok(Env {
        network: Arc::new(network),
        ..env.clone()
    })
}

fn failed(error: SecurityError) -> Error {
    Error::with_source(ErrorKind::Internal, "a key cannot be used", error)
}

/// Why there is no ticket.
#[derive(Debug)]
pub(super) enum Failed {
    /// The masters said no.
    Refused(RpcError),
    /// No leader answered.
    Unreached(String),
}

/// Logs in at a master, or at the leader that it names.
pub(super) async fn log_in_at(
    network: &dyn Network,
    address: &str,
    who: (&AccountName, &Proof),
    patience: Duration,
) -> std::result::Result<LoggedIn, Failed> {
    match ask(network, address, who, patience).await {
        Err(Failed::Refused(RpcError::NotLeader {
            leader: Some(leader),
        })) if leader != address => ask(network, &leader, who, patience).await,
        answered => answered,
    }
}

async fn ask(
    network: &dyn Network,
    address: &str,
    (user, proof): (&AccountName, &Proof),
    patience: Duration,
) -> std::result::Result<LoggedIn, Failed> {
    let unreached = |why: String| Failed::Unreached(format!("{address}: {why}"));
    let hello = Hello::new(Service::Login, None);
    let called = hello::call(network, address, hello, patience).await;
    let (stream, _) = called.map_err(|e| unreached(e.to_string()))?;
    let config = tarpc::client::Config::default();
    let client = LoginRpcClient::new(config, messages(stream)).spawn();
    let asked = client.login(tarpc::context::current(), user.clone(), proof.clone());
    match timeout(patience, asked).await {
        Ok(Ok(Ok(logged_in))) => Ok(logged_in),
        Ok(Ok(Err(error @ (RpcError::Refused { .. } | RpcError::NotLeader { .. })))) => {
            Err(Failed::Refused(error))
        }
        Ok(Ok(Err(error))) => Err(unreached(error.to_string())),
        Ok(Err(error)) => Err(unreached(error.to_string())),
        Err(_) => Err(unreached("no answer in time".to_owned())),
    }
}
