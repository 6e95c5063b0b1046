//! Backups: a state at one position as a row of pieces, and the directory that is made of it.
//!
//! ```text
//! backup = piece*                                              numbers are little endian
//! piece  = length(4)  sealed: body, CRC-32C over number and body
//! first  = "dfs-backup" version(1)  postcard Head
//! middle = a frame of a snapshot
//! last   = postcard End                a backup without it was cut short
//! ```
//!
//! A backup has every row with its own checksum, and at the end their number and digest: what is
//! restored is what was backed up, or nothing.
//!
//! The replica that is made of one is the only member of its group, under an id that nobody had,
//! in a term that no former leader came near; the former members count as removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::Arc;

use openraft::BasicNode;
use serde::{Deserialize, Serialize};

use super::apply::{self, Position};
use super::codec::{decode_members, encode_members};
use super::directory::{Directory, Identity, Phase, disk_failed};
use super::log::file::LogFile;
use super::log::segment::Change;
use super::snapshot::{Cursor, FrameError, Receiver, SnapshotView, decode_frame};
use crate::config::ReplicaConfig;
use crate::env::{Env, Timestamp};
use crate::error::{Fatal, ReadError, RestoreError};
use crate::machine::{Rev, StateMachine};
use crate::replica::{Consistency, Replica};
use crate::state::{Digest, StateTxn, decode_postcard, encode_postcard, seal, unseal};
use crate::types::{ClusterId, Membership, StoredMembership, Vote, log_id};

const MAGIC: &[u8] = b"dfs-backup";
const VERSION: u8 = 1;
const KIND: &str = "backup";
/// Longest piece: a frame, and one row beyond what it should have.
const PIECE_MAX: usize = 16 << 20;
/// How many elections a restored group is ahead of the one that was backed up, at least. Its terms
/// begin at the microseconds of the clock, so that it is ahead, too, of a group that the same
/// backup was restored to before.
const TERMS_AHEAD: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    cluster: ClusterId,
    rev: Rev,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    rows: u64,
    digest: u128,
    /// As a state keeps it.
    members: Vec<u8>,
}

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupInfo {
    /// The cluster.
    pub cluster: ClusterId,
    /// The last entry in it.
    pub rev: Rev,
    /// Its rows.
    pub rows: u64,
    /// Where its members were.
    pub members: Vec<String>,
}

/// A state at one position, to be written down piece by piece.
pub struct Backup {
    cluster: ClusterId,
    view: SnapshotView,
    cursor: Cursor,
    next: Next,
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Head,
    Rows,
    Nothing,
}

impl Backup {
    pub(crate) fn new(cluster: ClusterId, view: SnapshotView) -> Backup {
        Backup {
            cluster,
            view,
            cursor: Cursor::default(),
            next: Next::Head,
            number: 0,
        }
    }

    /// The last entry in it.
    pub fn rev(&self) -> Rev {
        self.view.position.applied.unwrap_or_default()
    }

    /// The next bytes of the backup; none after the last. Blocks.
    ///
    /// # Errors
    /// The state is damaged, or cannot be read.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Fatal> {
        let body = match self.next {
            Next::Head => {
                let mut body = [MAGIC, &[VERSION]].concat();
                let (cluster, rev) = (self.cluster, self.rev());
                encode_postcard(&Head { cluster, rev }, &mut body)?;
                self.next = Next::Rows;
                body
            }
            Next::Rows => match self.view.next_frame(&mut self.cursor)? {
                Some(frame) => frame,
                None => {
                    self.next = Next::Nothing;
                    let mut body = Vec::new();
                    let end = End {
                        rows: self.cursor.rows,
                        digest: self.cursor.digest.0,
                        members: encode_members(&self.view.position.members)?,
                    };
                    encode_postcard(&end, &mut body)?;
                    body
                }
            },
            Next::Nothing => return Ok(None),
        };
        // The last is known by its number, which no frame's checksum has.
        let number = match self.next {
            Next::Nothing => u64::MAX,
            Next::Head | Next::Rows => self.number,
        };
        self.number += 1;
        seal_piece(number, body).map(Some)
    }
}

/// The bytes of a piece with a number.
pub(crate) fn seal_piece(number: u64, body: Vec<u8>) -> Result<Vec<u8>, Fatal> {
    let sealed = seal(KIND, &number.to_be_bytes(), body);
    match u32::try_from(sealed.len()) {
        Ok(length) if sealed.len() <= PIECE_MAX => {
            Ok([&length.to_le_bytes()[..], &sealed].concat())
        }
        _ => Err(Fatal::new("a row is too long for a backup")),
    }
}

