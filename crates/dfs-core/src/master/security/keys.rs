//! The keys that the masters sign with, as this master knows them.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use dfs_raft::Consistency;
use dfs_raft::state::View;
use tokio::time::Instant;

use crate::env::Timestamp;
use crate::master::shared::{Shared, unexpected};
use crate::meta::command::SecretBytes;
use crate::meta::query::{self, SigningKeyId};
use crate::meta::{Command, Reply};
use crate::proto::error::RpcError;
use crate::security::{HandleKey, KeyNumber, KeyPair, SigningKeys};
use crate::types::limits::SIGNING_KEY_REST;
use crate::types::{Caller, Refusal, RefusalKind};

/// A key that signs, with its number.
pub(crate) type Signer = (KeyNumber, Arc<KeyPair>);

/// A signing key, and when it was made.
#[derive(Clone)]
struct Made {
    signer: Signer,
    since: Timestamp,
}

/// The keys that are at hand: they are looked up with every use, and made only once.
#[derive(Default)]
pub(crate) struct Keys {
    made: Mutex<Vec<Made>>,
    signing: Mutex<Signing>,
    /// It never changes.
    handles: OnceLock<HandleKey>,
}

/// The key that signs, as it was looked up last.
#[derive(Default)]
struct Signing {
    /// It, and when that was.
    looked_up: Option<(Signer, Instant)>,
    /// How often keys were exchanged here: what was looked up before the last time does not count.
    exchanges: u64,
}

/// How long the key that signs is not looked up again: those before it verify for much longer.
const LOOKED_UP_AGE_MAX: Duration = Duration::from_secs(1);

/// Which of all keys signs, the newest last: the newest that every data node has heard of by now.
/// If there is none yet, that of which they heard first.
fn choose(all: &[Made], now: Timestamp) -> Option<&Made> {
    let is_known = |key: &&Made| key.since.saturating_add(SIGNING_KEY_REST) <= now;
    all.iter().rev().find(is_known).or_else(|| all.first())
}

fn draw(shared: &Shared) -> SecretBytes {
    let mut secret = [0; 32];
    shared.env.random.fill(&mut secret);
    SecretBytes(secret)
}

/// As the leader, exchanges the signing key, which is old by now.
///
/// # Errors
/// This master does not lead any more, or no majority answers.
pub(in crate::master) async fn renew(shared: &Shared) -> Result<(), RpcError> {
    let command = Command::AddSigningKey(draw(shared));
    let key = added(shared.propose(command).await?.value)?;
    tracing::info!(key, "there is a new signing key");
    Ok(())
}

/// As the leader, exchanges it because an administrator asks for it, and makes void all that was
/// signed before if it says so.
///
/// # Errors
/// The caller is none, too many keys still count, this master does not lead, or no majority
/// answers.
pub(in crate::master) async fn exchange(
    shared: &Shared,
    caller: Caller,
    void_former: bool,
) -> Result<(), RpcError> {
    if shared.config.security.is_insecure() {
        let what = "this cluster has no security, and signs nothing";
        return Err(Refusal::new(RefusalKind::Invalid, what).into());
    }
    let command = Command::ExchangeSigningKey {
        caller,
        secret: draw(shared),
        void_former,
    };
    let key = added(shared.propose(command).await?.value)?;
    shared.keys.look_again();
    tracing::warn!(key, void_former, by = ?caller, "an administrator exchanged the signing key");
    Ok(())
}

fn added(reply: Reply) -> Result<KeyNumber, RpcError> {
    match reply {
        Reply::SigningKey(added) => Ok(added?.0),
        other => Err(unexpected(&other)),
    }
}

impl Keys {
    /// All keys that are kept, the newest last.
    async fn all(&self, shared: &Shared) -> Result<Vec<Made>, RpcError> {
        let reading = shared.read(Consistency::Stale).await?;
        let numbers = shared
            .look(reading.clone(), |view: &View| query::signing_key_ids(view))
            .await?;
        let made = self
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let is_there = |id: &SigningKeyId| made.iter().any(|key| key.signer.0 == id.0);
        let made = match made.len() == numbers.len() && numbers.iter().all(is_there) {
            true => made,
            false => {
                let look = |view: &View| query::signing_keys(view);
                let kept = shared.look(reading, look).await?;
                let keys = kept.into_iter().map(|(id, secret)| {
                    let key = KeyPair::from_secret(&secret.secret.0);
                    let key = key.map_err(|e| RpcError::Internal(e.to_string()))?;
                    Ok(Made {
                        signer: (id.0, Arc::new(key)),
                        since: secret.since,
                    })
                });
                let keys = keys.collect::<Result<Vec<_>, RpcError>>()?;
                let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                made.clone_from(&keys);
                keys
            }
        };
        Ok(made)
    }

    /// The key that vouches for inodes.
    ///
    /// # Errors
    /// There is none yet, or the state cannot be read.
    pub(crate) async fn handles(&self, shared: &Shared) -> Result<&HandleKey, RpcError> {
        if let Some(key) = self.handles.get() {
            return Ok(key);
        }
        let reading = shared.read(Consistency::Stale).await?;
        let secret = shared
            .look(reading, |view: &View| query::handles(view))
            .await?;
        let secret = secret
            .ok_or_else(|| RpcError::Unavailable("there is no key for handles yet".to_owned()))?;
        Ok(self
            .handles
            .get_or_init(|| HandleKey::new(&secret.secret.0)))
    }

