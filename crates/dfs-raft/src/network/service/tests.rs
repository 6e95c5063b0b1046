//! Whom a member answers.

use std::io;
use std::time::Duration;

use futures::future::BoxFuture;
use tarpc::{ClientMessage, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

use super::*;
use crate::config::ReplicaConfig;
use crate::env::Env;
use crate::machine::ApplyContext;
use crate::network::message::RaftRpcRequest;
use crate::network::peers::context;
use crate::network::{Dial, client};
use crate::replica::Replica;
use crate::state::StateTxn;
use crate::types::{ClusterId, MemberId};

type TestResult = Result<(), Box<dyn std::error::Error>>;

struct Nothing;

impl StateMachine for Nothing {
    const TABLES: &'static [&'static str] = &["nothing"];
    type Command = u64;
    type Reply = ();

    fn apply(&self, _: &mut StateTxn<'_>, _: ApplyContext, _: u64) -> Result<(), Fatal> {
        Ok(())
    }
}

struct Nobody;

impl Dial for Nobody {
    fn dial(&self, _: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::NotFound.into())))
    }
}

#[tokio::test]
async fn requests_for_another_protocol_cluster_or_member_are_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let config = ReplicaConfig::new(directory.path());
    let replica = Replica::start(config, Env::real(), Arc::new(Nobody), Nothing).await?;
    let cluster = replica.bootstrap("here").await?;
    let (near, far) = duplex(1 << 16);
    tokio::spawn(replica.serve(Box::new(far)));
    let peer = client(Box::new(near)).rpc;

    let right = Header {
        protocol: PROTOCOL,
        cluster,
        from: MemberId(2),
        to: MemberId(1),
    };
    let protocol = Header {
        protocol: PROTOCOL + 1,
        ..right
    };
    let other = Header {
        cluster: ClusterId(cluster.0 ^ 1),
        ..right
    };
    let member = Header {
        to: MemberId(2),
        ..right
    };
    let soon = || context(Duration::from_secs(20));
    assert!(peer.digests(soon(), right).await?.is_ok());
    let refusals = [
        (protocol, Refusal::Protocol(PROTOCOL)),
        (other, Refusal::OtherCluster),
        (member, Refusal::OtherMember),
    ];
    for (header, refusal) in refusals {
        let vote = WireVote {
            term: 9,
            candidate: 2,
            granted_by_quorum: true,
        };
        let begun = peer.begin_snapshot(soon(), header, vote).await?;
        assert_eq!(begun.as_ref(), Err(&refusal));
        let digests = peer.digests(soon(), header).await?;
        assert_eq!(digests.as_ref(), Err(&refusal));
        let index = peer.read_index(soon(), header).await?;
        assert_eq!(index.as_ref(), Err(&refusal));
        let told = peer.diverged(soon(), header, Rev::default(), 7).await?;
        assert_eq!(told.as_ref(), Err(&refusal));
        // Who asks to be admitted does not know which member it asks.
        if header.to == right.to {
            let admitted = peer.admit(soon(), header, "there".to_owned()).await?;
            assert_eq!(admitted.as_ref(), Err(&refusal));
        }
    }
    let protocol = PROTOCOL + 1;
    let joined = peer.join(soon(), Join { protocol }).await?;
    assert_eq!(joined, Err(Refusal::Protocol(PROTOCOL)));
    Ok(())
}

/// A request as it crosses the network, that its caller waits so long for.
fn waited_for(wait: Duration) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let join = Join { protocol: PROTOCOL };
    let request = ClientMessage::Request(Request {
        context: context(Duration::from_secs(20)),
        id: 1,
        message: RaftRpcRequest::Join { request: join },
    });
    let bytes = postcard::to_stdvec(&request)?;
    let (_, rest) = postcard::take_from_bytes::<(u32, Duration)>(&bytes)?;
    let message = [&postcard::to_stdvec(&(0_u32, wait))?[..], rest].concat();
    let length = u32::try_from(message.len())?;
    Ok([&length.to_be_bytes()[..], &message].concat())
}

#[tokio::test]
async fn a_request_that_is_waited_for_without_end_is_answered() -> TestResult {
    let directory = tempfile::tempdir()?;
    let config = ReplicaConfig::new(directory.path());
    let replica = Replica::start(config, Env::real(), Arc::new(Nobody), Nothing).await?;
    replica.bootstrap("here").await?;
    // More than a clock can count, and more than a timer can.
    let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    for wait in [Duration::MAX, century] {
        let (mut near, far) = duplex(1 << 16);
        tokio::spawn(replica.serve(Box::new(far)));
        near.write_all(&waited_for(wait)?).await?;
        let mut length = [0; 4];
        timeout(Duration::from_secs(20), near.read_exact(&mut length)).await??;
    }
    Ok(())
}