impl<M: StateMachine> Replica<M> {
    /// All that is acknowledged by now, at one position, to be written down. What is written later
    /// is not in it, and it must not be kept for long: it holds on to the room of what is replaced.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn backup(&self) -> Result<Backup, ReadError> {
        self.read(Consistency::Linearizable).await?;
        let node = self.reader()?;
        let view = node.state.snapshot().map_err(ReadError::Stopped)?;
        Ok(Backup::new(node.identity.cluster, view))
    }
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup")
            .field("cluster", &self.cluster)
            .field("rev", &self.rev())
            .finish_non_exhaustive()
    }
}

/// A piece that was read.
enum Piece {
    Frame(Vec<u8>),
    End(End),
}

/// Reads the pieces of a backup.
struct Pieces<R> {
    from: R,
    number: u64,
}

fn invalid(why: impl ToString) -> RestoreError {
    RestoreError::Backup(why.to_string())
}

impl<R: Read> Pieces<R> {
    fn open(mut from: R) -> Result<(Pieces<R>, Head), RestoreError> {
        let sealed = read_piece(&mut from)?;
        let head = unseal(KIND, &0_u64.to_be_bytes(), &sealed);
        let head = head.map_err(|_| invalid("it does not begin as a backup does"))?;
        let rest = head.strip_prefix(MAGIC);
        let rest = rest.ok_or_else(|| invalid("it does not begin as a backup does"))?;
        let head = match rest.split_first() {
            Some((&VERSION, head)) => decode_postcard(head).map_err(invalid)?,
            version => {
                let version = version.map_or(0, |(version, _)| *version);
                return Err(invalid(format!(
                    "it has version {version}, this program knows {VERSION}: use the newer program"
                )));
            }
        };
        Ok((Pieces { from, number: 1 }, head))
    }

    fn next(&mut self) -> Result<Piece, RestoreError> {
        let sealed = read_piece(&mut self.from)?;
        let number = self.number;
        self.number += 1;
        if let Ok(frame) = unseal(KIND, &number.to_be_bytes(), &sealed) {
            return Ok(Piece::Frame(frame.to_vec()));
        }
        let end = unseal(KIND, &u64::MAX.to_be_bytes(), &sealed);
        let end = end.map_err(|_| invalid(format!("piece {number} fails its checksum")))?;
        Ok(Piece::End(decode_postcard(end).map_err(invalid)?))
    }
}

fn read_piece(mut from: impl Read) -> Result<Vec<u8>, RestoreError> {
    let read = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => invalid("it was cut short"),
        _ => invalid(format!("it cannot be read: {e}")),
    };
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(read)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > PIECE_MAX {
        return Err(invalid("it does not begin as a backup does, or is damaged"));
    }
    let mut sealed = Vec::new();
    let mut part = from.take(length as u64);
    part.read_to_end(&mut sealed).map_err(read)?;
    match sealed.len() == length {
        true => Ok(sealed),
        false => Err(invalid("it was cut short")),
    }
}

/// Reads a backup through: whether it is whole, and of what it is. Blocks.
///
/// # Errors
/// It is damaged, cut short, or no backup.
pub fn verify_backup(from: impl Read) -> Result<BackupInfo, RestoreError> {
    let (mut pieces, head) = Pieces::open(from)?;
    let (mut rows, mut digest, mut sequence) = (0, Digest::default(), 0);
    loop {
        match pieces.next()? {
            Piece::Frame(frame) => {
                let frame = decode_frame(sequence, &frame).map_err(invalid)?;
                sequence += 1;
                for (key, sealed) in &frame.rows {
                    unseal(&frame.table, key, sealed).map_err(invalid)?;
                    digest.add(&frame.table, key, sealed);
                    rows += 1;
                }
            }
            Piece::End(end) if (end.rows, end.digest) == (rows, digest.0) => {
                let members = decode_members(&end.members).map_err(invalid)?;
                return Ok(info(&head, rows, &members));
            }
            Piece::End(end) => {
                return Err(invalid(format!("{rows} of {} rows are there", end.rows)));
            }
        }
    }
}

fn info(head: &Head, rows: u64, members: &StoredMembership) -> BackupInfo {
    BackupInfo {
        cluster: head.cluster,
        rev: head.rev,
        rows,
        members: members.nodes().map(|(_, node)| node.addr.clone()).collect(),
    }
}

