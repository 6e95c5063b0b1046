//! Who is, and who may be, a node of the cluster. It is for administrators.

use std::time::Duration;

use crate::client::{Client, mismatch};
use crate::error::{Error, ErrorKind, Result};
use crate::security::JoinToken;
use crate::types::node::{EnrolledNode, MemberChange, TokenId, TokenInfo};
use crate::types::{Answer, Change, NodeKey, NodeRole, Query};

/// How many nodes are asked for at a time.
const PAGE_LEN: u32 = 256;

/// What a join token is to be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// What one becomes with it.
    pub role: NodeRole,
    /// The node that gets new papers with it; none for nodes that are new.
    pub node: Option<NodeKey>,
    /// How often it can be used.
    pub uses: u32,
    /// How long.
    pub ttl: Duration,
    /// What it is for.
    pub label: String,
}

impl Client {
    /// Makes a join token. The cluster keeps a hash of it; whoever has it becomes a node.
    ///
    /// # Errors
    /// `Denied` for whoever is no administrator; `Invalid` without security, where no token is
    /// needed, and for what a token cannot be.
    pub async fn create_token(&self, request: TokenRequest) -> Result<(TokenId, JoinToken)> {
        let access = self.config().access.as_ref();
        let access = access.ok_or_else(|| {
            Error::invalid("this cluster has no security: whoever reaches it joins it")
        })?;
        let status = self.status().await?;
        let masters = status.masters.into_iter().map(|master| master.address);
        let random = &*self.inner.env.random;
        let token = JoinToken::generate(masters.collect(), access.authority(), random);
        let changed = self.change(Change::Member(MemberChange::CreateToken {
            hash: token.hash(),
            role: request.role,
            node: request.node,
            uses: request.uses,
            ttl: request.ttl,
            label: request.label,
        }));
        let id = changed.await?.token.ok_or_else(|| {
            let what = "a master made a token and did not say which";
            Error::new(ErrorKind::Internal, what)
        })?;
        Ok((id, token))
    }

    /// The join tokens that are good.
    ///
    /// # Errors
    /// `Denied` for whoever is no administrator.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>> {
        match self.ask(Query::JoinTokens).await? {
            Answer::JoinTokens(tokens) => Ok(tokens),
            other => Err(mismatch(&other)),
        }
    }

    /// All that got papers, by key: masters, nodes that never registered, and those that were
    /// revoked as well.
    ///
    /// # Errors
    /// `Denied` for whoever is no administrator; `Unavailable`.
    pub async fn enrolled_nodes(&self) -> Result<Vec<EnrolledNode>> {
        let mut nodes: Vec<EnrolledNode> = Vec::new();
        loop {
            let after = nodes.last().map(|node| node.key);
            let limit = PAGE_LEN;
            match self.ask(Query::EnrolledNodes { after, limit }).await? {
                Answer::EnrolledNodes(page) if page.is_empty() => return Ok(nodes),
                Answer::EnrolledNodes(page) => nodes.extend(page),
                other => return Err(mismatch(&other)),
            }
        }
    }

    /// Makes a join token void. Who has joined with it stays a node.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for whoever is no administrator.
    pub async fn revoke_token(&self, token: TokenId) -> Result<()> {
        let change = MemberChange::RevokeToken { token };
        self.change(Change::Member(change)).await.map(|_| ())
    }

    /// Makes a node one no more, for good: it is cut off and its papers are refused.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for whoever is no administrator.
    pub async fn revoke_node(&self, node: NodeKey) -> Result<()> {
        let change = MemberChange::RevokeNode { node };
        self.change(Change::Member(change)).await.map(|_| ())
    }

    /// Exchanges the key that the masters sign tickets and permits with, which they do by
    /// themselves every week. If somebody else has it, `void_former` makes void at once all that
    /// was signed so far, and everybody must log in again: clients that have keys do so by
    /// themselves.
    ///
    /// # Errors
    /// `Denied` for whoever is no administrator; `Invalid` without security, or if it was
    /// exchanged too often of late; `Unavailable`, and then its outcome may be unknown. Asked
    /// again it may be exchanged a second time.
    pub async fn exchange_signing_key(&self, void_former: bool) -> Result<()> {
        let metadata = &self.inner.metadata;
        metadata.exchange_signing_key(void_former).await
    }
}
