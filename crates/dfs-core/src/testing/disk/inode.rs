//! What a file holds, what of it is durable, and what a loss of power leaves.

use std::collections::BTreeSet;
use std::ops::Range;

use super::PAGE;
use crate::env::{Random, SeededRandom};

const SECTOR: u64 = 512;

#[derive(Debug, Default, Clone)]
pub(super) struct Inode {
    pub(super) current: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) unsynced: Vec<Change>,
    pub(super) pages: BTreeSet<u64>,
    pub(super) unreadable: Range<u64>,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Bytes(u64, Vec<u8>),
    Length(u64),
    Hole(u64, u64),
}

impl Inode {
    pub(super) fn apply(bytes: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Bytes(offset, new) => {
                let (start, end) = (*offset as usize, *offset as usize + new.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(new);
            }
            Change::Length(length) => bytes.resize(*length as usize, 0),
            Change::Hole(offset, length) => {
                let end = (offset + length).min(bytes.len() as u64) as usize;
                if let Some(hole) = bytes.get_mut(*offset as usize..end) {
                    hole.fill(0);
                }
            }
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        Inode::apply(&mut self.current, &change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            Inode::apply(&mut self.durable, &change);
        }
    }

    /// Keeps a random part of what was not synced.
    pub(super) fn lose(&mut self, random: &SeededRandom) {
        for change in std::mem::take(&mut self.unsynced) {
            match (random.below(3), change) {
                (0, _) => {}
                (1, Change::Bytes(offset, bytes)) => {
                    // Each sector by itself is old or new.
                    let mut at = 0;
                    while at < bytes.len() as u64 {
                        let sector_end = (offset + at) / SECTOR * SECTOR + SECTOR - offset;
                        let end = sector_end.min(bytes.len() as u64);
                        if random.below(2) == 0 {
                            let part = bytes[at as usize..end as usize].to_vec();
                            let torn = Change::Bytes(offset + at, part);
                            Inode::apply(&mut self.durable, &torn);
                        }
                        at = end;
                    }
                }
                (_, change) => Inode::apply(&mut self.durable, &change),
            }
        }
        self.current = self.durable.clone();
        // Room that was reserved is given back by a crash; it is only an account here.
        self.pages = (0..(self.current.len() as u64).div_ceil(PAGE)).collect();
    }
}
