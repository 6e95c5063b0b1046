//! What can be said of a change without looking at the state.
//!
//! Called before a change is proposed, so that nonsense never reaches the log, and again when it
//! is applied, because the log of an older program may hold it.

use std::collections::{BTreeMap, BTreeSet};

use super::Rewrite;
use crate::types::change::{Commit, Piece};
use crate::types::limits::{
    CHUNK_SIZE_MAX, CONCAT_SOURCES_MAX, EXTENTS_REPLACED_MAX, FILE_LEN_MAX, INLINE_MAX,
    PATH_LEN_MAX, PIECES_PER_COMMIT_MAX, REPLICAS_MAX,
};
use crate::types::{
    Change, ChunkId, Location, NewChunk, NewStripe, Refusal, RefusalKind, RequestId,
};

/// The largest sequence of a request; far from where sums of sequences overflow.
const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// Checks the arguments of a change.
///
/// # Errors
/// What is wrong with them, whatever the state is.
pub fn validate(change: &Change) -> Result<(), Refusal> {
    match change {
        Change::Symlink { target, .. } => validate_target(target),
        Change::Truncate { size, .. } if *size > FILE_LEN_MAX => {
            Err(Refusal::new(RefusalKind::TooLarge, size))
        }
        Change::Commit(commit) => validate_commit(commit),
        Change::Concat { from, .. } => validate_sources(from),
        _ => Ok(()),
    }
}

/// Checks a request id.
///
/// # Errors
/// It contradicts itself.
pub fn validate_request(request: &RequestId) -> Result<(), Refusal> {
    let sequences = 1..=SEQUENCE_MAX;
    if !sequences.contains(&request.sequence) || request.answered_below > request.sequence {
        return Err(Refusal::new(RefusalKind::Invalid, request));
    }
    Ok(())
}

/// Checks a rewrite, and the commit that it is carried out as.
///
/// # Errors
/// What is wrong with it, whatever the state is.
pub(crate) fn validate_rewrite(rewrite: &Rewrite, commit: &Commit) -> Result<(), Refusal> {
    validate_commit(commit)?;
    let invalid = |what: &str| {
        let subject = format!("a rewrite of {} {what}", rewrite.inode);
        Err(Refusal::new(RefusalKind::Invalid, subject))
    };
    if !(1..=EXTENTS_REPLACED_MAX).contains(&rewrite.replaced.len()) {
        return invalid(&format!("in place of {} extents", rewrite.replaced.len()));
    }
    let mut end = rewrite.range().0;
    for replaced in &rewrite.replaced {
        if replaced.offset != end || replaced.length == 0 {
            return invalid("of bytes that do not follow each other");
        }
        end = end.saturating_add(replaced.length);
    }
    let new: BTreeSet<ChunkId> = rewrite.chunks.iter().map(|new| new.chunk).collect();
    let is_new = |piece: &Piece| matches!(piece, Piece::Chunk { chunk, .. } if new.contains(chunk));
    if !rewrite.pieces.iter().all(is_new) {
        return invalid("with bytes that are in no new chunk");
    }
    let length: u64 = rewrite.pieces.iter().map(Piece::length).sum();
    match rewrite.range().0.saturating_add(length) == end {
        true => Ok(()),
        false => invalid("by fewer bytes, or more"),
    }
}

fn validate_target(target: &str) -> Result<(), Refusal> {
    if target.len() > PATH_LEN_MAX {
        let subject = format!("a target of {} bytes", target.len());
        return Err(Refusal::new(RefusalKind::NameTooLong, subject));
    }
    if target.is_empty() || target.contains('\0') {
        return Err(Refusal::new(
            RefusalKind::Invalid,
            format!("the target {target:?}"),
        ));
    }
    Ok(())
}

fn validate_sources(from: &[Location]) -> Result<(), Refusal> {
    let (kind, subject) = match from.len() {
        0 => (RefusalKind::Invalid, "no files to concatenate".to_owned()),
        1..=CONCAT_SOURCES_MAX => return Ok(()),
        count => {
            let subject = format!("{count} files at once, more than {CONCAT_SOURCES_MAX}");
            (RefusalKind::TooLarge, subject)
        }
    };
    Err(Refusal::new(kind, subject))
}

