//! What clients ask.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use dfs_raft::state::View;
use dfs_raft::{Consistency, Fatal, MemberId};
use tarpc::context::Context;

use super::backup::Sending;
use super::{living, rosters};
use crate::master::grants;
use crate::master::leader::{group, map, room};
use crate::master::security::admission::is_confined;
use crate::master::security::proofs::Shows;
use crate::master::security::{keys, permits, trail};
use crate::master::shared::{Shared, unexpected};
use crate::meta::command::{validate, validate_request};
use crate::meta::{Command, Reply, query};
use crate::node::audit::{Actor, Deed, Ending};
use crate::planted::{self, Bug};
use crate::proto::error::RpcError;
use crate::proto::metadata::{
    Answered, ClusterStatus, GrantRequest, LeaderInfo, MetadataRpc, NodeInfo, Proofs,
    ReadConsistency, Stamped, WriteGrant,
};
use crate::security::PublicKey;
use crate::security::capability::{Holder, Operation};
use crate::types::node::MemberChange;
use crate::types::query::LayoutSource;
use crate::types::story::Explained;
use crate::types::{
    Answer, Attr, Caller, Change, Changed, ChunkId, ClientId, Handle, NodeId, Policy, Query,
    Refusal, RefusalKind, RequestId, Rev,
};

/// Copies of a new chunk below which the leader has a look at once.
const LOOK_BELOW: usize = Policy::DEFAULT.replicas.0 as usize;
/// How often a busy change is tried again, with housekeeping in between.
const BUSY_ATTEMPTS_MAX: usize = 64;

/// Serves [`MetadataRpc`].
#[derive(Clone)]
pub(crate) struct MetadataService {
    shared: Arc<Shared>,
    /// Who that is, for the audit log.
    actor: Arc<Actor>,
    caller: Caller,
    /// What proofs it shows are of; none in a cluster without security.
    shows: Option<Shows>,
    /// The backup that it is being sent.
    backup: Arc<tokio::sync::Mutex<Sending>>,
}

impl MetadataService {
    /// For whoever is at the other end.
    pub(crate) fn new(
        shared: Arc<Shared>,
        actor: Arc<Actor>,
        (caller, key): (Caller, Option<PublicKey>),
    ) -> Self {
        let shows = key.map(|key| Shows {
            caller,
            holder: Holder::Client(key.0),
        });
        MetadataService {
            shared,
            actor,
            caller,
            shows,
            backup: Arc::default(),
        }
    }

    /// Has the leader look at chunks that were written with few copies.
    fn hint(&self, few: &[ChunkId]) {
        self.shared.if_leading(|leading| {
            for chunk in few {
                leading.hint(*chunk);
            }
        });
    }

    /// Gets ready to vouch for what an answer will be about; for nothing without security.
    async fn vouching(&self) -> Result<impl Fn(Option<&Attr>) -> Option<Handle>, RpcError> {
        let vouch = match self.shows {
            Some(shows) => Some(shows.vouching(&self.shared).await?),
            None => None,
        };
        Ok(move |attr: Option<&Attr>| Some(vouch.as_ref()?(attr?)))
    }

    async fn carry_out(
        &self,
        request: RequestId,
        change: Change,
        proofs: Proofs,
    ) -> Result<Answered<Changed>, RpcError> {
        validate_request(&request)?;
        validate(&change)?;
        if let Some(shows) = self.shows {
            shows
                .require_led(&self.shared, change.locations(), &proofs)
                .await?;
            shows
                .require_granted(&self.shared, &change, &proofs)
                .await?;
        }
        if let Change::Member(MemberChange::RevokeNode { node }) = &change {
            group::require_outside(&self.shared, self.caller, *node).await?;
        }
        living::require(&self.shared, self.caller, (request, &change)).await?;
        let vouch = self.vouching().await?;
        room::admit(&self.shared, request, &change).await?;
        let few = with_few_copies(&change);
        let mut attempts = 0;
        loop {
            let command = Command::Client {
                caller: self.caller,
                request,
                change: change.clone(),
            };
            let (rev, outcome) = match self.shared.propose(command).await?.value {
                Reply::Client { rev, outcome } => (rev, outcome),
                other => return Err(unexpected(&other)),
            };
            match outcome {
                Ok(value) => {
                    self.hint(&few);
                    if matches!(change, Change::Member(MemberChange::Decide { .. })) {
                        self.know_nodes().await?;
                    }
                    let handle = vouch(value.attr.as_ref());
                    let stamped = Stamped { rev, value };
                    return Ok(Answered { stamped, handle });
                }
                Err(refusal)
                    if refusal.kind == RefusalKind::Busy && attempts < BUSY_ATTEMPTS_MAX =>
                {
                    attempts += 1;
                    self.shared.propose(Command::Housekeeping).await?;
                }
                Err(refusal) => return Err(refused_at(rev)(refusal)),
            }
        }
    }

