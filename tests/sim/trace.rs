//! What happened, as one number: runs of one seed have the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes down everything that happens, in order. Clones are the same trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<AtomicU64>);

impl Trace {
    /// Adds something that happened.
    pub(crate) fn note<const N: usize>(&self, what: [u64; N]) {
        let mut hash = self.0.load(Ordering::Relaxed);
        for word in what {
            hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        self.0.store(hash, Ordering::Relaxed);
    }

    /// Adds some text.
    pub(crate) fn note_text(&self, text: &str) {
        for piece in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.note([u64::from_le_bytes(word)]);
        }
    }

    /// All of it.
    pub(crate) fn hash(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
