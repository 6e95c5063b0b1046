//! Who is let in, and as whom. A connection is judged by what it shows before anything is served
//! on it, and each of its requests by the rule of its method.

use std::io;
use std::time::Duration;

use dfs_raft::state::View;
use dfs_raft::{Consistency, Fatal};
use tarpc::ServerError;
use tokio::time::sleep;

use crate::env::Timestamp;
use crate::master::shared::Shared;
use crate::meta::query;
use crate::planted::{self, Bug};
use crate::proto::error::RpcError;
use crate::proto::hello::{Hello, HelloReply, Service};
use crate::proto::rules::{DENIED, LOGIN_REQUIRED, Rule, rule};
use crate::security::{NodeIdentity, Peer, PublicKey, Ticket};
use crate::types::{Caller, NodeKey, NodeRole};

/// How often it is looked whether who is connected is still to be let in.
const NODE_POLL: Duration = Duration::from_secs(2);
const USER_POLL: Duration = Duration::from_secs(10);

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guest {
    /// Anybody, in a cluster without security: all is permitted.
    Anybody,
    /// A node of the cluster, and the key of its papers.
    Node(NodeIdentity, PublicKey),
    /// A user that has a ticket.
    User {
        /// As whom it acts.
        caller: Caller,
        /// The key of its client.
        key: PublicKey,
        /// Until when the ticket is good.
        expires: Timestamp,
    },
    /// Somebody with a key.
    Key(Peer),
}

impl Guest {
    /// As whom it changes and reads metadata; none if it may not.
    pub(crate) fn caller(self) -> Option<Caller> {
        match self {
            Guest::Anybody => Some(Caller::System),
            Guest::User { caller, .. } => Some(caller),
            Guest::Node(..) | Guest::Key(_) => None,
        }
    }

    /// The key of its client, if it is one.
    pub(crate) fn key(self) -> Option<PublicKey> {
        match self {
            Guest::User { key, .. } => Some(key),
            Guest::Anybody | Guest::Node(..) | Guest::Key(_) => None,
        }
    }

    /// Whether it may act as this data node.
    pub(crate) fn is_data_node(self, node: NodeKey) -> bool {
        match self {
            Guest::Anybody => true,
            Guest::Node(identity, _) => {
                identity.role == NodeRole::DataNode && identity.node == node
            }
            Guest::User { .. } | Guest::Key(_) => false,
        }
    }
}

/// Says who a caller is, by what it shows and what the network says of it, or that it is not let
/// in.
pub(in crate::master) async fn admit(
    shared: &Shared,
    hello: &Hello,
    identity: Option<&str>,
) -> Result<Guest, HelloReply> {
    let ours = shared.cluster();
    if let (Some(theirs), Some(ours)) = (hello.cluster, ours)
        && theirs != ours
    {
        return Err(refused(format!("this master belongs to cluster {ours}")));
    }
    if shared.config.security.is_insecure() {
        return match hello.service {
            Service::Enrol | Service::Login => {
                Err(refused("this cluster has neither papers nor logins"))
            }
            Service::ChunkStream | Service::Peers => Err(no_chunks()),
            Service::Raft | Service::Cluster | Service::Metadata => Ok(Guest::Anybody),
        };
    }
    let peer = identity.and_then(|text| text.parse::<Peer>().ok());
    let peer = peer.ok_or_else(|| refused("whoever connects shows a key"))?;
    match hello.service {
        Service::Raft => node(shared, peer, NodeRole::Master).await,
        Service::Cluster => node(shared, peer, NodeRole::DataNode).await,
        Service::Metadata => user(shared, hello, peer).await,
        Service::Enrol | Service::Login => Ok(Guest::Key(peer)),
        Service::ChunkStream | Service::Peers => Err(no_chunks()),
    }
}

fn no_chunks() -> HelloReply {
    refused("this is a master, it has no chunks")
}

fn refused(why: impl Into<String>) -> HelloReply {
    HelloReply::Refused(why.into())
}

async fn node(shared: &Shared, peer: Peer, role: NodeRole) -> Result<Guest, HelloReply> {
    let identity = peer.node.filter(|node| node.role == role);
    let Some(identity) = identity else {
        return Err(refused(format!("this is for nodes of role `{role}`")));
    };
    if shared
        .cluster()
        .is_some_and(|ours| ours != identity.cluster)
    {
        return Err(refused("a node of another cluster"));
    }
    match is_out(shared, identity, peer.key).await {
        Ok(true) => Err(refused("this node was revoked, or has other papers by now")),
        // What this master does not know yet, others do; the certificate is good.
        Ok(false) => Ok(Guest::Node(identity, peer.key)),
        // From whom else should it hear?
        Err(_) if role == NodeRole::Master => Ok(Guest::Node(identity, peer.key)),
        Err(error) => Err(refused(format!("it is not known who was revoked: {error}"))),
    }
}

