//! Bugs planted on purpose, to prove that the tests of the whole would find them.
//!
//! A place with a planted bug asks [`active`] whether to be wrong. Without the feature `planted`
//! the answer is `false` when it is compiled, and nothing of this is in the program. With it the
//! environment variable `DFS_PLANTED` names a bug for the whole process, or a test instrument
//! [plants](plant) one, once, at the start.
//!
//! `docs/internals/planted.md` says how to run with one, and what found it.

macro_rules! bugs {
    ($($(#[doc = $about:literal])+ $bug:ident = $name:literal;)*) => {
        /// A bug that can be planted: what it does wrong, and which promise that breaks.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[cfg_attr(feature = "planted", derive(Debug))]
        pub enum Bug {
            $($(#[doc = $about])+ $bug,)*
        }

        #[cfg(feature = "planted")]
        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$bug),*];

            /// Its name, as in `log-without-fsync`.
            pub const fn name(self) -> &'static str {
                match self { $(Bug::$bug => $name),* }
            }

            /// What it does wrong.
            pub const fn about(self) -> &'static str {
                match self { $(Bug::$bug => concat!($($about),+)),* }
            }
        }
    };
}

bugs! {
    // The log.

    /// Entries of the log are not synced: acknowledged changes are lost with the power.
    LogWithoutFsync = "log-without-fsync";
    /// A master's directory is never synced: after a loss of power whole segments are gone.
    LogDirectoryNotSynced = "log-directory-not-synced";
    /// Votes are kept in memory alone: a member that restarts votes twice in a term.
    VoteNotDurable = "vote-not-durable";
    /// A failed sync of the log is tried again and believed: the lost bytes are acknowledged.
    FailedLogFsyncRetried = "failed-log-fsync-retried";
    /// Damage within the log is taken for its end: acknowledged entries behind it are forgotten.
    LogCutAtDamage = "log-cut-at-damage";
    /// The log is cut before the state has what was in it on disk: a crash loses both.
    LogPurgedPastDurableState = "log-purged-past-durable-state";

    // Consensus.

    /// A member that does not answer counts as having the entry: acknowledged without a quorum.
    AcknowledgeBeforeQuorum = "acknowledge-before-quorum";
    /// A linearizable read is answered from whatever state is there: acknowledged changes lack.
    StaleRead = "stale-read";
    /// A follower that cannot reach the leader answers linearizable reads by itself.
    FollowerReadWithoutLeader = "follower-read-without-leader";
    /// A restarted leader leads on without an election, before its state has caught up.
    LeaderRestore = "leader-restore";
    /// A proposal whose outcome is unknown is reported as refused, and may happen all the same.
    UnknownReportedAsRefused = "unknown-reported-as-refused";

    // State and snapshots.

    /// After a crash the state is taken to have all that was committed: what it lacks is never
    /// replayed.
    UncleanStartTrustsState = "unclean-start-trusts-state";
    /// The checksum of a stored row is not compared: rot becomes metadata.
    RowChecksumNotVerified = "row-checksum-not-verified";
    /// Remembered answers are not in snapshots: a repeated request is carried out again.
    DedupLostInSnapshot = "dedup-lost-in-snapshot";
    /// The next ids are not in snapshots: ids are handed out twice.
    IdCounterNotInSnapshot = "id-counter-not-in-snapshot";
    /// What came after the third frame of a snapshot is lost, and nobody compares.
    PartialSnapshotInstall = "partial-snapshot-install";

    // Applying.

    /// Replicas are stored in an order that differs from process to process: masters diverge.
    HashOrderInApply = "hash-order-in-apply";
    /// A command is applied with the time of the master that applies it: masters diverge.
    ClockInApply = "clock-in-apply";
    /// Log time follows a leader's clock when that goes back: what had expired lives again.
    LogTimeGoesBack = "log-time-goes-back";
    /// A request that was carried out is carried out again when it is repeated.
    RepeatedRequestExecutedTwice = "repeated-request-executed-twice";

    // Names and files.

    /// The old name is there until the next command, beside the new one.
    RenameNotAtomic = "rename-not-atomic";
    /// What was restored stays in the trash, and can be restored again.
    TrashRestoredTwice = "trash-restored-twice";
    /// A truncation leaves the extent that crosses the new end as it is, and an append does not
    /// look for it: bytes come back, extents overlap.
    ExtentsOverlapAfterTruncate = "extents-overlap-after-truncate";
    /// The extents of a removed file stay: its chunks are never given up.
    UnlinkLeaksChunks = "unlink-leaks-chunks";
    /// To remove one of several names of a file removes its bytes.
    UnlinkFreesLinkedChunks = "unlink-frees-linked-chunks";

    // Chunks in the map.

    /// Replicas are given up as orphans while their grant still lets them be committed.
    ReclaimIgnoresGrants = "reclaim-ignores-grants";
    /// A commit is taken whose grant has expired, after its replicas may have been given up.
    ExpiredGrantCommitted = "expired-grant-committed";
    /// A chunk is committed though only one data node has it, whatever the policy insists on.
    CommittedAtOneReplica = "committed-at-one-replica";
    /// A surplus copy is deleted without counting the others: it may be the last.
    LastCopyDeleted = "last-copy-deleted";
    /// Heartbeats and reports of a former incarnation of a data node are believed.
    StaleEpochAccepted = "stale-epoch-accepted";

    // Data nodes.

    /// A packed chunk is not synced before it is reported.
    SmallChunkWithoutFsync = "small-chunk-without-fsync";
    /// The file of a large chunk is not synced before it is reported.
    LargeChunkWithoutFsync = "large-chunk-without-fsync";
    /// The directory of a large chunk is not synced after its rename: the name may be gone.
    ChunkDirectoryNotSynced = "chunk-directory-not-synced";
    /// A failed sync of a chunk is tried again and believed.
    FailedChunkFsyncRetried = "failed-chunk-fsync-retried";
    /// After a crash the index is believed: packed chunks that it does not have yet are lost.
    SmallChunkIndexTrusted = "small-chunk-index-trusted";
    /// A data node answers for those behind it before they have synced.
    PipelineAcksBeforeTail = "pipeline-acks-before-tail";
    /// A repair that finds a corrupt replica in its place takes it for the copy.
    RepairCountsCorrupt = "repair-counts-corrupt";
    /// A data node sends bytes with checksums it has just made of them: rot is returned as good.
    ChecksumNotVerifiedOnRead = "checksum-not-verified-on-read";
    /// A witness of a surplus copy's trial says that its replica is right without reading it.
    WitnessDoesNotRead = "witness-does-not-read";
    /// An order to delete stands though the replica was wanted again meanwhile.
    DeletionNotWithdrawn = "deletion-not-withdrawn";
    /// A data node obeys a leader that was deposed.
    DeposedLeaderObeyed = "deposed-leader-obeyed";
    /// A data node that starts removes what it does not know instead of putting it aside.
    UnknownFilesDeleted = "unknown-files-deleted";
    /// A directory without a stamp, as of a disk that is not mounted, becomes a new data node.
    UnmountedDiskTakenForNew = "unmounted-disk-taken-for-new";
    /// Scrub takes a replica for checked without reading it: rot that nobody reads stays.
    ScrubSkipsBlocks = "scrub-skips-blocks";
    /// A volume that has failed goes on as if nothing had happened: what a failed sync lost is
    /// counted on.
    FailedVolumeRetried = "failed-volume-retried";

    // Rights.

    /// A master lets a user ask again for seconds what it was permitted to ask, whatever was taken
    /// from it meanwhile.
    PermissionCachedAfterRevoke = "permission-cached-after-revoke";
    /// A method that is in no table of rules is for everybody.
    MethodWithoutRule = "method-without-rule";
    /// A data node does not look whether a permit is for it.
    CapabilityNotBoundToItsNode = "capability-not-bound-to-its-node";
    /// Tickets and join tokens are good when their time is over.
    ExpiredTokenAccepted = "expired-token-accepted";
    /// The certificate of a node is believed, whoever has issued it.
    CaCheckSkipped = "ca-check-skipped";
    /// What was done is answered before its line is in the audit log.
    AnsweredBeforeAudited = "answered-before-audited";
    /// What was refused has no line in the audit log.
    RefusalsNotAudited = "refusals-not-audited";

    // Quotas.

    /// Whether there is room in a quota is asked before what comes is counted: it comes to hold
    /// more than it may.
    QuotaRace = "quota-race";

    // Snapshots of directories.

    /// What a snapshot keeps of a file does not hold its chunks: they go with the file.
    SnapshotLosesReference = "snapshot-loses-reference";

    // Stripes.

    /// A client commits two data chunks of a stripe in each other's place.
    ShardsSwapped = "shards-swapped";
    /// The members of a stripe are given up while extents still name some of them.
    StripeReleasedEarly = "stripe-released-early";
    /// A data node that rewrites chunks takes zeroes for those that fail their checksums.
    CompactionCommitsUnverified = "compaction-commits-unverified";
    /// A data node that makes a lost member of a stripe takes two others for each other, and does
    /// not compare what it made with what the masters know.
    RebuiltFromWrongMembers = "rebuilt-from-wrong-members";
}

