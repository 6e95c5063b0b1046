//! Certificates: those that this master issues to nodes, and its own.

use std::sync::Arc;

use dfs_raft::Consistency;
use dfs_raft::state::View;

use crate::env::Env;
use crate::master::shared::Shared;
use crate::meta::query::{self, Secret};
use crate::node::{JoinError, Papers, RENEWAL_PAUSE};
use crate::proto::enrol::IssuedPapers;
use crate::proto::error::RpcError;
use crate::security::{
    Authority, Certificate, KeyPair, NODE_CERTIFICATE_TTL, NodeIdentity, PublicKey, SecurityError,
};
use crate::types::{NodeKey, NodeRole, Refusal, RefusalKind};

/// Papers for a node whose key is known, as this master knows the nodes at this consistency.
pub(in crate::master) async fn issue(
    shared: &Shared,
    (node, role, key): (NodeKey, NodeRole, PublicKey),
    consistency: Consistency,
) -> Result<IssuedPapers, RpcError> {
    let cluster = shared.cluster().ok_or_else(|| shared.not_leading())?;
    let reading = shared.read(consistency).await?;
    let look = move |view: &View| {
        let is_node = query::is_enrolled(view, (node, role, key.0))?;
        Ok((is_node, query::authority(view)?))
    };
    let (is_node, authority) = shared.look(reading, look).await?;
    if !is_node {
        let what = "not, or no longer, a node";
        return Err(Refusal::new(RefusalKind::AccessDenied, what).into());
    }
    let Some(Secret { secret, public, .. }) = authority else {
        let what = "this cluster has no authority";
        return Err(RpcError::Unavailable(what.to_owned()));
    };
    let signing = KeyPair::from_secret(&secret.0).map_err(failed)?;
    let certificate = Certificate::from_der(public.clone());
    let authority = Authority::from_parts(cluster, signing, certificate);
    let identity = NodeIdentity {
        cluster,
        role,
        node,
    };
    let env = &shared.env;
    let good = (env.clock.now(), NODE_CERTIFICATE_TTL);
    let issued = authority.issue(&identity, &key, good, &*env.random);
    Ok(IssuedPapers {
        cluster,
        certificate: issued.map_err(failed)?.der().to_vec(),
        authority: public,
        masters: shared.masters(),
    })
}

fn failed(error: SecurityError) -> RpcError {
    RpcError::Internal(format!("no certificate could be made: {error}"))
}

/// Renews a master's own papers if it is time. It has the authority's key and need not ask
/// anybody, so that masters which were all off for longer than papers are good come back.
pub(in crate::master) async fn renew_if_due(
    shared: &Shared,
    papers: &mut Papers,
    env: &Env,
) -> Result<(), JoinError> {
    if !papers.rest(env).is_zero() {
        return Ok(());
    }
    let identity = papers.identity();
    let own = (identity.node, identity.role, papers.key());
    match issue(shared, own, Consistency::Stale).await {
        Ok(issued) => papers.renew(env, issued).await?,
        // It has just joined, and does not know itself yet.
        Err(_) => papers.renew_at(env, shared.masters()).await?,
    }
    tracing::info!("the papers of this master were renewed");
    Ok(())
}

/// Renews a master's own papers whenever it is time, for ever. `env` is the world without them.
pub(in crate::master) async fn keep_good(shared: Arc<Shared>, mut papers: Papers, env: Env) {
    loop {
        papers.due(&env).await;
        if let Err(error) = renew_if_due(&shared, &mut papers, &env).await {
            tracing::warn!(%error, "the papers of this master could not be renewed");
            tokio::time::sleep(RENEWAL_PAUSE).await;
        }
    }
}
