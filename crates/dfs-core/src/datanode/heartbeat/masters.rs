//! Finding the master that leads.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use crate::env::Env;
use crate::proto::cluster::ClusterRpcClient;
use crate::proto::error::RpcError;
use crate::proto::hello::{self, Hello, Service};
use crate::proto::transport::messages;
use crate::types::ClusterId;

/// How long a master may take to answer a heartbeat: one that leads has the answer at hand.
pub(in crate::datanode) const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a master may take to answer anything else.
pub(in crate::datanode) const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// In this many rounds of tries one that did not answer is passed over: it may hang, and others
/// need a moment to notice.
const ROUNDS_WITHOUT_SILENT: u32 = 3;
/// After so many rounds of tries in which none that is known answers, those are tried that other
/// data nodes have seen. Not before: what others say may be wrong, and costs time.
const ROUNDS_WITHOUT_RUMORS: u32 = 2;
/// How long to wait after every master failed once; doubles up to the maximum.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// The masters there are, as far as known, and where to try next.
#[derive(Debug)]
pub(super) struct Masters {
    /// What the settings say: the way back when all others have moved.
    seeds: Vec<String>,
    /// What masters have said.
    learned: Vec<String>,
    /// Where other data nodes have seen masters.
    rumored: Vec<String>,
    /// Who is said to lead.
    hint: Option<String>,
    /// Who did not answer, the last of them.
    silent: Option<String>,
    next: usize,
    failures: u32,
    /// Tries since one that is known has answered.
    unheard: u32,
    strangers: usize,
}

impl Masters {
    pub(super) fn new(seeds: Vec<String>) -> Masters {
        Masters {
            seeds,
            learned: Vec::new(),
            rumored: Vec::new(),
            hint: None,
            silent: None,
            next: 0,
            failures: 0,
            unheard: 0,
            strangers: 0,
        }
    }

    /// Notes what a master says of the others.
    pub(super) fn learn(&mut self, masters: Vec<String>) {
        if !masters.is_empty() && masters != self.learned {
            self.learned = masters;
            self.next = 0;
        }
    }

    /// Notes where other data nodes have seen masters: they are tried when no other answers.
    pub(super) fn hear(&mut self, rumored: Vec<String>) {
        self.rumored = rumored;
    }

    /// The one to try next.
    pub(super) fn candidate(&mut self) -> String {
        let silent = self.silent.clone();
        let hint = self.hint.take();
        if let Some(hint) = hint.filter(|hint| Some(hint) != silent.as_ref()) {
            return hint;
        }
        let all: Vec<&String> = self.all().collect();
        let count = all.len().max(1);
        let is_silent = |next: usize| all.get(next % count).copied() == silent.as_ref();
        let skipped = usize::from(count > 1 && is_silent(self.next));
        let next = self.next.wrapping_add(skipped);
        let candidate = all.get(next % count).map(|c| (*c).clone());
        self.next = next.wrapping_add(1);
        candidate.unwrap_or_default()
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        let seeds = self.seeds.iter().filter(|s| !self.learned.contains(s));
        let is_known = |rumor: &&String| self.learned.contains(rumor) || self.seeds.contains(rumor);
        let rumored = self.rumored.iter().filter(move |rumor| !is_known(rumor));
        let rumored = rumored.take(match self.is_lost() {
            true => usize::MAX,
            false => 0,
        });
        self.learned.iter().chain(seeds).chain(rumored)
    }

    /// Whether none that is known has answered for some rounds.
    fn is_lost(&self) -> bool {
        let seeds = self.seeds.iter().filter(|s| !self.learned.contains(s));
        let known = self.learned.len() + seeds.count();
        let known = u32::try_from(known).unwrap_or(u32::MAX);
        self.unheard >= known.saturating_mul(ROUNDS_WITHOUT_RUMORS)
    }

    /// Notes that a master has answered, whatever it said.
    pub(super) fn answered(&mut self, address: &str) {
        let mut known = self.learned.iter().chain(&self.seeds);
        if known.any(|known| known == address) {
            self.unheard = 0;
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.all().count()).unwrap_or(u32::MAX).max(1)
    }

    /// Notes that a master leads, so that it is tried first next time.
    pub(super) fn succeeded(&mut self, address: &str) {
        let position = self.all().position(|a| a == address);
        self.next = position.unwrap_or(0);
        (self.failures, self.strangers, self.unheard) = (0, 0, 0);
        self.silent = None;
    }

    /// Notes that a master does not answer; says how long to wait.
    pub(super) fn unanswered(&mut self, address: String, env: &Env) -> Duration {
        self.silent = Some(address);
        self.failed(None, env)
    }

