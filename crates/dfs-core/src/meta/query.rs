//! Reading: answers to clients, and what the leader's planners need to know.
//!
//! Everything is paged and bounded. It works on a view as well as on a transaction.

mod files;

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::accounts;
use super::accounts::acl;
use super::accounts::subject::Subject;
use super::chunks::extents::Extent;
use super::chunks::reclaim;
use super::chunks::references::Chunk;
use super::chunks::stories;
use super::counters::{self, quota};
use super::machine::Stop;
use super::members;
use super::members::nodes::{Node, NodeLoad};
use super::namespace::inode::Inode;
use super::namespace::resolve::{Sight, sight};
use super::snapshots::{self, view::At};
use super::tables::{
    CHUNKS, EXTENTS, INODES, Meta, Moment, NODE_CHUNKS, NODE_KEYS, NODE_LOADS, NODE_RECLAIM, NODES,
    RECLAIM, REPLIES, TRASH, TRASH_OWNERS,
};
use crate::types::limits::{ENTRIES_PER_REPLY_MAX, RECLAIM_GRACE};
use crate::types::query::{StatFs, TrashItem, TrashPage};
use crate::types::{
    Answer, Caller, ChunkId, InodeId, NodeId, NodeKey, Query, Refusal, RequestId, Space, Timestamp,
    TrashId,
};

pub use super::accounts::user::{Credentials, credentials, name_of as user_name, user};
pub use super::chunks::grant::{RangeState, open_ranges, range_state, spent};
pub use super::chunks::shares::{KnownOthers, Others};
pub use super::chunks::stripes::Known as KnownStripes;
pub use super::machine::housekeeping::is_due as housekeeping_due;
pub use super::members::enrolled::{is_enrolled, is_out, is_revoked};
pub use super::members::secrets::{
    Secret, SigningKeyId, authority, handles, is_signing_key_old, signing_key_ids, signing_keys,
};
pub use super::members::tokens::is_known as is_token_known;

/// Pages end when their texts are this long, so that a reply stays far below the largest message.
const REPLY_TEXT_MAX: usize = 1 << 20;

/// Answers a client's question.
///
/// # Errors
/// Outside, the state cannot be read; inside, the question is refused.
pub fn answer(
    state: &impl ReadState,
    caller: Caller,
    query: &Query,
) -> Result<Result<Answer, Refusal>, Fatal> {
    match Subject::of(state, caller).and_then(|by| answer_to(state, &by, query)) {
        Ok(answer) => Ok(Ok(answer)),
        Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(Stop::Fatal(fatal)) => Err(fatal),
    }
}

/// What a user that is let in may do beyond files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is an administrator.
    pub is_administrator: bool,
    /// Whether it may change nothing.
    pub read_only: bool,
    /// Whether its `/` is a directory below that of others.
    pub confined: bool,
}

/// How a caller stands; none if it is let in no more.
///
/// # Errors
/// The state cannot be read.
pub fn standing(state: &impl ReadState, caller: Caller) -> Result<Option<Standing>, Fatal> {
    match Subject::of(state, caller) {
        Ok(subject) => Ok(Some(Standing {
            is_administrator: subject.is_administrator(),
            read_only: subject.read_only,
            confined: subject.root != InodeId::ROOT,
        })),
        Err(Stop::Refused(_)) => Ok(None),
        Err(Stop::Fatal(fatal)) => Err(fatal),
    }
}

