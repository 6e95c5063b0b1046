//! What fake masters agree on: a few files, and every change that was carried out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tokio::time::Instant;

use super::attr;
use crate::proto::error::RpcError;
use crate::proto::metadata::{GrantRequest, GrantedChunk, NodeAddress, WriteGrant};
use crate::types::change::{Commit, CommitTarget, Piece, WriteOffset};
use crate::types::limits::{GRANT_TTL, NODES_AVOIDED_MAX, SESSION_TTL};
use crate::types::query::{Answer, Entry, EntryPage, Layout, LayoutExtent, LayoutSource, StatFs};
use crate::types::{
    Attr, ByteRange, Change, Changed, ChunkId, ClientId, FileKind, InodeId, Location, Name,
    NewChunk, NodeId, Outcome, Permit, Policy, Query, Refusal, RefusalKind, RequestId,
    StripeLayout, Timestamp,
};

/// The state. Every path but `/` is a file in the root directory.
pub(super) struct Group {
    pub(super) policy: Policy,
    pub(super) nodes: Vec<NodeAddress>,
    pub(super) leader: Option<String>,
    /// A master that takes nobody's ticket.
    pub(super) shuts_out: Option<String>,
    pub(super) executed: Vec<(RequestId, Change)>,
    pub(super) asked: Vec<RequestId>,
    pub(super) queries: Vec<Query>,
    pub(super) grants: Vec<GrantRequest>,
    pub(super) corrupt: Vec<(ChunkId, NodeId)>,
    /// Masters that were taken out.
    pub(super) removed: BTreeSet<u64>,
    /// How often the signing key was exchanged.
    pub(super) exchanges: u32,
    /// Nodes that were to read their replicas through.
    pub(super) scrubbed: Vec<NodeId>,
    /// Sessions, and when they were last active.
    pub(super) sessions: BTreeMap<ClientId, Instant>,
    pub(super) chunks: BTreeMap<ChunkId, NewChunk>,
    pub(super) stripes: Vec<StripeLayout>,
    pub(super) extents_per_reply: usize,
    replies: BTreeMap<(ClientId, u64), Outcome>,
    names: BTreeMap<String, InodeId>,
    files: BTreeMap<InodeId, (Attr, Vec<LayoutExtent>)>,
    uploads: BTreeSet<InodeId>,
    granted: BTreeMap<ChunkId, Instant>,
    /// What the next grants come with, one after the other.
    pub(super) permits: VecDeque<Permit>,
    next: u64,
}

impl Group {
    pub(super) fn new(policy: Policy) -> Group {
        Group {
            policy,
            nodes: Vec::new(),
            leader: None,
            shuts_out: None,
            executed: Vec::new(),
            asked: Vec::new(),
            queries: Vec::new(),
            grants: Vec::new(),
            corrupt: Vec::new(),
            removed: BTreeSet::new(),
            exchanges: 0,
            scrubbed: Vec::new(),
            sessions: BTreeMap::new(),
            chunks: BTreeMap::new(),
            stripes: Vec::new(),
            extents_per_reply: 1000,
            replies: BTreeMap::new(),
            names: BTreeMap::new(),
            files: BTreeMap::new(),
            uploads: BTreeSet::new(),
            granted: BTreeMap::new(),
            permits: VecDeque::new(),
            next: 100,
        }
    }

