//! What an operation touches: two that touch nothing in common give the same in either order.

/// Something that operations read and change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// What a name in a directory leads to.
    Name(u64, String),
    /// The attributes of an item; of a directory the set of its names, too. Changes of it add
    /// and take away, so they can be exchanged for each other.
    Node(u64),
    /// Where a directory is.
    Place(u64),
    /// An entry of the trash, by the cluster's id, whether it is there or not.
    Trash(u64),
}

/// All that an operation reads and changes.
#[derive(Debug, Clone, Default)]
pub struct Footprint {
    wanted: bool,
    reads: Vec<Key>,
    changes: Vec<Key>,
}

impl Footprint {
    pub(super) fn on() -> Footprint {
        Footprint {
            wanted: true,
            ..Footprint::default()
        }
    }

    pub(super) fn off() -> Footprint {
        Footprint::default()
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub(super) fn read(&mut self, key: impl FnOnce() -> Key) {
        if self.wanted {
            self.reads.push(key());
        }
    }

    pub(super) fn change(&mut self, key: impl FnOnce() -> Key) {
        if self.wanted {
            self.changes.push(key());
        }
    }

    /// Whether the order of the two may matter.
    pub fn meets(&self, other: &Footprint) -> bool {
        let sees = |reads: &[Key], changes: &[Key]| reads.iter().any(|key| changes.contains(key));
        let overwrites = |key: &Key| !matches!(key, Key::Node(_)) && other.changes.contains(key);
        sees(&self.reads, &other.changes)
            || sees(&other.reads, &self.changes)
            || self.changes.iter().any(overwrites)
    }
}