fn answer_to(state: &impl ReadState, by: &Subject, query: &Query) -> Result<Answer, Stop> {
    Ok(match query {
        Query::Stat { at, follow } => Answer::Attr(sight(state, by, at, *follow)?.attr()),
        Query::List {
            at,
            after,
            limit,
            attrs,
        } => {
            let page = (after.as_ref(), page_len(*limit));
            Answer::Entries(files::list(state, by, at, page, *attrs)?)
        }
        Query::Layout { at, range } => Answer::Layout(files::layout(state, by, at, *range)?),
        Query::ReadLink { at } => Answer::Target(files::read_link(state, by, at)?),
        Query::StatFs => Answer::StatFs(counters(state)?),
        Query::ListTrash { after, limit } => Answer::Trash(list_trash(state, by, *after, *limit)?),
        Query::Acl { at, which } => {
            let Sight { id, inode, view } = sight(state, by, at, true)?;
            Answer::Acl(acl::get(&At::of(state, view)?, (id, &inode), *which)?)
        }
        Query::Whoami
        | Query::User(_)
        | Query::Group(_)
        | Query::Users { .. }
        | Query::Groups { .. } => accounts::answer(state, by, query, page_len)?,
        Query::Quotas { at } => Answer::Quotas(quota::of(state, by, at)?),
        Query::QuotasBelow { at, after, limit } => {
            let page = (*after, page_len(*limit));
            Answer::QuotaPage(quota::below(state, by, at, page)?)
        }
        Query::JoinTokens => Answer::JoinTokens(members::join_tokens(state, by)?),
        Query::EnrolledNodes { after, limit } => {
            let page = page_len(*limit);
            Answer::EnrolledNodes(members::enrolled_nodes(state, by, *after, page)?)
        }
        Query::NodeDuties(node) => Answer::NodeDuties(members::node_duties(state, by, *node)?),
        Query::Explain { at, range } => {
            let layout = files::layout(state, by, at, *range)?;
            Answer::Explained(stories::explain(state, layout)?)
        }
        Query::NodeChunks { node, after, limit } => {
            let page = page_len(*limit);
            Answer::Chunks(stories::of_node(state, by, *node, *after, page)?)
        }
        Query::Snapshots { at, after, limit } => {
            let page = (after.as_ref(), page_len(*limit));
            Answer::Snapshots(snapshots::list(state, by, at, page)?)
        }
    })
}

/// Whether the answer to a request is remembered.
///
/// # Errors
/// The state cannot be read.
pub fn is_answered(state: &impl ReadState, request: RequestId) -> Result<bool, Fatal> {
    let answer = state.get(REPLIES, &(request.client, request.sequence))?;
    Ok(answer.is_some())
}

fn page_len(limit: u32) -> usize {
    usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .clamp(1, ENTRIES_PER_REPLY_MAX)
}

/// What the trash holds: for administrators all of it, for others what they have removed.
fn list_trash(
    state: &impl ReadState,
    by: &Subject,
    after: Option<TrashId>,
    limit: u32,
) -> Result<TrashPage, Fatal> {
    let from = TrashId(after.map_or(0, |after| after.0.saturating_add(1)));
    let ids: Box<dyn Iterator<Item = Result<TrashId, Fatal>> + '_> = match by.is_administrator() {
        true => Box::new(state.scan(TRASH, from..)?.map(|row| Ok(row?.0))),
        false => {
            let range = (by.user, from)..=(by.user, TrashId(u64::MAX));
            Box::new(state.scan(TRASH_OWNERS, range)?.map(|row| Ok(row?.0.1)))
        }
    };
    let mut page = TrashPage {
        entries: Vec::new(),
        more: false,
    };
    let mut text = 0;
    for trash in ids {
        let trash = trash?;
        let entry = state.get(TRASH, &trash)?;
        let entry = entry.ok_or_else(|| Fatal::new(format!("{trash} has an owner only")))?;
        if !entry.is_seen_by(by) {
            continue;
        }
        if page.entries.len() >= page_len(limit) || text > REPLY_TEXT_MAX {
            page.more = true;
            break;
        }
        text += entry.path.len();
        page.entries.push(TrashItem {
            trash,
            inode: entry.inode,
            kind: entry.kind,
            path: entry.path,
            removed: entry.removed,
            expires: entry.expires,
        });
    }
    Ok(page)
}

/// The totals of the file system. Room is for the leader to fill in.
///
/// # Errors
/// The state cannot be read.
pub fn counters(state: &impl ReadState) -> Result<StatFs, Fatal> {
    Ok(StatFs {
        inodes: counters::number(state, Meta::Inodes)?,
        chunks: counters::number(state, Meta::Chunks)?,
        chunk_bytes: counters::number(state, Meta::ChunkBytes)?,
        space: Space::default(),
    })
}

/// An inode, whether a name leads to it or not.
///
/// # Errors
/// The state cannot be read.
pub fn inode(state: &impl ReadState, id: InodeId) -> Result<Option<Inode>, Fatal> {
    state.get(INODES, &id)
}

/// All data nodes, by id.
///
/// # Errors
/// The state cannot be read.
pub fn nodes(state: &impl ReadState) -> Result<Vec<(NodeId, Node)>, Fatal> {
    state.scan(NODES, ..)?.collect()
}

/// A data node.
///
/// # Errors
/// The state cannot be read.
pub fn node(state: &impl ReadState, node: NodeId) -> Result<Option<Node>, Fatal> {
    state.get(NODES, &node)
}

