//! Which cluster a command works with, and the connection to it.
//!
//! ```text
//! --masters, --url  >  DFS_MASTERS  >  --profile, DFS_PROFILE  >  profile in the local data
//! directory  >  a local cluster
//! ```
//!
//! The addresses say where it is, the profile how to log in.
//!
//! A local cluster is run by one process at a time, which holds the lock of its directory. If
//! that is `dfs up`, its profile says how to reach it. If it is another short command, we wait
//! for it to end. If it is nobody, we run the cluster in this process, until we are done.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dfs_core::client::{Client, ClientConfig, Profile};
use dfs_core::env::{Env, is_loopback};
use dfs_core::error::ErrorKind;
use dfs_core::types::{GroupId, Mode, UserId};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Failure, Result};
use crate::local;
use crate::local::embedded::Embedded;
use crate::local::home::{self, Home, Lock, Shape};
use crate::output::Output;
use crate::text::size::count;
use crate::text::when::{self, parse_duration};

/// Which cluster, and how patient to be with it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Addresses of masters, `host:port`, separated by commas [env: DFS_MASTERS].
    #[arg(
        long,
        value_name = "ADDRESSES",
        value_delimiter = ',',
        conflicts_with = "url"
    )]
    masters: Vec<String>,

    /// The same as a URL: `dfs://host:port,host:port`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// A file that says where the cluster is and how to log in [env: DFS_PROFILE].
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    /// For a cluster without encryption and logins.
    #[arg(long, conflicts_with = "profile")]
    insecure: bool,

    /// How long to try before giving up.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

impl ClusterArgs {
    /// Whether the cluster is without security.
    pub(crate) fn insecure(&self) -> bool {
        self.insecure
    }

    /// The addresses that are named.
    fn masters(&self) -> Option<String> {
        let named = (!self.masters.is_empty()).then(|| self.masters.join(","));
        let named = self.url.clone().or(named);
        named.or_else(|| variable("DFS_MASTERS"))
    }

    /// The settings of a client of a cluster elsewhere; none if nothing says where.
    ///
    /// # Errors
    /// What says so cannot be understood, or nothing says how to log in.
    pub(crate) fn elsewhere(&self) -> Result<Option<ClientConfig>> {
        let masters = self.masters().as_deref().map(parse_url).transpose()?;
        let file = self
            .profile
            .clone()
            .or_else(|| variable("DFS_PROFILE").map(PathBuf::from));
        let profile = match file {
            Some(file) => Some(home::profile_at(&file)?),
            None => Home::find()?.profile()?,
        };
        let profile = profile.as_ref().map(config_of).transpose()?;
        let mut config = match (masters, profile) {
            (None, None) => return Ok(None),
            (None, Some(profile)) => profile,
            (Some(named), None) => named,
            (Some(named), Some(profile)) => ClientConfig {
                access: profile.access,
                ..named
            },
        };
        match (self.insecure, &config.access) {
            (true, _) => {
                if let Some(open) = config.masters.iter().find(|at| !is_loopback(at)) {
                    let what = format!("{open}: without security only loopback is connected to");
                    return Err(Failure::usage(what).hint("leave out `--insecure`"));
                }
                config.access = None;
                of_this_machine(&mut config);
                Ok(Some(config))
            }
            (false, Some(_)) => Ok(Some(config)),
            (false, None) => Err(Failure::usage("nothing says how to log in to that cluster")
                .hint("`dfs login` does, or pass `--profile FILE`")
                .hint("for a cluster without security, pass `--insecure`")),
        }
    }

    /// How long to try before giving up.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// What commands work with.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where they print.
    pub(crate) output: Output,
    session: OnceCell<Session>,
}

#[derive(Debug)]
struct Session {
    client: Client,
    /// The cluster that runs in this process, and the right to run it.
    embedded: Option<(Embedded, Lock)>,
}

/// The size of a local cluster where nobody says otherwise.
pub(crate) const SHAPE: Shape = Shape {
    masters: 3,
    data_nodes: 3,
};
/// How often to look whether the process before us has ended.
const LOCK_POLL: Duration = Duration::from_millis(25);
/// How long one attempt to reach `dfs up` takes, which may be ending just now.
const UP_ATTEMPT: Duration = Duration::from_secs(5);
/// What is said of masters that another authority vouches for.
const STRANGER: &str = "invalid peer certificate";
/// What is said to whoever does without security.
pub(crate) const INSECURE: &str = "INSECURE: no encryption and no logins: every program on this \
                                   machine can read, change and delete everything";
/// How long a session and a cluster may take to end.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

impl Context {
    /// A context without a connection yet.
    pub(crate) fn new(quiet: bool) -> Context {
        Context {
            output: Output::new(quiet),
            session: OnceCell::new(),
        }
    }

    /// The connection to the cluster, made when first asked for.
    ///
    /// # Errors
    /// No cluster can be reached in time; says which was tried.
    pub(crate) async fn client(&self, args: &ClusterArgs) -> Result<&Client> {
        let session = self.session.get_or_try_init(|| self.connect(args)).await?;
        Ok(&session.client)
    }