/// Whether a node was revoked, or has papers for another key by now, as far as this master knows.
///
/// Which of two keys of a master is the later one only a leader knows. Others let both in, lest one
/// that lags refuses a new leader of whose papers it can hear from nobody else. Who has the former
/// papers of a master gets nothing by it: to join, or to learn what the masters know, it must come
/// to the leader. (Those of whom it is believed that they are masters could do harm anywhere; so
/// papers that were stolen are revoked, not replaced.)
async fn is_out(shared: &Shared, node: NodeIdentity, key: PublicKey) -> Result<bool, RpcError> {
    let is_master = node.role == NodeRole::Master;
    let node = node.node;
    if is_master && shared.if_leading(|_| ()).is_none() {
        return known(shared, move |view: &View| query::is_revoked(view, node)).await;
    }
    known(shared, move |view: &View| query::is_out(view, node, key.0)).await
}

/// Whether a node was revoked, as far as this master knows.
pub(in crate::master) async fn is_revoked(shared: &Shared, node: NodeKey) -> bool {
    let look = move |view: &View| query::is_revoked(view, node);
    matches!(known(shared, look).await, Ok(true))
}

/// What this master knows, which others may know better.
async fn known<T: Send + 'static>(
    shared: &Shared,
    look: impl FnOnce(&View) -> Result<T, Fatal> + Send + 'static,
) -> Result<T, RpcError> {
    let reading = shared.read(Consistency::Stale).await?;
    shared.look(reading, look).await
}

/// Returns when this master hears that somebody is to be let in no more, and says why.
pub(in crate::master) async fn let_out(shared: &Shared, guest: Guest) -> &'static str {
    loop {
        let is_out = match guest {
            Guest::Node(node, key) => {
                sleep(NODE_POLL).await;
                is_out(shared, node, key).await
            }
            Guest::User {
                caller, expires, ..
            } => {
                sleep(USER_POLL).await;
                match shared.now() < expires {
                    true => has_no_standing(shared, caller).await,
                    false => Ok(true),
                }
            }
            Guest::Anybody | Guest::Key(_) => std::future::pending().await,
        };
        if matches!(is_out, Ok(true)) {
            return match guest {
                Guest::Node(..) => "it was revoked, or has other papers by now",
                _ => "it must log in again",
            };
        }
    }
}

/// Whether a user is let in no more with what it logged in with, as far as this master knows.
async fn has_no_standing(shared: &Shared, caller: Caller) -> Result<bool, RpcError> {
    let standing = known(shared, move |view: &View| query::standing(view, caller)).await?;
    Ok(standing.is_none())
}

async fn user(shared: &Shared, hello: &Hello, peer: Peer) -> Result<Guest, HelloReply> {
    let cluster = shared.cluster();
    let cluster = cluster.ok_or_else(|| refused("this master is of no cluster yet"))?;
    let Some(ticket) = &hello.ticket else {
        return Err(HelloReply::LoginRequired);
    };
    let keys = shared.keys.verifying(shared).await;
    let keys = keys.map_err(|e| refused(e.to_string()))?;
    if keys.is_empty() {
        return Err(refused("this master does not know yet who logs in"));
    }
    let now = shared.now();
    let opened = Ticket::open(ticket, &keys, (cluster, peer.key, now));
    let (caller, expires) = opened.map_err(|_| HelloReply::LoginRequired)?;
    Ok(Guest::User {
        caller,
        key: peer.key,
        expires,
    })
}

/// Whether a guest may call a method.
pub(in crate::master) enum Judged {
    /// It may.
    Permitted,
    /// It may if this user [stands](stands) so in the cluster.
    If(Caller, Rule),
    /// It may not, for this reason.
    Refused(ServerError),
}