/// Makes an empty directory that of the only member of a group, with what a backup has. Before it
/// counts `adjust` changes what must not be as it was; it is given the time of the last command.
/// Blocks.
///
/// # Errors
/// The directory is not empty, the backup is damaged, or the disk failed: then remains are in
/// the directory, and it must be cleared.
pub fn restore<M: StateMachine, T>(
    config: &ReplicaConfig,
    env: &Env,
    address: &str,
    from: impl Read,
    adjust: impl FnOnce(&mut StateTxn<'_>, Timestamp) -> Result<T, Fatal>,
) -> Result<(BackupInfo, T), RestoreError> {
    let directory = Directory::open(env.disk.clone(), &config.directory);
    let directory = directory.map_err(RestoreError::Directory)?;
    if directory.has_any_state().map_err(RestoreError::Directory)? {
        return Err(RestoreError::NotEmpty);
    }
    let (mut pieces, head) = Pieces::open(from)?;
    let cache = config.state_cache_bytes;
    let mut receiver = Receiver::create(directory.clone(), 0, M::TABLES, cache)?;
    let end = loop {
        match pieces.next()? {
            Piece::Frame(frame) => receiver.frame(&frame)?,
            Piece::End(end) => break end,
        }
    };
    let members = decode_members(&end.members).map_err(invalid)?;
    let position = Position {
        applied: Some(head.rev),
        members,
    };
    let info = info(&head, end.rows, &position.members);
    let former: BTreeSet<_> = position.members.nodes().map(|(id, _)| *id).collect();
    let received = receiver.finish(end.rows, Digest(end.digest), position)?;
    let ahead = head.rev.term.saturating_add(TERMS_AHEAD);
    let rev = Rev {
        term: ahead.max(env.clock.now().0),
        index: head.rev.index,
    };
    let system = received.db.system_table();
    let (member, adjusted) = received.db.write(true, |state, notes| {
        let (member, time) = apply::refound(system, state, &former)?;
        let adjusted = adjust(state, time)?;
        let node = BasicNode {
            addr: address.to_owned(),
        };
        let voters = vec![BTreeSet::from([member])];
        let nodes = BTreeMap::from([(member, node)]);
        let membership = Membership::new(voters, nodes);
        let membership = membership.map_err(|e| Fatal::with_source("one member is none", e))?;
        let position = Position {
            applied: Some(rev),
            members: StoredMembership::new(Some(log_id(rev)), membership),
        };
        position.write(notes)?;
        Ok((member, adjusted))
    })?;
    let identity = Identity {
        cluster: head.cluster,
        member,
        phase: Phase::Member,
    };
    begin_log(&directory, config, env, &identity, rev)?;
    drop(received.db);
    let number = received.file.keep();
    directory.set_current_state(number)?;
    // It is a replica from here on.
    directory.set_identity(&identity)?;
    directory.sync().map_err(|e| disk_failed("directory", e))?;
    Ok((info, adjusted))
}

/// A log that has nothing but the position from which it goes on.
fn begin_log(
    directory: &Arc<Directory>,
    config: &ReplicaConfig,
    env: &Env,
    identity: &Identity,
    rev: Rev,
) -> Result<(), Fatal> {
    let random = env.random.clone();
    let (log, _) = LogFile::open(directory.clone(), random, config.log_segment_bytes)?;
    log.commit(&[
        Change::Stamp(identity.stamp()),
        Change::Purge(rev),
        Change::Committed(Some(rev)),
        Change::Vote(Vote::new(rev.term, identity.member)),
    ])?;
    Ok(())
}

impl From<FrameError> for RestoreError {
    fn from(error: FrameError) -> RestoreError {
        match error {
            FrameError::Refused(why) => RestoreError::Backup(why),
            FrameError::Fatal(fatal) => RestoreError::Fatal(fatal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::machine::ApplyContext;
    use crate::state::Table;
    use crate::testing::Cluster;

    const SUMS: Table<u64, u64> = Table::new(0, "sums");

    struct Sums;

    impl StateMachine for Sums {
        const TABLES: &'static [&'static str] = &["sums"];
        type Command = u64;
        type Reply = u64;

        fn apply(&self, state: &mut StateTxn<'_>, _: ApplyContext, add: u64) -> Result<u64, Fatal> {
            let sum = crate::state::ReadState::get(state, SUMS, &add)?.unwrap_or(0) + add;
            state.put(SUMS, &add, &sum)?;
            Ok(sum)
        }
    }

    async fn written_down(replica: &Replica<Sums>) -> Vec<u8> {
        let mut backup = replica.backup().await.unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = backup.next_piece().unwrap() {
            bytes.extend(piece);
        }
        bytes
    }

    async fn sums(replica: &Replica<Sums>) -> Vec<(u64, u64)> {
        let reading = replica.read(Consistency::Linearizable).await.unwrap();
        let view = reading.view;
        let rows = crate::state::ReadState::scan(&view, SUMS, ..).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    #[tokio::test]
    async fn a_group_that_is_lost_goes_on_from_its_backup_and_grows_again() {
        let directory = tempfile::tempdir().unwrap();
        let env = Env::real();
        let cluster = Cluster::start(3, env.clone(), directory.path(), || Sums, |_| {});
        let mut cluster = cluster.await.unwrap();
        let leader = cluster.leader().await;
        for n in 1..=300 {
            cluster.replica(leader).propose(n).await.unwrap();
        }
        let backup = written_down(cluster.replica(leader)).await;
        cluster.replica(leader).propose(999).await.unwrap();
        for member in cluster.running() {
            cluster.crash(member);
        }

        let home = directory.path().join("restored");
        let config = ReplicaConfig::new(&home);
        let add = |state: &mut StateTxn<'_>, _| state.put(SUMS, &1000, &1000);
        let restored = restore::<Sums, _>(&config, &env, "restored", &backup[..], add);
        let (info, ()) = restored.unwrap();
        assert_eq!(info, verify_backup(&backup[..]).unwrap());
        let dialer = cluster.network.dialer("restored");
        let started = Replica::start(config.clone(), env.clone(), dialer, Sums).await;
        let replica = started.unwrap();
        let _served = cluster.network.serve("restored", &replica);
        replica.trigger_election().await.unwrap();
        let mut leadership = replica.leadership();
        leadership.wait_for(|now| now.is_ready).await.unwrap();

        let mut expected: Vec<_> = (1..=300).map(|n| (n, n)).collect();
        expected.push((1000, 1000));
        assert_eq!(sums(&replica).await, expected);
        assert_eq!(replica.propose(5).await.unwrap().reply, 10);
        let led = replica.leadership().borrow().term;
        assert!(led > TERMS_AHEAD);

        // The same backup again, after many elections of that group.
        let again = ReplicaConfig::new(directory.path().join("again"));
        let add = |_: &mut StateTxn<'_>, _| Ok(());
        restore::<Sums, _>(&again, &env, "again", &backup[..], add).unwrap();
        let dialer = cluster.network.dialer("again");
        let again = Replica::start(again, env.clone(), dialer, Sums).await;
        let begun = again.unwrap().status().unwrap().unwrap().applied.term;
        assert!(begun > led + 1000, "{begun} {led}");

        // Another joins, and has it all.
        let config = ReplicaConfig::new(directory.path().join("second"));
        let dialer = cluster.network.dialer("second");
        let second = Replica::start(config, env, dialer, Sums).await.unwrap();
        let _second = cluster.network.serve("second", &second);
        let seeds = ["restored".to_owned()];
        let member = second.join(&seeds, "second").await.unwrap();
        assert!(member.0 > 4, "{member} is the id of a former member");
        replica.promote(member).await.unwrap();
        assert_eq!(sums(&second).await.len(), 301);
    }

    #[tokio::test]
    async fn a_backup_is_restored_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let env = Env::real();
        let cluster = Cluster::start(1, env.clone(), directory.path(), || Sums, |_| {});
        let cluster = cluster.await.unwrap();
        for n in 1..=5 {
            cluster.replica(0).propose(n).await.unwrap();
        }
        let backup = written_down(cluster.replica(0)).await;
        let unusable = |bytes: &[u8]| matches!(verify_backup(bytes), Err(RestoreError::Backup(_)));
        for length in 0..backup.len() {
            assert!(unusable(&backup[..length]), "cut to {length}");
        }
        for at in 0..backup.len() {
            let mut damaged = backup.clone();
            damaged[at] ^= 4;
            assert!(unusable(&damaged), "flipped at {at}");
        }

        let config = ReplicaConfig::new(directory.path().join("restored"));
        let nothing = |_: &mut StateTxn<'_>, _| Ok(());
        let make = |bytes| restore::<Sums, _>(&config, &env, "x", bytes, nothing);
        assert!(matches!(
            make(&backup[..backup.len() - 1]),
            Err(RestoreError::Backup(_))
        ));
        // What was begun is no replica, and nothing is written over it.
        let dialer = cluster.network.dialer("x");
        let started = Replica::start(config.clone(), env.clone(), dialer, Sums).await;
        assert!(matches!(started.unwrap().status(), Ok(None)));
        std::fs::remove_dir_all(&config.directory).unwrap();
        make(&backup[..]).unwrap();
        assert!(matches!(make(&backup[..]), Err(RestoreError::NotEmpty)));
    }
}