    /// Lets the leader know at once what was decided about data nodes.
    async fn know_nodes(&self) -> Result<(), RpcError> {
        let reading = self.shared.read(Consistency::Stale).await?;
        let look = |view: &View| map::nodes(view);
        let nodes = self.shared.look(reading, look).await?;
        self.shared.if_leading(|leading| leading.know(nodes));
        Ok(())
    }

    /// Whether what is not there for this caller may be there for others.
    async fn is_confined(&self) -> Result<bool, RpcError> {
        is_confined(&self.shared, self.caller).await
    }

    async fn open(&self) -> Result<Stamped<ClientId>, RpcError> {
        let caller = self.caller;
        let command = Command::OpenSession { caller };
        let Stamped { rev, value } = self.shared.propose(command).await?;
        match value {
            Reply::Session(opened) => {
                let value = opened.map_err(refused_at(rev))?;
                Ok(Stamped { rev, value })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Has a data node read a replica through that a client says is bad: it is not trusted
    /// blindly. Whoever sees a part of the files only cannot say of which others there are chunks.
    async fn doubt(&self, chunk: ChunkId, node: NodeId) -> Result<(), RpcError> {
        self.shared.leading(|_| ())?;
        let reading = self.shared.read(Consistency::Stale).await?;
        let look = move |view: &View| query::chunk(view, chunk);
        match self.shared.look(reading, look).await? {
            Some(row) if row.replicas.contains(&node) && !self.is_confined().await? => {
                self.shared.leading(|leading| leading.doubt(node, chunk))
            }
            _ => Err(Refusal::new(RefusalKind::NotFound, format!("{chunk} on {node}")).into()),
        }
    }

    async fn look_up(
        &self,
        query: &Query,
        consistency: ReadConsistency,
    ) -> Result<Answered<Answer>, RpcError> {
        if self.shows.is_some() && consistency == ReadConsistency::Stale {
            // It would show what was taken from this user meanwhile.
            let what = "users read what is so now";
            return Err(Refusal::new(RefusalKind::Invalid, what).into());
        }
        let vouch = self.vouching().await?;
        let consistency = match consistency {
            ReadConsistency::Linearizable => Consistency::Linearizable,
            ReadConsistency::Stale => Consistency::Stale,
        };
        if query.is_for_leader() && consistency == Consistency::Linearizable {
            self.shared.leading(|_| ())?;
        }
        let reading = self.shared.read(consistency).await?;
        let (rev, caller, asked) = (reading.applied, self.caller, query.clone());
        let look = move |view: &View| answer(view, caller, &asked);
        let looked = self.shared.look(reading, look).await?;
        let mut value = looked.map_err(refused_at(rev))?;
        self.complete(query, &mut value);
        if let (Answer::Layout(layout), Some(shows)) = (&mut value, self.shows) {
            permits::permit_layout(&self.shared, shows.holder, layout).await?;
        }
        let handle = vouch(value.attr());
        let stamped = Stamped { rev, value };
        Ok(Answered { stamped, handle })
    }

    /// Adds to an answer what only the leader knows.
    fn complete(&self, query: &Query, answer: &mut Answer) {
        self.shared.if_leading(|leading| match answer {
            Answer::Layout(layout) => {
                for extent in &mut layout.extents {
                    if let LayoutSource::Chunk {
                        chunk, replicas, ..
                    } = &mut extent.source
                    {
                        leading.view.sort_for_reading(*chunk, replicas);
                    }
                }
                for member in layout.stripes.iter_mut().flat_map(|s| &mut s.members) {
                    leading
                        .view
                        .sort_for_reading(member.chunk, &mut member.replicas);
                }
            }
            Answer::NodeDuties(duties) => {
                if let Query::NodeDuties(node) = query {
                    duties.others = living::in_service(leading, Some(*node));
                }
            }
            Answer::StatFs(totals) => totals.space = leading.view.space(),
            Answer::Attr(_)
            | Answer::Entries(_)
            | Answer::Target(_)
            | Answer::Trash(_)
            | Answer::Acl(_)
            | Answer::User(_)
            | Answer::Group(_)
            | Answer::Users(_)
            | Answer::Groups(_)
            | Answer::JoinTokens(_)
            | Answer::EnrolledNodes(_)
            | Answer::Quotas(_)
            | Answer::QuotaPage(_)
            | Answer::Snapshots(_) => {}
            Answer::Explained(Explained { chunks, .. }) | Answer::Chunks(chunks) => {
                for story in chunks {
                    leading.tell(story);
                }
            }
        });
    }
}

/// Answers a question, as far as whoever asks it may.
fn answer(view: &View, caller: Caller, asked: &Query) -> Result<Result<Answer, Refusal>, Fatal> {
    let answer = query::answer(view, caller, asked)?;
    if planted::active(Bug::PermissionCachedAfterRevoke) {
        let question = format!("{caller:?} {asked:?}");
        if planted::was_permitted(question, answer.is_ok()) && answer.is_err() {
            return query::answer(view, Caller::System, asked);
        }
    }
    Ok(answer)
}

/// A refusal that this point of history gave.
fn refused_at(rev: Rev) -> impl FnOnce(Refusal) -> RpcError {
    move |refusal| RpcError::Refused {
        refusal,
        rev: Some(rev),
    }
}

/// The chunks of a change that are written with few copies; of stripes those without one.
fn with_few_copies(change: &Change) -> Vec<ChunkId> {
    let Change::Commit(commit) = change else {
        return Vec::new();
    };
    let members: BTreeSet<_> = commit.stripes.iter().flat_map(|s| &s.members).collect();
    let new = commit.chunks.iter();
    let few = new.filter(|new| match members.contains(&new.chunk) {
        true => new.replicas.is_empty(),
        false => new.replicas.len() < LOOK_BELOW,
    });
    few.map(|chunk| chunk.chunk).collect()
}

impl MetadataRpc for MetadataService {
    async fn leader(self, _: Context) -> LeaderInfo {
        let leadership = self.shared.replica.leadership().borrow().clone();
        LeaderInfo {
            cluster: self.shared.cluster(),
            leader: leadership.leader.map(|hint| hint.address),
            masters: self.shared.masters(),
        }
    }

    async fn open_session(self, _: Context) -> Result<Stamped<ClientId>, RpcError> {
        let opened = self.open().await;
        if !opened.as_ref().is_err_and(trail::lacks_a_right) {
            return opened;
        }
        let asked = self
            .shared
            .audit
            .ask(&self.actor, Deed::new("open-session"));
        trail::told(asked, opened, |_| Ending::done()).await
    }

    async fn change(
        self,
        _: Context,
        request: RequestId,
        change: Change,
        proofs: Proofs,
    ) -> Result<Answered<Changed>, RpcError> {
        let Some(deed) = Deed::of_change(request, &change) else {
            return self.carry_out(request, change, proofs).await;
        };
        let asked = self.shared.audit.ask(&self.actor, deed);
        let changed = self.carry_out(request, change, proofs).await;
        trail::told(asked, changed, |changed| {
            let attr = changed.stamped.value.attr.as_ref();
            let done = Ending::done().at(Some(changed.stamped.rev));
            done.of_inode(attr.map(|attr| attr.inode))
        })
        .await
    }

    async fn query(
        self,
        _: Context,
        query: Query,
        consistency: ReadConsistency,
        proofs: Proofs,
    ) -> Result<Answered<Answer>, RpcError> {
        let led = match self.shows {
            Some(shows) => {
                shows
                    .require_led(&self.shared, query.location(), &proofs)
                    .await
            }
            None => Ok(()),
        };
        let was_led = led.is_ok();
        let looked = match led {
            Ok(()) => self.look_up(&query, consistency).await,
            Err(error) => Err(error),
        };
        let is_hidden = match &looked {
            Err(error) if trail::is_not_found(error) => !was_led || self.is_confined().await?,
            _ => false,
        };
        if !is_hidden && !trail::is_worth_a_line(&query, &looked) {
            return looked;
        }
        let asked = self.shared.audit.ask(&self.actor, Deed::of_query(&query));
        trail::answered(asked, looked, |answered| {
            let attr = answered.stamped.value.attr();
            let done = Ending::done().at(Some(answered.stamped.rev));
            done.of_inode(attr.map(|attr| attr.inode))
        })
        .await
    }

    async fn grant(self, _: Context, request: GrantRequest) -> Result<WriteGrant, RpcError> {
        let mut grant = grants::grant(&self.shared, &request).await?;
        if let Some(shows) = self.shows {
            let what = (shows.holder, Operation::Write);
            let chunks = grant.chunks.iter();
            let nodes = chunks.clone().flat_map(|granted| &granted.pipeline);
            let nodes = nodes.chain(&grant.spares);
            let ids = nodes.clone().map(|node| node.node);
            let chunks = chunks.map(|granted| granted.chunk);
            grant.permit = permits::permit(&self.shared, what, chunks, ids, nodes).await?;
        }
        Ok(grant)
    }

    async fn report_corrupt(
        self,
        _: Context,
        chunk: ChunkId,
        node: NodeId,
    ) -> Result<(), RpcError> {
        let deed = Deed::new("report-corrupt").about(chunk).with(node);
        let asked = self.shared.audit.ask(&self.actor, deed);
        let doubted = self.doubt(chunk, node).await;
        trail::told(asked, doubted, |()| Ending::done()).await
    }

    async fn nodes(self, _: Context) -> Result<Vec<NodeInfo>, RpcError> {
        rosters::nodes(&self.shared)
    }

    async fn remove_master(self, _: Context, member: u64) -> Result<(), RpcError> {
        self.shared.leading(|_| ())?;
        let deed = Deed::new("remove-master").about(format!("m{member}"));
        let asked = self.shared.audit.ask(&self.actor, deed);
        let removed = group::remove(&self.shared, MemberId(member)).await;
        trail::told(asked, removed, |()| Ending::done()).await
    }

    async fn backup(self, _: Context, number: u64) -> Result<Option<Bytes>, RpcError> {
        let mut sending = self.backup.lock().await;
        if number > 0 {
            return sending.piece(&self.shared, number).await;
        }
        let asked = self.shared.audit.ask(&self.actor, Deed::new("backup"));
        let begun = sending.piece(&self.shared, number).await;
        trail::told(asked, begun, |_| Ending::done()).await
    }

    async fn exchange_signing_key(self, _: Context, void_former: bool) -> Result<(), RpcError> {
        self.shared.leading(|_| ())?;
        let deed = Deed::new("exchange-signing-key");
        let deed = match void_former {
            true => deed.with("the former are void"),
            false => deed,
        };
        let asked = self.shared.audit.ask(&self.actor, deed);
        let exchanged = keys::exchange(&self.shared, self.caller, void_former).await;
        trail::told(asked, exchanged, |()| Ending::done()).await
    }

    async fn scrub_node(self, _: Context, node: NodeId) -> Result<(), RpcError> {
        let deed = Deed::new("scrub-node").about(node);
        let asked = self.shared.audit.ask(&self.actor, deed);
        let scrubs = self.shared.leading(|leading| leading.scrub(node));
        let scrubs = scrubs.and_then(|given| {
            let unheard = || Refusal::new(RefusalKind::NotFound, format!("{node} is not heard"));
            given.then_some(()).ok_or_else(|| unheard().into())
        });
        trail::told(asked, scrubs, |()| Ending::done()).await
    }

    async fn status(self, _: Context) -> Result<ClusterStatus, RpcError> {
        let nodes = rosters::nodes(&self.shared)?;
        let cluster = self.shared.cluster();
        let cluster = cluster.ok_or_else(|| self.shared.not_leading())?;
        let reading = self.shared.read(Consistency::Linearizable).await?;
        let look = |view: &View| query::counters(view);
        let totals = self.shared.look(reading, look).await?;
        let chunks = self
            .shared
            .leading(|leading| leading.health(totals.chunks))?;
        let (masters, term) = rosters::masters(&self.shared)?;
        Ok(ClusterStatus {
            cluster,
            term,
            masters,
            nodes,
            chunks,
            inodes: totals.inodes,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use tarpc::context;

    use super::*;
    use crate::master::tests::{cluster, heartbeat, leader, registration};
    use crate::types::account::{AccountChange, AccountName, Role};
    use crate::types::change::{Commit, CommitTarget, NewAttr, Piece, WriteOffset};
    use crate::types::{DfsPath, Location, Mode, NewChunk, Permit, ReplicationTarget};

    fn at(path: &str) -> Location {
        path.parse::<DfsPath>().unwrap().into()
    }

    /// A file of one chunk.
    fn commit(chunk: ChunkId, replicas: &[NodeId]) -> Change {
        let length = 100_000;
        Change::Commit(Commit {
            target: CommitTarget::New {
                at: at("/a"),
                attr: NewAttr::of_mode(Mode::FILE),
                replace: false,
            },
            offset: WriteOffset::At(0),
            pieces: vec![Piece::Chunk {
                chunk,
                offset: 0,
                length,
            }],
            chunks: vec![NewChunk {
                chunk,
                length,
                checksum: 0,
                replicas: replicas.to_vec(),
                permit: Permit::default(),
            }],
            revision: None,
            stripes: Vec::new(),
        })
    }

    #[tokio::test]
    async fn a_confined_user_says_of_no_chunk_that_its_copy_is_bad() {
        let directory = tempfile::tempdir().unwrap();
        let master = leader(&directory).await;
        let (client, mut nodes) = (cluster(&master).await, Vec::new());
        for key in 1..=3 {
            let registered = client.register(context::current(), registration(key));
            let registered = registered.await.unwrap().unwrap();
            let alive = heartbeat(registered.node, registered.epoch);
            let heard = client.heartbeat(context::current(), alive).await;
            heard.unwrap().unwrap();
            nodes.push(registered.node);
        }
        let request = GrantRequest {
            chunks: 1,
            chunk_size: 1 << 20,
            replicas: ReplicationTarget(3),
            replicas_min: ReplicationTarget(2),
            avoid: Vec::new(),
            stripe: None,
        };
        let granted = grants::grant(&master.shared, &request).await.unwrap();
        let chunk = granted.chunks[0].chunk;
        master.change(commit(chunk, &nodes)).await.unwrap();
        let (home, attr) = (at("/home"), NewAttr::of_mode(Mode::DIRECTORY));
        let made = Change::MakeDirectory {
            at: home.clone(),
            attr,
            parents: false,
        };
        master.change(made).await.unwrap();
        for (name, root) in [("alice", None), ("service", Some(home))] {
            let (name, is_heard) = (name.parse::<AccountName>().unwrap(), root.is_none());
            let add = AccountChange::AddUser {
                name: name.clone(),
                id: None,
                group: None,
                role: Role::User,
                root,
                read_only: false,
            };
            master.change(Change::Account(add)).await.unwrap();
            let reading = master.shared.read(Consistency::Stale).await.unwrap();
            let known = query::credentials(&reading.view, &name).unwrap().unwrap();
            let caller = Caller::User {
                user: known.user,
                epoch: known.epoch,
            };
            let actor = Arc::new(Actor::new(&name, ""));
            let service = MetadataService::new(Arc::clone(&master.shared), actor, (caller, None));
            let reported = service
                .report_corrupt(context::current(), chunk, nodes[0])
                .await;
            assert_eq!(reported.is_ok(), is_heard, "{name}: {reported:?}");
        }
    }
}