fn validate_commit(commit: &Commit) -> Result<(), Refusal> {
    let invalid = |subject: String| Err(Refusal::new(RefusalKind::Invalid, subject));
    let counts = (commit.pieces.len(), commit.chunks.len());
    if counts.0.max(counts.1) > PIECES_PER_COMMIT_MAX {
        let subject = format!("a commit of {} pieces, {} chunks", counts.0, counts.1);
        return Err(Refusal::new(RefusalKind::TooLarge, subject));
    }
    let mut new: BTreeMap<ChunkId, &NewChunk> = BTreeMap::new();
    let members = validate_stripes(commit)?;
    for chunk in &commit.chunks {
        validate_chunk(chunk, members.contains(&chunk.chunk))?;
        if new.insert(chunk.chunk, chunk).is_some() {
            return invalid(format!("{} is twice in one commit", chunk.chunk));
        }
    }
    let mut parity = BTreeSet::new();
    for stripe in &commit.stripes {
        validate_members(stripe, &new)?;
        parity.extend(stripe.members.iter().skip(stripe.shape.data()).copied());
    }
    let (mut total, mut inline) = (0_u64, 0_u64);
    let mut used = BTreeSet::new();
    for piece in &commit.pieces {
        let length = piece.length();
        if length == 0 {
            return invalid("an empty piece".to_owned());
        }
        total = total.saturating_add(length);
        match piece {
            Piece::Inline(_) => inline += length,
            Piece::Chunk { chunk, .. } if parity.contains(chunk) => {
                return invalid(format!("a piece is of {chunk}, which is parity"));
            }
            Piece::Chunk { chunk, offset, .. } => {
                used.insert(*chunk);
                let end = offset.saturating_add(length);
                if end > new.get(chunk).map_or(CHUNK_SIZE_MAX, |chunk| chunk.length) {
                    return invalid(format!("a piece reaches beyond the end of {chunk}"));
                }
            }
        }
    }
    if total > FILE_LEN_MAX {
        return Err(Refusal::new(
            RefusalKind::TooLarge,
            format!("{total} bytes in one commit"),
        ));
    }
    if inline > u64::from(INLINE_MAX) {
        return Err(Refusal::new(
            RefusalKind::TooLarge,
            format!("{inline} bytes inline"),
        ));
    }
    used.extend(parity);
    match new.keys().find(|chunk| !used.contains(chunk)) {
        Some(chunk) => invalid(format!("no piece refers to {chunk}")),
        None => Ok(()),
    }
}

/// The members of a commit's stripes, which are of one stripe each.
fn validate_stripes(commit: &Commit) -> Result<BTreeSet<ChunkId>, Refusal> {
    let mut members = BTreeSet::new();
    for stripe in &commit.stripes {
        let wrong = |why: String| Refusal::new(RefusalKind::Invalid, why);
        stripe.validate().map_err(wrong)?;
        if let Some(twice) = stripe
            .members
            .iter()
            .find(|member| !members.insert(**member))
        {
            return Err(wrong(format!("{twice} is twice a member of stripes")));
        }
    }
    Ok(members)
}

/// Checks the chunks of a stripe: they have the lengths of its members, each is on one data node
/// of its own, and so many of them are stored that one may be lost. Only parity may lack.
fn validate_members(stripe: &NewStripe, new: &BTreeMap<ChunkId, &NewChunk>) -> Result<(), Refusal> {
    let invalid = |subject: String| Err(Refusal::new(RefusalKind::Invalid, subject));
    let (data, length) = (stripe.shape.data(), stripe.shard_length);
    let mut nodes = BTreeSet::new();
    for (index, id) in stripe.members.iter().enumerate() {
        let Some(chunk) = new.get(id) else {
            return invalid(format!("{id} is a member of a stripe and no new chunk"));
        };
        let fits = match index + 1 == data {
            true => chunk.length <= length,
            false => chunk.length == length,
        };
        if !fits {
            let is = chunk.length;
            return invalid(format!("{id} has {is} bytes in a stripe of {length} each"));
        }
        match chunk.replicas.as_slice() {
            [] if index >= data => {}
            [node] if nodes.insert(*node) => {}
            other => return invalid(format!("{id} of a stripe is on {other:?}")),
        }
    }
    match nodes.len() > data {
        true => Ok(()),
        false => invalid(format!(
            "a stripe of {} on {} data nodes has nothing to spare",
            stripe.shape,
            nodes.len()
        )),
    }
}

fn validate_chunk(new: &NewChunk, is_member: bool) -> Result<(), Refusal> {
    let distinct: BTreeSet<_> = new.replicas.iter().collect();
    let chunk = new.chunk;
    let wrong = if !(1..=CHUNK_SIZE_MAX).contains(&new.length) {
        format!("{chunk} of {} bytes", new.length)
    } else if !is_member && !(1..=usize::from(REPLICAS_MAX)).contains(&new.replicas.len()) {
        format!("{chunk} with {} replicas", new.replicas.len())
    } else if distinct.len() != new.replicas.len() {
        format!("{chunk} has two replicas on one data node")
    } else {
        return Ok(());
    };
    Err(Refusal::new(RefusalKind::Invalid, wrong))
}