/// The data node whose directory is stamped with a key.
///
/// # Errors
/// The state cannot be read.
pub fn node_by_key(state: &impl ReadState, key: NodeKey) -> Result<Option<NodeId>, Fatal> {
    state.get(NODE_KEYS, &key)
}

/// How much a data node is meant to have.
///
/// # Errors
/// The state cannot be read.
pub fn node_load(state: &impl ReadState, node: NodeId) -> Result<NodeLoad, Fatal> {
    Ok(state.get(NODE_LOADS, &node)?.unwrap_or_default())
}

/// A chunk, if a file refers to it.
///
/// # Errors
/// The state cannot be read.
pub fn chunk(state: &impl ReadState, chunk: ChunkId) -> Result<Option<Chunk>, Fatal> {
    state.get(CHUNKS, &chunk)
}

/// The next `limit` chunks after `after`, by id.
///
/// # Errors
/// The state cannot be read.
pub fn chunks_page(
    state: &impl ReadState,
    after: Option<ChunkId>,
    limit: usize,
) -> Result<Vec<(ChunkId, Chunk)>, Fatal> {
    state
        .scan(CHUNKS, following(after)..)?
        .take(limit)
        .collect()
}

/// The next `limit` chunks after `after` that a data node is meant to have, by id.
///
/// # Errors
/// The state cannot be read.
pub fn chunks_of_node(
    state: &impl ReadState,
    node: NodeId,
    after: Option<ChunkId>,
    limit: usize,
) -> Result<Vec<ChunkId>, Fatal> {
    let range = (node, following(after))..=(node, ChunkId(u64::MAX));
    state
        .scan(NODE_CHUNKS, range)?
        .take(limit)
        .map(|row| Ok(row?.0.1))
        .collect()
}

fn following(after: Option<ChunkId>) -> ChunkId {
    ChunkId(after.map_or(0, |after| after.0.saturating_add(1)))
}

/// A row of EXTENTS: of which file and from which offset on, and what is there.
pub type ExtentRow = ((InodeId, u64), Extent);

/// The next `limit` extents of all files, by file and offset, from one on.
///
/// # Errors
/// The state cannot be read.
pub fn extents_page(
    state: &impl ReadState,
    from: Option<(InodeId, u64)>,
    limit: usize,
) -> Result<Vec<ExtentRow>, Fatal> {
    let from = from.unwrap_or((InodeId(0), 0));
    state.scan(EXTENTS, from..)?.take(limit).collect()
}

/// A replica that is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueReclaim {
    /// Of which chunk.
    pub chunk: ChunkId,
    /// When it was given up.
    pub since: Timestamp,
    /// Whether the chunk is still part of a file: then this replica was surplus when it was
    /// given up, and the leader must not order its deletion while others are missing or
    /// unconfirmed.
    pub live: bool,
}

/// The next `limit` replicas of a data node whose grace is over, oldest first, after one that was
/// given up at a time.
///
/// # Errors
/// The state cannot be read.
pub fn reclaim_due(
    state: &impl ReadState,
    node: NodeId,
    after: Option<(Timestamp, ChunkId)>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<DueReclaim>, Fatal> {
    let (since, chunk) = after.unwrap_or((Timestamp(0), ChunkId(0)));
    let from = (node, Moment(since), following(after.map(|_| chunk)));
    let to = (node, Moment(Timestamp(u64::MAX)), ChunkId(u64::MAX));
    let mut due = Vec::new();
    for row in state.scan(NODE_RECLAIM, from..=to)?.take(limit) {
        let ((_, Moment(since), chunk), ()) = row?;
        if since.saturating_add(RECLAIM_GRACE) > now {
            break;
        }
        let live = state.get(CHUNKS, &chunk)?.is_some();
        due.push(DueReclaim { chunk, since, live });
    }
    Ok(due)
}

/// All replicas that wait for their deletion.
///
/// # Errors
/// The state cannot be read.
pub fn given_up(state: &impl ReadState) -> Result<Vec<(ChunkId, NodeId)>, Fatal> {
    let rows = state.scan(RECLAIM, ..)?;
    rows.map(|row| Ok(row?.0)).collect()
}

/// Whether a replica waits for its deletion.
///
/// # Errors
/// The state cannot be read.
pub fn is_reclaimed(state: &impl ReadState, chunk: ChunkId, node: NodeId) -> Result<bool, Fatal> {
    reclaim::is_queued(state, chunk, node)
}
