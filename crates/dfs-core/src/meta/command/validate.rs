//! What can be said of a change without looking at the state.
//!
//! Called before a change is proposed, so that nonsense never reaches the log, and again when it
//! is applied, because the log of an older program may hold it.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::change::{Commit, Piece};
use crate::types::limits::{
    CHUNK_SIZE_MAX, CONCAT_SOURCES_MAX, FILE_LEN_MAX, INLINE_MAX, PATH_LEN_MAX,
    PIECES_PER_COMMIT_MAX, REPLICAS_MAX,
};
use crate::types::{Change, ChunkId, Location, NewChunk, Refusal, RefusalKind, RequestId};

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
    for chunk in &commit.chunks {
        validate_chunk(chunk)?;
        if new.insert(chunk.chunk, chunk).is_some() {
            return invalid(format!("{} is twice in one commit", chunk.chunk));
        }
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
    match new.keys().find(|chunk| !used.contains(chunk)) {
        Some(chunk) => invalid(format!("no piece refers to {chunk}")),
        None => Ok(()),
    }
}

fn validate_chunk(new: &NewChunk) -> Result<(), Refusal> {
    let distinct: BTreeSet<_> = new.replicas.iter().collect();
    let chunk = new.chunk;
    let wrong = if !(1..=CHUNK_SIZE_MAX).contains(&new.length) {
        format!("{chunk} of {} bytes", new.length)
    } else if !(1..=usize::from(REPLICAS_MAX)).contains(&new.replicas.len()) {
        format!("{chunk} with {} replicas", new.replicas.len())
    } else if distinct.len() != new.replicas.len() {
        format!("{chunk} has two replicas on one data node")
    } else {
        return Ok(());
    };
    Err(Refusal::new(RefusalKind::Invalid, wrong))
}
