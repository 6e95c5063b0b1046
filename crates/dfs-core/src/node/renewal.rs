//! Papers are renewed at half of their time, so that a cluster without a leader for days loses
//! none of its nodes. Whoever comes too late proves with its key alone who it is: the masters
//! know the keys of all nodes.

use std::time::Duration;

use super::joining::Masters;
use super::{JoinError, Papers};
use crate::env::Env;
use crate::proto::enrol::{EnrolRpcClient, IssuedPapers};
use crate::security::NODE_CERTIFICATE_TTL;

/// How often it is looked whether it is time: clocks jump, and machines sleep.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after an attempt that failed.
pub(crate) const RENEWAL_PAUSE: Duration = Duration::from_secs(60);

impl Papers {
    /// How long they need not be renewed yet. Not all do it at once that joined at once.
    pub(crate) fn rest(&self, env: &Env) -> Duration {
        let half = NODE_CERTIFICATE_TTL / 2;
        let [low, ..] = self.key().0;
        let early = half / 8 * u32::from(low) / 256;
        let now = env.clock.now();
        if now < self.since() {
            // The clock was ahead when they were made: they may not be good yet.
            return Duration::ZERO;
        }
        let due = self.since().saturating_add(half - early);
        due.since(now).min(half)
    }

    /// Waits until they are to be renewed.
    pub(crate) async fn due(&self, env: &Env) {
        loop {
            let rest = self.rest(env);
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest.min(LOOK_INTERVAL)).await;
        }
    }

    /// Asks masters for new papers, and shows them from then on.
    ///
    /// # Errors
    /// They refuse, or none answers.
    pub async fn renew_at(&mut self, env: &Env, masters: Vec<String>) -> Result<(), JoinError> {
        let issued = self.ask(env, masters).await?;
        Ok(self.renew(env, issued).await?)
    }

    async fn ask(&self, env: &Env, masters: Vec<String>) -> Result<IssuedPapers, JoinError> {
        let identity = self.identity();
        let masters = Masters::new(env, self.key_pair(), &self.trust(), masters)?;
        let ask = |client: EnrolRpcClient| async move {
            let context = tarpc::context::current();
            client.renew(context, identity.node, identity.role).await
        };
        masters.ask(1, ask).await
    }
}

/// Renews the papers of a node whenever it is time, for ever. `env` is the world without them.
pub(crate) async fn keep_good(mut papers: Papers, env: Env, masters: impl Fn() -> Vec<String>) {
    loop {
        papers.due(&env).await;
        match papers.renew_at(&env, masters()).await {
            Ok(()) => tracing::info!("the papers of this node were renewed"),
            Err(error) => {
                tracing::warn!(%error, "the papers of this node could not be renewed");
                tokio::time::sleep(RENEWAL_PAUSE).await;
            }
        }
    }
}
