//! The part of a file's extent map that a reader holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::fetch::Piece;
use super::renewal::Renewal;
use crate::types::query::{Layout, LayoutExtent, LayoutSource};
use crate::types::{Attr, ByteRange, ChunkId, Permit, StripeLayout};

/// A layout whose permit is older is asked for anew, if a master answers.
const PERMIT_AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// What comes at a position of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Zeroes, this many.
    Hole(u64),
    /// These bytes.
    Inline(Bytes),
    /// Bytes of a chunk.
    Chunk(Piece),
    /// It is not known: the map must be asked for from here on.
    Unknown,
}

/// The extents of a range of a file.
#[derive(Debug)]
pub(in crate::client) struct Window {
    pub(in crate::client) attr: Attr,
    /// By offset, without overlaps.
    extents: Vec<LayoutExtent>,
    /// What they, and holes, cover.
    covers: ByteRange,
    /// What lets us read the chunks.
    permit: Permit,
    /// The stripes that chunks are members of.
    stripes: BTreeMap<ChunkId, Arc<StripeLayout>>,
    since: Instant,
    /// What comes in its place.
    pub(super) renewal: Renewal,
}

impl Window {
    /// The answer to a question for the extents of `asked`. None if the answer makes no sense:
    /// extents that overlap, or more to come after none.
    pub(in crate::client) fn new(layout: Layout, asked: ByteRange) -> Option<Window> {
        let Layout {
            attr,
            extents,
            more,
            permit,
            stripes,
        } = layout;
        let in_order = extents.iter().zip(extents.iter().skip(1)).all(|(a, b)| {
            a.offset
                .checked_add(a.length)
                .is_some_and(|end| end <= b.offset)
        });
        if !in_order || extents.iter().any(|extent| !is_sound(extent)) {
            return None;
        }
        let end = match (more, extents.last()) {
            (false, _) => asked.end(),
            (true, Some(last)) => last.offset.saturating_add(last.length),
            (true, None) => return None,
        };
        if end <= asked.offset && more {
            return None;
        }
        let covers = ByteRange::new(asked.offset, end.saturating_sub(asked.offset));
        if stripes.iter().any(|stripe| !stripe.is_sound()) {
            return None;
        }
        let stripes = stripes.into_iter().map(Arc::new).flat_map(|stripe| {
            let members = stripe.members.iter().map(|member| member.chunk);
            let members: Vec<ChunkId> = members.collect();
            members
                .into_iter()
                .map(move |member| (member, stripe.clone()))
        });
        Some(Window {
            attr,
            extents,
            covers,
            permit,
            stripes: stripes.collect(),
            since: Instant::now(),
            renewal: Renewal::new(),
        })
    }

    /// The part of the file that it is of.
    pub(super) fn covers(&self) -> ByteRange {
        self.covers
    }

    /// Whether its permit ends soon, and another should be asked for.
    pub(super) fn is_old(&self) -> bool {
        !self.permit.is_empty() && self.since.elapsed() >= PERMIT_AGE_MAX
    }

    /// What comes at `position`: at most `length` bytes of it.
    pub(super) fn part_at(&self, position: u64, length: u64) -> Part {
        if position < self.covers.offset || position >= self.covers.end() {
            return Part::Unknown;
        }
        let length = length.min(self.covers.end() - position);
        let after = self
            .extents
            .partition_point(|extent| extent.offset <= position);
        if let Some(extent) = after.checked_sub(1).and_then(|i| self.extents.get(i)) {
            let within = position - extent.offset;
            if let Some(left) = extent.length.checked_sub(within).filter(|left| *left > 0) {
                return self.part_of(extent, within, length.min(left));
            }
        }
        match self.extents.get(after) {
            Some(next) => Part::Hole(length.min(next.offset - position)),
            None => Part::Hole(length),
        }
    }