    /// Notes that a master does not lead, and who does if it knows; says how long to wait.
    pub(super) fn failed(&mut self, hint: Option<String>, env: &Env) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.unheard = self.unheard.saturating_add(1);
        self.strangers = 0;
        self.hint = hint;
        if self.failures >= self.count().saturating_mul(ROUNDS_WITHOUT_SILENT) {
            self.silent = None;
        }
        self.pause(env)
    }

    /// Notes that a master belongs to another cluster; true when all do.
    pub(super) fn is_stranger(&mut self) -> bool {
        self.strangers += 1;
        self.strangers >= self.all().count()
    }

    /// None while there are masters that were not tried.
    pub(super) fn pause(&self, env: &Env) -> Duration {
        let round = self.failures / self.count();
        if round == 0 {
            return Duration::ZERO;
        }
        let longest = BACKOFF_MIN
            .saturating_mul(1 << (round - 1).min(10))
            .min(BACKOFF_MAX);
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros / 2 + env.random.below(micros / 2 + 1))
    }
}

/// A connection to a master.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: String,
    /// The cluster the master belongs to, once it is founded.
    pub(super) cluster: Option<ClusterId>,
    client: ClusterRpcClient,
}

/// Why a master did not answer a call.
#[derive(Debug)]
pub(super) enum CallError {
    /// It said why.
    Answered(RpcError),
    /// It did not say anything.
    Silent(String),
}

impl Link {
    /// Connects. The hello names no cluster, so that the master's own is heard from it.
    pub(super) async fn connect(
        env: &Env,
        address: String,
        deadline: Duration,
    ) -> io::Result<Link> {
        let hello = Hello::new(Service::Cluster, None);
        let (stream, cluster) = hello::call(&*env.network, &address, hello, deadline).await?;
        let client = ClusterRpcClient::new(tarpc::client::Config::default(), messages(stream));
        Ok(Link {
            address,
            cluster,
            client: client.spawn(),
        })
    }

    /// Makes one call.
    pub(super) async fn call<'a, T, F>(
        &'a self,
        deadline: Duration,
        request: impl FnOnce(&'a ClusterRpcClient, tarpc::context::Context) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<Result<T, RpcError>, tarpc::client::RpcError>>,
    {
        let answer = request(&self.client, tarpc::context::current());
        match timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer.map_err(CallError::Answered),
            Ok(Err(error)) => Err(CallError::Silent(error.to_string())),
            Err(_) => Err(CallError::Silent("no answer in time".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masters() -> Masters {
        Masters::new(vec!["a:1".to_owned(), "b:1".to_owned()])
    }

    #[test]
    fn every_master_is_tried_before_the_first_pause() {
        let (mut masters, env) = (masters(), Env::real());
        assert_eq!(masters.candidate(), "a:1");
        assert_eq!(masters.failed(None, &env), Duration::ZERO);
        assert_eq!(masters.candidate(), "b:1");
        assert!(masters.failed(None, &env) > Duration::ZERO);
    }

    #[test]
    fn the_one_said_to_lead_is_next_and_the_one_that_did_is_first_again() {
        let (mut masters, env) = (masters(), Env::real());
        masters.learn(vec!["c:1".to_owned(), "b:1".to_owned()]);
        masters.failed(Some("b:1".to_owned()), &env);
        assert_eq!(masters.candidate(), "b:1");
        masters.succeeded("b:1");
        assert_eq!(masters.candidate(), "b:1");
        assert_eq!(masters.candidate(), "a:1", "a seed stays a way back");
    }

    #[test]
    fn one_that_does_not_answer_is_not_tried_again_before_the_others_had_time() {
        let (mut masters, env) = (masters(), Env::real());
        assert_eq!(masters.candidate(), "a:1");
        masters.succeeded("a:1");

        masters.unanswered("a:1".to_owned(), &env);
        for _ in 0..4 {
            assert_eq!(masters.candidate(), "b:1");
            // It has not noticed yet.
            masters.failed(Some("a:1".to_owned()), &env);
        }

        masters.failed(Some("a:1".to_owned()), &env);
        assert_eq!(masters.candidate(), "a:1", "it may have been slow only");
    }

    #[test]
    fn those_that_others_have_seen_are_tried_when_none_that_is_known_answers() {
        let (mut masters, env) = (masters(), Env::real());
        masters.hear(vec!["b:1".to_owned(), "c:1".to_owned()]);
        let mut try_all = |answers: &str| {
            let tried = (0..8).map(|_| {
                let tried = masters.candidate();
                match tried == answers {
                    true => masters.failed(None, &env),
                    false => masters.unanswered(tried.clone(), &env),
                };
                masters.answered(match tried == answers {
                    true => answers,
                    false => "",
                });
                tried
            });
            tried.collect::<Vec<String>>()
        };
        // One does, and does not lead: what others have seen may be wrong.
        assert!(!try_all("a:1").contains(&"c:1".to_owned()));
        let tried = try_all("");
        assert!(!tried[..3].contains(&"c:1".to_owned()), "{tried:?}");
        assert!(tried.contains(&"c:1".to_owned()), "{tried:?}");
        // One that is known by others alone answers, and is not forgotten for it.
        assert!(try_all("c:1").contains(&"c:1".to_owned()));
        assert!(try_all("c:1").contains(&"c:1".to_owned()));
    }

    #[test]
    fn the_only_master_is_tried_again_though_it_did_not_answer() {
        let (mut masters, env) = (Masters::new(vec!["a:1".to_owned()]), Env::real());
        masters.unanswered("a:1".to_owned(), &env);
        assert_eq!(masters.candidate(), "a:1");
    }
}