/// Whether a bug is planted in this process: never, without the feature.
#[cfg(not(feature = "planted"))]
pub const fn active(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use switch::{UnknownBug, VARIABLE, active, plant, planted};

#[cfg(feature = "planted")]
mod switch {
    use std::fmt;
    use std::str::FromStr;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Bug;

    /// The environment variable that names the bug to plant.
    pub const VARIABLE: &str = "DFS_PLANTED";

    /// One bit for each bug.
    static PLANTED: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(of_environment().map_or(0, bit)));

    const _: () = assert!(Bug::ALL.len() <= 64);

    /// Plants a bug in this process, for good. Only before anything else is started.
    pub fn plant(bug: Bug) {
        PLANTED.fetch_or(bit(bug), Ordering::Relaxed);
    }

    /// Whether a bug is planted in this process.
    ///
    /// # Panics
    /// The environment names none that is known.
    pub fn active(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) & bit(bug) != 0
    }

    /// What is planted in this process.
    ///
    /// # Panics
    /// The environment names none that is known.
    pub fn planted() -> impl Iterator<Item = Bug> {
        Bug::ALL.iter().copied().filter(|bug| active(*bug))
    }

    const fn bit(bug: Bug) -> u64 {
        1 << bug as u64
    }

    #[allow(
        clippy::panic,
        reason = "a run with another bug than was meant proves nothing"
    )]
    fn of_environment() -> Option<Bug> {
        let name = std::env::var_os(VARIABLE)?;
        match name.to_string_lossy().parse() {
            Ok(bug) => Some(bug),
            Err(error) => panic!("{VARIABLE}: {error}"),
        }
    }

    /// There is no bug of that name.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error("there is no bug `{0}` to plant")]
    pub struct UnknownBug(String);

    impl FromStr for Bug {
        type Err = UnknownBug;

        fn from_str(name: &str) -> Result<Bug, UnknownBug> {
            let found = Bug::ALL.iter().find(|bug| bug.name() == name);
            found.copied().ok_or_else(|| UnknownBug(name.to_owned()))
        }
    }

    impl fmt::Display for Bug {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.name())
        }
    }
}

