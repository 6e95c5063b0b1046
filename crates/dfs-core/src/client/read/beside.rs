//! What of a stripe is made together, because a part of it is lost and the rest is wanted too.
//!
//! ```text
//! file       |----- d0 -----|----- d1 -----|----- d2 -----|----- d3 -----|     d0 and d1 are lost
//! now due         ├─────┤
//! set aside                      ├─────┤        ├─────┤        ├─────┤         the same columns
//! read                                           d2             d3             p0, p1
//! ```
//!
//! Each column of a stripe is read once and decoded once, however many of its data is lost. What
//! is wanted later waits in memory for its turn, and is counted there: of what may be read ahead
//! no more than three quarters, so that who reads something else gets on. What finds no room is
//! read when it is due, and made by itself if it is lost.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::super::Client;
use super::super::budget::Hold;
use super::fetch::{self, Fetched, Loss, Piece};
use super::{Coming, RangeReader, What};
use crate::types::StripeLayout;

/// Of how many bytes that may be read ahead so many may wait for their turn.
pub(in crate::client) fn aside_max(read_bytes: u64) -> u64 {
    read_bytes / 4 * 3
}

/// A piece that is made together with another, and where to it is handed over.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) piece: Piece,
    to: oneshot::Sender<Vec<Bytes>>,
}

impl Beside {
    /// Gives its bytes to whoever waits for them; nobody does when the reader is gone.
    pub(super) fn hand_over(self, parts: Vec<Bytes>) {
        self.to.send(parts).ok();
    }
}

/// Parts on their way, by where in the file they are: those that are not due yet.
#[derive(Debug, Default)]
pub(super) struct Aside {
    parts: BTreeMap<u64, Coming>,
}

impl Aside {
    /// The part that begins at `position`.
    pub(super) fn take(&mut self, position: u64) -> Option<Coming> {
        self.parts.remove(&position)
    }

    /// Where the next of them begins, from `position` on.
    pub(super) fn next(&self, position: u64) -> Option<u64> {
        self.parts.range(position..).next().map(|(next, _)| *next)
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
    }

    /// Forgets those that have not come yet.
    pub(super) fn keep_come(&mut self) {
        self.parts.retain(|_, part| match &part.what {
            What::Fetching { task, .. } => task.is_finished(),
            What::Zeroes | What::Ready(_) => true,
        });
    }

    /// Whether some of the bytes are there.
    fn overlaps(&self, position: u64, length: u64) -> bool {
        let before = self.parts.range(..position.saturating_add(length));
        let last = before.last();
        last.is_some_and(|(begin, part)| begin.saturating_add(part.length) > position)
    }
}

/// A piece at a position of the file, and the memory that it takes until it is due.
struct Planned {
    position: u64,
    piece: Piece,
    holds: Vec<Hold>,
}

impl RangeReader {
    /// Sets aside what is to be made together with the piece that is fetched next. Nothing if all
    /// of it can be read.
    pub(super) fn set_aside(&mut self, piece: &Piece) -> Vec<Beside> {
        let planned = piece
            .stripe
            .as_ref()
            .filter(|stripe| can_be_made(&self.client, stripe))
            .map(|_| self.plan(piece));
        let mut beside = Vec::new();
        for Planned {
            position,
            piece,
            holds,
        } in planned.into_iter().flatten()
        {
            let (to, coming) = oneshot::channel();
            let (client, own) = (self.client.clone(), piece.clone());
            let length = piece.range.length;
            let task = tokio::spawn(async move {
                match coming.await {
                    Ok(parts) => Ok(Fetched::Read(parts)),
                    // It was not to be made: it is fetched as others are.
                    Err(_) => fetch::fetch(&client, &own, Vec::new(), Loss::Make).await,
                }
            });
            let what = What::Fetching {
                task: AbortOnDropHandle::new(task),
                _holds: holds,
            };
            self.aside.parts.insert(position, Coming { length, what });
            beside.push(Beside { piece, to });
        }
        beside
    }

    /// Which pieces beside this one there is something to gain from, and room for. Of all that is
    /// lost; of what is not, where it is read anyway.
    fn plan(&self, piece: &Piece) -> Vec<Planned> {
        let is_lost = |piece: &Piece| piece.is_lost(&self.client);
        let mut others = self.window.beside(piece, self.scheduled, self.end);
        others.retain(|(at, other)| !self.aside.overlaps(*at, other.range.length));
        others.sort_by_key(|(_, other)| !is_lost(other));
        let must_make = is_lost(piece);
        if !must_make && !others.first().is_some_and(|(_, other)| is_lost(other)) {
            return Vec::new();
        }
        let mut planned = Vec::new();
        for (position, piece) in others {
            match self.client.hold_aside(piece.range.length) {
                Some(holds) => planned.push(Planned {
                    position,
                    piece,
                    holds,
                }),
                // What is here is read alone where what is lost cannot be kept.
                None if !must_make && is_lost(&piece) => return Vec::new(),
                None => {}
            }
        }
        planned
    }
}

impl Client {
    /// Memory for bytes that wait for their turn.
    fn hold_aside(&self, bytes: u64) -> Option<Vec<Hold>> {
        let share = self.inner.aside_budget.try_take(bytes)?;
        let hold = self.inner.read_budget.try_take(bytes)?;
        Some(vec![share, hold])
    }
}

/// Whether some of the data is lost, and enough is left to make it of.
fn can_be_made(client: &Client, stripe: &StripeLayout) -> bool {
    let nodes = &client.inner.nodes;
    let lost: Vec<bool> = stripe
        .members
        .iter()
        .map(|member| member.replicas.iter().all(|node| nodes.is_suspect(*node)))
        .collect();
    let left = lost.iter().filter(|lost| !**lost).count();
    lost.iter().take(stripe.shape.data()).any(|lost| *lost) && left >= stripe.shape.data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_set_aside_once() {
        let mut aside = Aside::default();
        for (position, length) in [(100, 10), (200, 10)] {
            let what = What::Zeroes;
            aside.parts.insert(position, Coming { length, what });
        }
        let places = [
            (90, 10),
            (90, 11),
            (100, 10),
            (109, 50),
            (110, 90),
            (150, 100),
        ];
        let overlaps = places.map(|(position, length)| aside.overlaps(position, length));
        assert_eq!(overlaps, [false, true, true, true, false, true]);
        assert_eq!(
            [0, 100, 101, 201].map(|p| aside.next(p)),
            [Some(100), Some(100), Some(200), None]
        );
        assert_eq!(aside.take(100).map(|part| part.length), Some(10));
        assert!(aside.take(105).is_none());
        assert!(!aside.overlaps(100, 10));
    }
}