    /// Ends the session, and the cluster if it runs in this process.
    pub(crate) async fn close(&self) {
        let Some(session) = self.session.get() else {
            return;
        };
        let end = async {
            session.client.close().await;
            if let Some((cluster, _lock)) = &session.embedded {
                return cluster.stop().await;
            }
            Ok(())
        };
        // What was acknowledged is on stable storage: an abrupt end loses nothing.
        match timeout(CLOSE_TIMEOUT, end).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => self.output.failure(&failure),
            Err(_) => self
                .output
                .note("the cluster took too long to stop; left as it is"),
        }
    }

    async fn connect(&self, args: &ClusterArgs) -> Result<Session> {
        if args.insecure() {
            self.output.warning(INSECURE);
        }
        match args.elsewhere()? {
            Some(config) => Ok(Session {
                client: connect(config, args.timeout).await?,
                embedded: None,
            }),
            None => self.connect_local(args).await,
        }
    }

    async fn connect_local(&self, args: &ClusterArgs) -> Result<Session> {
        let home = Home::find()?;
        let deadline = Instant::now() + args.timeout;
        let mut told = false;
        loop {
            let serving = home.serving()?;
            let holder = match home.try_lock()? {
                Ok(lock) => return self.start(&home, lock, args.timeout).await,
                Err(holder) => holder,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(serving) = serving.filter(|serving| Some(serving.pid) == holder) {
                let config = config_of(&serving.profile)?;
                match connect(config, left.min(UP_ATTEMPT)).await {
                    Err(_) if left > UP_ATTEMPT => {}
                    result => {
                        return result.map(|client| Session {
                            client,
                            embedded: None,
                        });
                    }
                }
            }
            if left.is_zero() {
                return Err(in_use(&home, holder, args.timeout));
            }
            if !told {
                let who = holder.map_or_else(String::new, |pid| format!(" (process {pid})"));
                self.output.note(format_args!(
                    "waiting for another dfs command{who} that uses the local cluster"
                ));
                told = true;
            }
            sleep(LOCK_POLL).await;
        }
    }

    /// Runs the local cluster in this process.
    async fn start(&self, home: &Home, lock: Lock, patience: Duration) -> Result<Session> {
        home.remove_serving(&lock)?;
        let is_new = home.shape()?.is_none();
        let shape = home.shape()?.unwrap_or(SHAPE);
        if is_new {
            self.output.note(format_args!(
                "keeping data in `{}`: {}, {} on this machine",
                home.path().display(),
                count(shape.masters as u64, "master", "masters"),
                count(shape.data_nodes as u64, "data node", "data nodes"),
            ));
        }
        // Before it exists: one half made must not be taken for another.
        home.write_shape(shape, &lock)?;
        let cluster = Embedded::start(&home.cluster(), shape).await?;
        let client = connect(config_of(&cluster.profile())?, patience).await?;
        Ok(Session {
            client,
            embedded: Some((cluster, lock)),
        })
    }
}

/// The settings of a client, as a profile has them.
pub(crate) fn config_of(profile: &Profile) -> Result<ClientConfig> {
    let config = profile.config();
    config.map_err(|error| Failure::usage(error.to_string()))
}

/// Without logins what is made belongs to whoever runs this process.
fn of_this_machine(config: &mut ClientConfig) {
    let (owner, group) = local::identity();
    config.identity.owner = Some(UserId(owner));
    config.identity.group = Some(GroupId(group));
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Connects to a cluster.
///
/// # Errors
/// None of its masters answers in time; says which were asked.
pub(crate) async fn connect(mut config: ClientConfig, patience: Duration) -> Result<Client> {
    config.identity.umask = Mode::new(local::umask());
    let patience = patience.max(Duration::from_millis(1));
    let deadlines = &mut config.deadlines;
    deadlines.operation = patience;
    deadlines.attempt = deadlines.attempt.min(patience);
    deadlines.connect = deadlines.connect.min(patience);
    deadlines.patience = deadlines.patience.min(patience);
    let masters = config.masters.clone();
    let connected = Client::connect(config, Env::real()).await;
    connected.map_err(|error| match error.kind() {
        ErrorKind::Unavailable { .. } => Failure::unavailable(format!(
            "no cluster can be reached: tried {} for {}",
            masters.join(", "),
            when::duration(patience)
        ))
        .hint(match error.to_string().contains(STRANGER) {
            true => "they are of another cluster than the profile: `dfs login` logs in anew",
            false => "check the addresses, and that the masters run",
        })
        .hint("`dfs up` runs a cluster on this machine"),
        ErrorKind::Denied => {
            Failure::refused(format!("cannot log in: {error}")).hint("`dfs login` logs in anew")
        }
        _ => Failure::usage(format!("cannot connect: {error}")),
    })
}

fn parse_url(url: &str) -> Result<ClientConfig> {
    url.parse().map_err(|error: dfs_core::error::Error| {
        Failure::usage(error.to_string()).hint("write `host:port,host:port`")
    })
}

fn in_use(home: &Home, holder: Option<u32>, waited: Duration) -> Failure {
    let who = holder.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
    Failure::unavailable(format!(
        "the local cluster in `{}` is in use by {who}, waited {} for it",
        home.path().display(),
        when::duration(waited)
    ))
    .hint("`dfs up` in another terminal lets many commands work at once")
}