/// Whether a planted bug keeps a row out of snapshots. The tables are those of the file system.
pub(crate) fn leaves_out(table: &str, key: &[u8]) -> bool {
    let answer = active(Bug::DedupLostInSnapshot) && table == "REPLIES";
    let counter = active(Bug::IdCounterNotInSnapshot) && table == "META";
    answer || counter && key.starts_with(b"next_")
}

/// How long a permission is remembered that nobody should remember.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(3);

/// Whether a question, told with who asks it, is permitted now or was a moment ago.
pub fn was_permitted(question: String, is_now: bool) -> bool {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    use tokio::time::Instant;
    static UNTIL: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());
    let mut until = UNTIL.lock().unwrap_or_else(PoisonError::into_inner);
    if is_now && !until.contains_key(&question) {
        until.insert(question, Instant::now() + REMEMBERED);
        return true;
    }
    match until.get(&question) {
        Some(until) if Instant::now() < *until => return true,
        _ => until.remove(&question),
    };
    is_now
}

/// Puts things into an order that is another one each time, as a hash map would; the same times
/// in each run of a program.
pub fn put_in_hash_order<T: std::hash::Hash>(things: &mut [T]) {
    use std::hash::{DefaultHasher, Hasher};
    use std::sync::atomic::{AtomicU64, Ordering};
    static TIMES: AtomicU64 = AtomicU64::new(0);
    let time = TIMES.fetch_add(1, Ordering::Relaxed);
    things.sort_by_key(|thing| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(time);
        thing.hash(&mut hasher);
        hasher.finish()
    });
}

#[cfg(all(test, feature = "planted"))]
mod tests {
    use super::*;

    #[test]
    fn bugs_are_known_by_their_names_and_none_is_planted_unasked() {
        let asked_for = std::env::var(VARIABLE).ok();
        for bug in Bug::ALL {
            assert_eq!(bug.name().parse(), Ok(*bug));
            let is_asked_for = asked_for.as_deref() == Some(bug.name());
            assert_eq!(active(*bug), is_asked_for, "{bug}");
        }
        assert!("no-bug".parse::<Bug>().is_err());
    }
}