    fn part_of(&self, extent: &LayoutExtent, within: u64, length: u64) -> Part {
        match &extent.source {
            LayoutSource::Inline(bytes) => {
                let begin = usize::try_from(within).unwrap_or(usize::MAX);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let begin = begin.min(bytes.len());
                let end = begin.saturating_add(length).min(bytes.len());
                Part::Inline(bytes.slice(begin..end))
            }
            LayoutSource::Chunk {
                chunk,
                offset,
                length: chunk_length,
                replicas,
            } => Part::Chunk(Piece {
                chunk: *chunk,
                chunk_length: *chunk_length,
                range: ByteRange::new(offset.saturating_add(within), length),
                replicas: replicas.clone(),
                permit: self.permit.clone(),
                stripe: self.stripes.get(chunk).cloned(),
            }),
        }
    }

    /// The same columns of the data of its stripe that comes after a piece at `position`, as far
    /// as it is before `end`, and where in the file it is.
    pub(super) fn beside(&self, piece: &Piece, position: u64, end: u64) -> Vec<(u64, Piece)> {
        let Some(stripe) = &piece.stripe else {
            return Vec::new();
        };
        // A stripe goes no further, unless its bytes are in another order in this file.
        let whole = stripe.shard_length.saturating_mul(stripe.shape.data.into());
        let end = end.min(position.saturating_add(whole));
        let end = end.min(self.covers.end());
        let after = self.extents.partition_point(|e| e.offset <= position);
        let extents = self.extents.iter().skip(after);
        let extents = extents.take_while(|extent| extent.offset < end);
        let same = extents.filter_map(|extent| {
            let LayoutSource::Chunk { chunk, offset, .. } = &extent.source else {
                return None;
            };
            let index = stripe.index_of(*chunk)?;
            let from = piece.range.offset.max(*offset);
            let to = offset.saturating_add(extent.length).min(piece.range.end());
            let within = from - offset;
            let at = extent.offset.saturating_add(within);
            let length = to.saturating_sub(from).min(end.saturating_sub(at));
            match self.part_of(extent, within, length) {
                Part::Chunk(same) if index < stripe.shape.data() && length > 0 => Some((at, same)),
                _ => None,
            }
        });
        same.collect()
    }

    /// Inline bytes that end the file, and where they begin; none also if the end is not known.
    pub(in crate::client) fn inline_tail(&self) -> Option<(u64, Vec<Bytes>)> {
        if self.covers.end() < self.attr.size {
            return None;
        }
        let mut begins = self.attr.size;
        let mut parts = Vec::new();
        for extent in self.extents.iter().rev() {
            match &extent.source {
                LayoutSource::Inline(bytes)
                    if extent.offset.checked_add(extent.length) == Some(begins) =>
                {
                    begins = extent.offset;
                    parts.push(bytes.clone());
                }
                _ => break,
            }
        }
        parts.reverse();
        (!parts.is_empty()).then_some((begins, parts))
    }
}