    /// Those that still count.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(crate) async fn verifying(&self, shared: &Shared) -> Result<SigningKeys, RpcError> {
        let all = self.all(shared).await?;
        let public = all.iter().map(|key| (key.signer.0, key.signer.1.public()));
        Ok(SigningKeys::new(public))
    }

    /// The one that signs.
    ///
    /// # Errors
    /// There is none yet, or the state cannot be read.
    pub(crate) async fn signing(&self, shared: &Shared) -> Result<Signer, RpcError> {
        let exchanges = {
            let now = self.signing_now();
            if let Some((signer, since)) = &now.looked_up
                && since.elapsed() < LOOKED_UP_AGE_MAX
            {
                return Ok(signer.clone());
            }
            now.exchanges
        };
        let all = self.all(shared).await?;
        let key = choose(&all, shared.now());
        let key =
            key.ok_or_else(|| RpcError::Unavailable("there is no signing key yet".to_owned()))?;
        self.keep(&key.signer, exchanges);
        Ok(key.signer.clone())
    }

    /// Keeps what was looked up after so many exchanges, unless there was another meanwhile: the
    /// key may be void by now.
    fn keep(&self, signer: &Signer, exchanges: u64) {
        let mut now = self.signing_now();
        if now.exchanges == exchanges {
            now.looked_up = Some((signer.clone(), Instant::now()));
        }
    }

    fn signing_now(&self) -> MutexGuard<'_, Signing> {
        self.signing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up anew which key signs.
    fn look_again(&self) {
        let mut now = self.signing_now();
        now.looked_up = None;
        now.exchanges += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::env::{Clock, Env, SeededRandom};
    use crate::master::tests::{elected, start_in};
    use crate::node::Security;
    use crate::types::limits::{SIGNING_KEY_AGE_MAX, SIGNING_KEY_LINGERS};

    /// The clock of this machine, and some hours.
    #[derive(Default)]
    struct Moved(AtomicU64);

    impl Moved {
        fn by(&self, more: Duration) {
            let more = u64::try_from(more.as_micros()).unwrap();
            self.0.fetch_add(more, Ordering::Relaxed);
        }
    }

    impl Clock for Moved {
        fn now(&self) -> Timestamp {
            let ahead = Duration::from_micros(self.0.load(Ordering::Relaxed));
            Env::real().clock.now().saturating_add(ahead)
        }
    }

    /// Waits until a master has these keys.
    async fn has(shared: &Shared, expected: &[KeyNumber]) {
        let wait = async {
            loop {
                let all = shared.keys.all(shared).await.unwrap();
                let numbers: Vec<_> = all.iter().map(|key| key.signer.0).collect();
                if numbers == expected {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        assert!(waited.is_ok(), "never had the keys {expected:?}");
    }

    #[test]
    fn a_key_that_was_looked_up_before_an_exchange_is_not_kept_after_it() {
        let keys = Keys::default();
        let pair = KeyPair::generate(&SeededRandom::new(1)).unwrap();
        let former = (1, Arc::new(pair));
        let exchanges = keys.signing_now().exchanges;
        keys.look_again();
        keys.keep(&former, exchanges);
        assert!(keys.signing_now().looked_up.is_none());
        let exchanges = keys.signing_now().exchanges;
        keys.keep(&former, exchanges);
        assert!(keys.signing_now().looked_up.is_some());
    }

    #[tokio::test]
    async fn a_leader_exchanges_its_key_every_week_and_drops_the_former_when_it_can() {
        let clock = Arc::new(Moved::default());
        let env = Env {
            clock: clock.clone(),
            ..Env::real()
        };
        let directory = tempfile::tempdir().unwrap();
        let master = start_in(&directory, env, Security::Found).await;
        master.found().await.unwrap();
        elected(&master).await;
        let shared = &master.shared;
        let signs = || async {
            shared.keys.look_again();
            shared.keys.signing(shared).await.unwrap().0
        };
        has(shared, &[1]).await;
        assert_eq!(signs().await, 1);
        clock.by(SIGNING_KEY_AGE_MAX);
        has(shared, &[1, 2]).await;
        assert_eq!(signs().await, 1, "data nodes have not heard of it");
        clock.by(SIGNING_KEY_REST);
        assert_eq!(signs().await, 2);
        clock.by(SIGNING_KEY_LINGERS);
        has(shared, &[2]).await;
        master.shutdown().await;
    }

    #[test]
    fn a_new_key_signs_when_data_nodes_have_heard_of_it_or_there_is_no_other() {
        let second = 1_000_000;
        let key = Arc::new(KeyPair::generate(&SeededRandom::new(1)).unwrap());
        let made = |number, since: u64| Made {
            signer: (number, Arc::clone(&key)),
            since: Timestamp(since * second),
        };
        let chosen =
            |all: &[Made], now: u64| choose(all, Timestamp(now * second)).map(|key| key.signer.0);
        assert_eq!(chosen(&[], 100), None);
        assert_eq!(chosen(&[made(1, 100)], 100), Some(1));
        let two = [made(1, 100), made(2, 1000)];
        assert_eq!(chosen(&two, 1059), Some(1));
        assert_eq!(chosen(&two, 1060), Some(2));
        assert_eq!(chosen(&[made(2, 1000), made(3, 1010)], 1020), Some(2));
    }
}