/// Judges one request by the rule of its method. A ticket that expired meanwhile lets nobody in.
pub(in crate::master) fn judge(shared: &Shared, guest: Guest, method: &str) -> Judged {
    let Some(rule) = rule(method) else {
        if planted::active(Bug::MethodWithoutRule) {
            return Judged::Permitted;
        }
        return Judged::Refused(denied(format!("{method} is for nobody")));
    };
    match (guest, rule) {
        (Guest::Anybody, _) => Judged::Permitted,
        (Guest::User { expires, .. }, _)
            if shared.now() >= expires && !planted::active(Bug::ExpiredTokenAccepted) =>
        {
            let late = format!("{LOGIN_REQUIRED}the ticket has expired");
            Judged::Refused(ServerError::new(io::ErrorKind::PermissionDenied, late))
        }
        (Guest::User { .. }, Rule::User) | (Guest::Key(_), Rule::Key) => Judged::Permitted,
        (Guest::Node(node, _), Rule::DataNode) if node.role == NodeRole::DataNode => {
            Judged::Permitted
        }
        (Guest::User { caller, .. }, Rule::Reader | Rule::Writer | Rule::Administrator) => {
            Judged::If(caller, rule)
        }
        _ => Judged::Refused(denied(format!("{method} is not for this caller"))),
    }
}

fn denied(why: String) -> ServerError {
    ServerError::new(io::ErrorKind::PermissionDenied, format!("{DENIED}{why}"))
}