    /// As if days had passed.
    pub(super) fn expire_grants(&mut self) {
        self.granted.clear();
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn open_session(&mut self) -> ClientId {
        let client = ClientId(self.id());
        self.sessions.insert(client, Instant::now());
        client
    }

    pub(super) fn change(&mut self, request: RequestId, change: Change) -> Outcome {
        self.asked.push(request);
        let refuse = |kind| Err(Refusal::new(kind, request));
        let silent = |active: &Instant| active.elapsed() >= SESSION_TTL;
        if self.sessions.get(&request.client).is_none_or(silent) {
            // The only session of a test goes with all uploads.
            self.uploads.clear();
            return refuse(RefusalKind::SessionExpired);
        }
        self.sessions.insert(request.client, Instant::now());
        if let Some(reply) = self.replies.get(&(request.client, request.sequence)) {
            return reply.clone();
        }
        let outcome = self.apply(&change);
        self.executed.push((request, change));
        let key = (request.client, request.sequence);
        self.replies.insert(key, outcome.clone());
        outcome
    }

    fn apply(&mut self, change: &Change) -> Outcome {
        match change {
            Change::Create { at, exclusive, .. } => {
                if let Ok(inode) = self.find(at) {
                    return match exclusive {
                        true => Err(Refusal::new(RefusalKind::Exists, at)),
                        false => Ok(self.changed(inode)),
                    };
                }
                let inode = self.new_file();
                self.names.insert(at.to_string(), inode);
                Ok(self.changed(inode))
            }
            Change::BeginUpload { .. } => {
                let inode = self.new_file();
                self.uploads.insert(inode);
                Ok(self.changed(inode))
            }
            Change::AbandonUpload { upload } => {
                self.uploads.remove(upload);
                self.files.remove(upload);
                Ok(Changed::default())
            }
            Change::Remove { at, .. } => {
                self.find(at)?;
                self.names.remove(&at.to_string());
                Ok(Changed::default())
            }
            Change::Truncate { at, size } => {
                let inode = self.find(at)?;
                self.cut(inode, *size, u64::MAX);
                if let Some((attr, _)) = self.files.get_mut(&inode) {
                    attr.size = *size;
                    attr.revision += 1;
                }
                Ok(self.changed(inode))
            }
            Change::Commit(commit) => self.commit(commit),
            _ => Ok(Changed::default()),
        }
    }

    fn new_file(&mut self) -> InodeId {
        let inode = InodeId(self.id());
        let attr = Attr {
            handle: None,
            inode,
            policy: self.policy,
            ..attr()
        };
        self.files.insert(inode, (attr, Vec::new()));
        inode
    }

    fn changed(&self, inode: InodeId) -> Changed {
        Changed {
            attr: self.files.get(&inode).map(|(attr, _)| attr.clone()),
            ..Changed::default()
        }
    }

    fn find(&self, at: &Location) -> Result<InodeId, Refusal> {
        let known = match at.path.names() {
            [] => self.files.contains_key(&at.base).then_some(at.base),
            _ => self.names.get(&at.to_string()).copied(),
        };
        known.ok_or_else(|| Refusal::new(RefusalKind::NotFound, at))
    }

    fn commit(&mut self, commit: &Commit) -> Outcome {
        let inode = match &commit.target {
            CommitTarget::File(at) => self.find(at)?,
            CommitTarget::Upload(upload) | CommitTarget::Publish { upload, .. } => {
                if !self.uploads.contains(upload) {
                    return Err(Refusal::new(RefusalKind::NotFound, upload));
                }
                *upload
            }
            CommitTarget::New { at, replace, .. } => {
                if !replace && self.find(at).is_ok() {
                    return Err(Refusal::new(RefusalKind::Exists, at));
                }
                self.new_file()
            }
        };
        let Some((attr, _)) = self.files.get(&inode) else {
            return Err(Refusal::new(RefusalKind::NotFound, inode));
        };
        if commit
            .revision
            .is_some_and(|revision| revision != attr.revision)
        {
            return Err(Refusal::new(RefusalKind::Conflict, inode));
        }
        let inline: usize = commit.pieces.iter().map(inline_len).sum();
        if attr.inline_bytes as usize + inline > attr.policy.inline_max as usize && inline > 0 {
            return Err(Refusal::new(RefusalKind::TooLarge, inode));
        }
        let begin = match commit.offset {
            WriteOffset::At(offset) => offset,
            WriteOffset::End => attr.size,
        };
        for chunk in &commit.chunks {
            if chunk.replicas.len() < usize::from(self.policy.replicas_min.0) {
                return Err(Refusal::new(RefusalKind::TooFewReplicas, chunk.chunk));
            }
            let granted = self.granted.get(&chunk.chunk);
            if granted.is_none_or(|granted| granted.elapsed() >= GRANT_TTL) {
                return Err(Refusal::new(RefusalKind::GrantExpired, chunk.chunk));
            }
            let earlier = self.chunks.insert(chunk.chunk, chunk.clone());
            assert_eq!(earlier, None, "a chunk id is used for one chunk");
        }
        self.write(inode, begin, &commit.pieces);
        if let CommitTarget::New { at, .. } | CommitTarget::Publish { at, .. } = &commit.target {
            self.names.insert(at.to_string(), inode);
        }
        Ok(Changed {
            offset: Some(begin),
            ..self.changed(inode)
        })
    }

    fn write(&mut self, inode: InodeId, begin: u64, pieces: &[Piece]) {
        let length: u64 = pieces.iter().map(Piece::length).sum();
        self.cut(inode, begin, begin + length);
        let chunks = &self.chunks;
        let Some((attr, extents)) = self.files.get_mut(&inode) else {
            return;
        };
        let mut offset = begin;
        for piece in pieces {
            let source = match piece {
                Piece::Inline(bytes) => LayoutSource::Inline(bytes.clone()),
                Piece::Chunk { chunk, offset, .. } => LayoutSource::Chunk {
                    chunk: *chunk,
                    offset: *offset,
                    length: chunks[chunk].length,
                    replicas: chunks[chunk].replicas.clone(),
                },
            };
            let length = piece.length();
            extents.push(LayoutExtent {
                offset,
                length,
                source,
            });
            offset += length;
        }
        extents.sort_by_key(|extent| extent.offset);
        attr.size = attr.size.max(offset);
        attr.revision += 1;
        attr.inline_bytes = inline_bytes(extents);
    }

    /// Removes what is in `begin..end`.
    fn cut(&mut self, inode: InodeId, begin: u64, end: u64) {
        let Some((attr, extents)) = self.files.get_mut(&inode) else {
            return;
        };
        let mut kept = Vec::new();
        for extent in extents.drain(..) {
            let stop = extent.offset + extent.length;
            if extent.offset < begin {
                kept.push(part(&extent, extent.offset, stop.min(begin)));
            }
            if stop > end {
                kept.push(part(&extent, extent.offset.max(end), stop));
            }
        }
        *extents = kept;
        attr.inline_bytes = inline_bytes(extents);
    }

    pub(super) fn query(&mut self, query: Query) -> Result<Answer, Refusal> {
        self.queries.push(query.clone());
        match query {
            Query::Stat { at, .. } if at.path.names().is_empty() && at.base == InodeId::ROOT => {
                Ok(Answer::Attr(Attr {
                    handle: None,
                    inode: InodeId::ROOT,
                    kind: FileKind::Directory,
                    policy: self.policy,
                    ..attr()
                }))
            }
            Query::Stat { at, .. } => {
                let inode = self.find(&at)?;
                Ok(Answer::Attr(self.files[&inode].0.clone()))
            }
            Query::Layout { at, range } => {
                let inode = self.find(&at)?;
                Ok(Answer::Layout(self.layout(inode, range)))
            }
            Query::List { after, limit, .. } => Ok(Answer::Entries(self.list(after, limit))),
            _ => Ok(Answer::StatFs(StatFs::default())),
        }
    }

    fn layout(&self, inode: InodeId, range: ByteRange) -> Layout {
        let (attr, extents) = &self.files[&inode];
        let touching = extents
            .iter()
            .filter(|e| e.offset < range.end() && e.offset + e.length > range.offset);
        let mut extents: Vec<_> = touching.cloned().collect();
        let more = extents.len() > self.extents_per_reply;
        extents.truncate(self.extents_per_reply);
        let is_of = |stripe: &&StripeLayout, extent: &LayoutExtent| match &extent.source {
            LayoutSource::Chunk { chunk, .. } => stripe.index_of(*chunk).is_some(),
            LayoutSource::Inline(_) => false,
        };
        let stripes = self.stripes.iter();
        let stripes = stripes.filter(|stripe| extents.iter().any(|e| is_of(stripe, e)));
        Layout {
            permit: Permit::default(),
            stripes: stripes.cloned().collect(),
            attr: attr.clone(),
            extents,
            more,
        }
    }

    fn list(&self, after: Option<Name>, limit: u32) -> EntryPage {
        let after = after.map(|name| format!("/{name}")).unwrap_or_default();
        let rest: Vec<_> = self
            .names
            .iter()
            .filter(|(name, _)| **name > after)
            .collect();
        let entries = rest.iter().take(limit as usize).map(|(name, inode)| Entry {
            name: Name::new(name.trim_start_matches('/')).unwrap(),
            inode: **inode,
            kind: FileKind::File,
            attr: None,
        });
        EntryPage {
            entries: entries.collect(),
            more: rest.len() > limit as usize,
        }
    }

    pub(super) fn grant(&mut self, request: GrantRequest) -> Result<WriteGrant, RpcError> {
        self.grants.push(request.clone());
        if request.avoid.len() > NODES_AVOIDED_MAX {
            return Err(Refusal::new(RefusalKind::Invalid, "nodes to avoid").into());
        }
        let good = self
            .nodes
            .iter()
            .filter(|n| !request.avoid.contains(&n.node));
        let good: Vec<NodeAddress> = good.cloned().collect();
        if good.len() < usize::from(request.replicas_min.0) {
            return Err(RpcError::Unavailable("too few data nodes".to_owned()));
        }
        let (pipeline, spares) = good.split_at(good.len().min(usize::from(request.replicas.0)));
        let chunks: Vec<_> = (0..request.chunks)
            .map(|_| GrantedChunk {
                chunk: ChunkId(self.id()),
                pipeline: pipeline.to_vec(),
            })
            .collect();
        let granted = chunks.iter().map(|new| (new.chunk, Instant::now()));
        self.granted.extend(granted);
        Ok(WriteGrant {
            permit: self.permits.pop_front().unwrap_or_default(),
            chunks,
            spares: spares.to_vec(),
            expires: Timestamp(u64::MAX),
        })
    }

    /// Makes a file whose bytes are the data of stripes, one after the other.
    pub(super) fn put_stripes(&mut self, path: &str, stripes: Vec<StripeLayout>) {
        let inode = self.new_file();
        self.names.insert(path.to_owned(), inode);
        let (attr, extents) = self.files.get_mut(&inode).unwrap();
        for stripe in &stripes {
            for member in stripe.members.iter().take(stripe.shape.data()) {
                let source = LayoutSource::Chunk {
                    chunk: member.chunk,
                    offset: 0,
                    length: member.length,
                    replicas: member.replicas.clone(),
                };
                extents.push(LayoutExtent {
                    offset: attr.size,
                    length: member.length,
                    source,
                });
                attr.size += member.length;
            }
        }
        self.stripes.extend(stripes);
    }

    /// As if a chunk had been made again on another data node.
    pub(super) fn repaired(&mut self, chunk: ChunkId, node: NodeId) {
        let members = self.stripes.iter_mut().flat_map(|s| &mut s.members);
        let members = members.filter(|member| member.chunk == chunk);
        members.for_each(|member| member.replicas = vec![node]);
        let extents = self.files.values_mut().flat_map(|(_, extents)| extents);
        for extent in extents {
            match &mut extent.source {
                LayoutSource::Chunk {
                    chunk: of,
                    replicas,
                    ..
                } if *of == chunk => *replicas = vec![node],
                _ => {}
            }
        }
    }

    /// How many extents a file has.
    pub(super) fn extents(&self, path: &str) -> usize {
        let inode = self.names.get(path);
        inode.map_or(0, |inode| self.files[inode].1.len())
    }
}

fn inline_len(piece: &Piece) -> usize {
    match piece {
        Piece::Inline(bytes) => bytes.len(),
        Piece::Chunk { .. } => 0,
    }
}

fn inline_bytes(extents: &[LayoutExtent]) -> u32 {
    let lengths = extents.iter().map(|extent| match &extent.source {
        LayoutSource::Inline(bytes) => bytes.len() as u32,
        LayoutSource::Chunk { .. } => 0,
    });
    lengths.sum()
}

/// The part of an extent from `begin` to `end` of the file.
fn part(extent: &LayoutExtent, begin: u64, end: u64) -> LayoutExtent {
    let skip = begin - extent.offset;
    let source = match &extent.source {
        LayoutSource::Inline(bytes) => {
            let part = bytes.slice(skip as usize..(end - extent.offset) as usize);
            LayoutSource::Inline(Bytes::copy_from_slice(&part))
        }
        LayoutSource::Chunk {
            chunk,
            offset,
            length,
            replicas,
        } => LayoutSource::Chunk {
            chunk: *chunk,
            offset: offset + skip,
            length: *length,
            replicas: replicas.clone(),
        },
    };
    LayoutExtent {
        offset: begin,
        length: end - begin,
        source,
    }
}
