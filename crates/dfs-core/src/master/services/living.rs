//! Whether enough data nodes live for what is decided. The metadata knows who is in service, and
//! only the leader who of them is dead.

use dfs_raft::Consistency;
use dfs_raft::state::View;

use crate::master::leader::Leading;
use crate::master::shared::Shared;
use crate::meta::query;
use crate::proto::error::RpcError;
use crate::proto::metadata::Liveness;
use crate::types::node::MemberChange;
use crate::types::{
    AdminState, Answer, Caller, Change, NodeId, Query, Refusal, RefusalKind, RequestId, StripeShape,
};

/// Data nodes in service that are not dead, besides one.
pub(super) fn in_service(leading: &Leading, besides: Option<NodeId>) -> u32 {
    let nodes = leading.view.nodes().filter(|node| {
        let in_service = node.row.admin == AdminState::InService;
        in_service && node.liveness != Liveness::Dead && Some(node.row.node) != besides
    });
    u32::try_from(nodes.count()).unwrap_or(u32::MAX)
}

/// Refuses a change for which there are too few, unless it was made already.
///
/// # Errors
/// [`RpcError::Refused`]; or who knows is not reached.
pub(super) async fn require(
    shared: &Shared,
    caller: Caller,
    (request, change): (RequestId, &Change),
) -> Result<(), RpcError> {
    let refused = match change {
        Change::SetPolicy { change, .. } => match change.ec {
            Some(shape) => for_stripes(shared, shape)?,
            None => None,
        },
        Change::Member(MemberChange::Decide { node, state, .. })
            if *state == AdminState::Draining =>
        {
            without(shared, caller, *node).await?
        }
        _ => None,
    };
    let Some(refusal) = refused else {
        return Ok(());
    };
    let reading = shared.read(Consistency::Linearizable).await?;
    let look = move |view: &View| query::is_answered(view, request);
    match shared.look(reading, look).await? {
        true => Ok(()),
        false => Err(refusal.into()),
    }
}

/// Under a policy of stripes nothing could be written as safely as it says.
fn for_stripes(shared: &Shared, shape: StripeShape) -> Result<Option<Refusal>, RpcError> {
    let there = shared.leading(|leading| in_service(leading, None))?;
    let needed = shape.members();
    if there as usize >= needed {
        return Ok(None);
    }
    let what = format!(
        "ec={shape} needs {needed} data nodes, there are {there} that are neither dead nor being \
         emptied; add data nodes, or choose a smaller K+M"
    );
    Ok(Some(Refusal::new(RefusalKind::TooFewReplicas, what)))
}

/// A data node could not be emptied: the others have no places for what it has.
async fn without(
    shared: &Shared,
    caller: Caller,
    node: NodeId,
) -> Result<Option<Refusal>, RpcError> {
    let reading = shared.read(Consistency::Stale).await?;
    let asked = Query::NodeDuties(node);
    let look = move |view: &View| query::answer(view, caller, &asked);
    // Who may not ask may not decide, and is told so then.
    let Ok(Answer::NodeDuties(duties)) = shared.look(reading, look).await? else {
        return Ok(None);
    };
    let others = shared.leading(|leading| in_service(leading, Some(node)))?;
    // Without the dead ones as well: then the decision itself is refused.
    if others >= duties.widest || duties.others < duties.widest {
        return Ok(None);
    }
    let (widest, chunks) = (duties.widest, duties.widest_chunks);
    let what = format!(
        "{node}: {widest} data nodes are needed, for {chunks} of all chunks; others in service \
         that are not dead: {others}"
    );
    Ok(Some(Refusal::new(RefusalKind::StillNeeded, what)))
}