/// Refuses a caller that is not, or no longer, what a rule asks for.
pub(in crate::master) async fn stands(
    shared: &Shared,
    caller: Caller,
    rule: Rule,
) -> Result<(), ServerError> {
    let unavailable = |e: RpcError| ServerError::new(io::ErrorKind::Other, e.to_string());
    // One that led until now may know less than was acknowledged elsewhere.
    let reading = shared.read(Consistency::Linearizable).await;
    let look = move |view: &View| query::standing(view, caller);
    let standing = shared.look(reading.map_err(unavailable)?, look).await;
    let Some(standing) = standing.map_err(unavailable)? else {
        let out = format!("{LOGIN_REQUIRED}this user is let in no more");
        return Err(ServerError::new(io::ErrorKind::PermissionDenied, out));
    };
    match rule {
        Rule::Administrator if !standing.is_administrator => {
            Err(denied("only administrators may do this".to_owned()))
        }
        Rule::Administrator | Rule::Writer if standing.read_only => {
            Err(denied("this user may only read".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Whether a caller sees a part of the files only, as far as this master knows.
pub(in crate::master) async fn is_confined(
    shared: &Shared,
    caller: Caller,
) -> Result<bool, RpcError> {
    let standing = known(shared, move |view: &View| query::standing(view, caller)).await?;
    Ok(standing.is_none_or(|standing| standing.confined))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use super::*;
    use crate::env::Env;
    use crate::master::tests::{elected, start_in};
    use crate::node::{Papers, Security};
    use crate::proto::rules::RULES;
    use crate::security::KeyPair;
    use crate::types::account::{AccountChange, AccountName, CredentialEpoch, Role};
    use crate::types::node::MemberChange;
    use crate::types::{Change, ClusterId, UserId};

    #[tokio::test]
    async fn a_method_without_a_rule_and_a_ticket_that_has_expired_let_nobody_in() {
        let directory = tempfile::tempdir().unwrap();
        let master = start_in(&directory, Env::real(), Security::Found).await;
        let key = KeyPair::generate(&*Env::real().random).unwrap().public();
        let user = |expires| Guest::User {
            caller: Caller::User {
                user: UserId::ROOT,
                epoch: CredentialEpoch::default(),
            },
            key,
            expires,
        };
        let stranger = Guest::Key(Peer { key, node: None });
        let (late, good) = (user(Timestamp(1)), user(Timestamp(u64::MAX)));
        let is_refused = |guest, method| {
            let judged = judge(&master.shared, guest, method);
            matches!(judged, Judged::Refused(_))
        };
        for guest in [stranger, good] {
            assert!(is_refused(guest, "MetadataRpc.format_everything"));
        }
        assert!(is_refused(late, "MetadataRpc.query"));
        assert!(!is_refused(good, "MetadataRpc.query"));

        let node = |role| {
            let identity = NodeIdentity {
                cluster: ClusterId(1),
                role,
                node: NodeKey(7),
            };
            Guest::Node(identity, key)
        };
        let (master_node, data_node) = (node(NodeRole::Master), node(NodeRole::DataNode));
        // Whether each may call a method, of all that there are, as far as its connection says.
        for (method, rule) in RULES {
            let may = |guest| !is_refused(guest, method);
            let found = [stranger, data_node, master_node, good].map(may);
            let expected = match rule {
                Rule::Key => [true, false, false, false],
                Rule::DataNode => [false, true, false, false],
                Rule::User | Rule::Reader | Rule::Writer | Rule::Administrator => {
                    [false, false, false, true]
                }
            };
            assert_eq!(found, expected, "{method}");
        }
    }

    #[tokio::test]
    async fn who_leads_refuses_former_papers_of_a_master_and_who_lags_only_revoked_ones() {
        let directory = tempfile::tempdir().unwrap();
        let master = start_in(&directory, Env::real(), Security::Found).await;
        let cluster = master.found().await.unwrap();
        elected(&master).await;
        let shared = &master.shared;
        let token = master.create_token(NodeRole::Master, 1, Duration::from_secs(60));
        let (node, kept) = (NodeKey(9), tempfile::tempdir().unwrap());
        let who = (Some(node), NodeRole::Master);
        let token = token.await.unwrap();
        let joined = Papers::join(&Env::real(), kept.path(), who, &token, (&[], None)).await;
        let known = joined.unwrap().key();
        let other = KeyPair::generate(&*Env::real().random).unwrap().public();
        let hello = Hello::new(Service::Raft, Some(cluster));
        let are_let_in = async || {
            let mut let_in = [false; 2];
            for (let_in, key) in let_in.iter_mut().zip([known, other]) {
                let identity = NodeIdentity {
                    cluster,
                    role: NodeRole::Master,
                    node,
                };
                let node = Some(identity);
                let shown = Peer { key, node }.to_string();
                *let_in = admit(shared, &hello, Some(&shown)).await.is_ok();
            }
            let_in
        };
        assert_eq!(are_let_in().await, [true, false]);
        // A follower cannot tell which of the keys is the later one.
        shared.set_leading(None);
        assert_eq!(are_let_in().await, [true, true]);
        let revoked = Change::Member(MemberChange::RevokeNode { node });
        master.change(revoked).await.unwrap();
        assert_eq!(are_let_in().await, [false, false]);
    }

    #[tokio::test]
    async fn who_cannot_tell_who_was_revoked_lets_no_data_node_in_and_masters_from_whom_to_hear() {
        let directory = tempfile::tempdir().unwrap();
        let master = start_in(&directory, Env::real(), Security::Found).await;
        let key = KeyPair::generate(&*Env::real().random).unwrap().public();
        // It is of no cluster yet, so it has no metadata to look at.
        for (role, service, is_welcome) in [
            (NodeRole::DataNode, Service::Cluster, false),
            (NodeRole::Master, Service::Raft, true),
        ] {
            let node = Some(NodeIdentity {
                cluster: ClusterId(1),
                role,
                node: NodeKey(9),
            });
            let shown = Peer { key, node }.to_string();
            let hello = Hello::new(service, None);
            let admitted = admit(&master.shared, &hello, Some(&shown)).await;
            assert_eq!(admitted.is_ok(), is_welcome, "{admitted:?}");
        }
    }

    #[tokio::test]
    async fn a_user_may_call_what_its_role_and_its_limits_let_it() {
        let directory = tempfile::tempdir().unwrap();
        let master = start_in(&directory, Env::real(), Security::Found).await;
        master.found().await.unwrap();
        elected(&master).await;
        let add = async |name: &str, role, read_only| {
            let change = Change::Account(AccountChange::AddUser {
                name: name.parse().unwrap(),
                id: None,
                group: None,
                role,
                root: None,
                read_only,
            });
            master.change(change).await.unwrap();
            let name = name.parse::<AccountName>().unwrap();
            let reading = master.shared.read(Consistency::Stale).await.unwrap();
            let known = query::credentials(&reading.view, &name).unwrap().unwrap();
            Caller::User {
                user: known.user,
                epoch: known.epoch,
            }
        };
        let admin = add("boss", Role::Administrator, false).await;
        let user = add("alice", Role::User, false).await;
        let reader = add("guest", Role::User, true).await;
        let nobody = Caller::User {
            user: UserId(u32::MAX),
            epoch: CredentialEpoch::default(),
        };
        for (rule, expected) in [
            (Rule::Reader, [true, true, true, false]),
            (Rule::Writer, [true, true, false, false]),
            (Rule::Administrator, [true, false, false, false]),
        ] {
            let mut found = [false; 4];
            for (may, caller) in found.iter_mut().zip([admin, user, reader, nobody]) {
                *may = stands(&master.shared, caller, rule).await.is_ok();
            }
            assert_eq!(found, expected, "{rule:?}");
        }
    }
}