/// Whether an extent can be what it says.
fn is_sound(extent: &LayoutExtent) -> bool {
    let ends = extent.offset.checked_add(extent.length).is_some();
    ends && extent.length > 0
        && match &extent.source {
            LayoutSource::Inline(bytes) => bytes.len() as u64 == extent.length,
            LayoutSource::Chunk { offset, length, .. } => offset
                .checked_add(extent.length)
                .is_some_and(|end| end <= *length),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::attr;
    use crate::types::stripe::{Code, StripeMember};
    use crate::types::{NodeId, StripeShape};

    fn inline(offset: u64, bytes: &'static str) -> LayoutExtent {
        LayoutExtent {
            offset,
            length: bytes.len() as u64,
            source: LayoutSource::Inline(Bytes::from_static(bytes.as_bytes())),
        }
    }

    fn chunk(offset: u64, length: u64) -> LayoutExtent {
        LayoutExtent {
            offset,
            length,
            source: LayoutSource::Chunk {
                chunk: ChunkId(7),
                offset: 5,
                length: 5 + length,
                replicas: vec![NodeId(1)],
            },
        }
    }

    fn window(extents: Vec<LayoutExtent>, more: bool) -> Option<Window> {
        let mut attr = attr();
        attr.size = 100;
        let layout = Layout {
            attr,
            extents,
            more,
            permit: Permit::default(),
            stripes: Vec::new(),
        };
        Window::new(layout, ByteRange::new(0, 100))
    }

    #[test]
    fn a_position_is_in_an_extent_or_in_a_hole() {
        let window = window(vec![chunk(10, 20), inline(30, "abc")], false);
        let at = |position, length| window.as_ref().map(|w| w.part_at(position, length));
        assert_eq!(at(0, 100), Some(Part::Hole(10)));
        assert_eq!(at(31, 100), Some(Part::Inline(Bytes::from_static(b"bc"))));
        assert_eq!(at(33, 100), Some(Part::Hole(67)));
        assert_eq!(at(100, 1), Some(Part::Unknown));
        let Some(Part::Chunk(piece)) = at(12, 4) else {
            panic!("a chunk covers it");
        };
        assert_eq!(piece.range, ByteRange::new(7, 4));
    }

    #[test]
    fn what_was_cut_is_unknown_and_no_hole() {
        let window = window(vec![chunk(10, 20)], true);
        assert_eq!(window.map(|w| w.part_at(30, 1)), Some(Part::Unknown));
    }

    #[test]
    fn the_same_columns_of_a_stripe_are_found_wherever_the_file_has_them() {
        let of = |id, offset, length, within| {
            let mut extent = chunk(offset, length);
            extent.source = LayoutSource::Chunk {
                chunk: ChunkId(id),
                offset: within,
                length: 64,
                replicas: vec![NodeId(1)],
            };
            extent
        };
        let member = |id| StripeMember {
            chunk: ChunkId(id),
            length: 64,
            checksum: 0,
            replicas: vec![NodeId(1)],
        };
        let stripe = StripeLayout {
            code: Code::Leopard16,
            shape: StripeShape { data: 3, parity: 1 },
            shard_length: 64,
            members: (1..=4).map(member).collect(),
        };
        // Of the second member the middle was overwritten; another file's chunk follows.
        let extents = vec![
            of(1, 0, 64, 0),
            of(2, 64, 16, 0),
            of(9, 80, 20, 0),
            of(2, 100, 28, 36),
            of(3, 128, 64, 0),
        ];
        let mut attr = attr();
        attr.size = 192;
        let layout = Layout {
            attr,
            extents,
            more: false,
            permit: Permit::default(),
            stripes: vec![stripe],
        };
        let Some(window) = Window::new(layout, ByteRange::new(0, 192)) else {
            panic!("it makes sense");
        };
        let beside = |position, length, end| {
            let Part::Chunk(piece) = window.part_at(position, length) else {
                panic!("a chunk is at {position}");
            };
            let beside = window.beside(&piece, position, end);
            let places = beside.into_iter().map(|(at, piece)| {
                let range = piece.range;
                (at, piece.chunk.0, range.offset, range.length)
            });
            places.collect::<Vec<_>>()
        };
        let whole = [(64, 2, 0, 16), (100, 2, 36, 28), (128, 3, 0, 64)];
        assert_eq!(beside(0, 64, 192), whole);
        assert_eq!(
            beside(10, 30, 192),
            [(74, 2, 10, 6), (100, 2, 36, 4), (138, 3, 10, 30)]
        );
        assert_eq!(
            beside(10, 30, 140),
            [(74, 2, 10, 6), (100, 2, 36, 4), (138, 3, 10, 2)]
        );
        assert_eq!(beside(10, 30, 70), []);
        assert_eq!(beside(130, 30, 192), []);
        assert_eq!(beside(80, 20, 192), []);
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_refused() {
        assert!(window(vec![chunk(10, 20), chunk(29, 1)], false).is_none());
        assert!(window(vec![inline(5, "")], false).is_none());
        assert!(window(Vec::new(), true).is_none());
    }

    #[test]
    fn inline_bytes_at_the_end_are_found_back_to_a_chunk() {
        let extents = vec![
            inline(0, "x"),
            chunk(10, 84),
            inline(94, "abc"),
            inline(97, "def"),
        ];
        let tail = window(extents, false).and_then(|w| w.inline_tail());
        let expected = vec![Bytes::from_static(b"abc"), Bytes::from_static(b"def")];
        assert_eq!(tail, Some((94, expected)));
        assert_eq!(
            window(vec![inline(0, "x")], false).and_then(|w| w.inline_tail()),
            None
        );
    }
}
