//! Maps that are cheap to copy, to compare and to hash, for states of which there are many that
//! differ in little: copies share what they have in common, and each map carries a print of what
//! is in it, which changes with each entry.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A map that is copied when it is changed while another has it, too.
#[derive(Debug, Clone)]
pub(super) struct Shared<K, V> {
    entries: Arc<BTreeMap<K, V>>,
    /// The sum of the hashes of all entries.
    print: u64,
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        let entries = Arc::default();
        Shared { entries, print: 0 }
    }
}

/// Unequal prints say that maps differ; equal ones do not say that they do not.
impl<K: Eq, V: Eq> PartialEq for Shared<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print && self.entries == other.entries
    }
}

impl<K: Eq, V: Eq> Eq for Shared<K, V> {}

impl<K, V> Hash for Shared<K, V> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.print.hash(hasher);
    }
}

impl<K: Ord + Hash + Clone, V: Hash + Clone> Shared<K, V> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.print = self.print.wrapping_add(print(&key, &value));
        let before = Arc::make_mut(&mut self.entries).insert(key.clone(), value);
        if let Some(before) = &before {
            self.print = self.print.wrapping_sub(print(&key, before));
        }
        before
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (key, value) = Arc::make_mut(&mut self.entries).remove_entry(key)?;
        self.print = self.print.wrapping_sub(print(&key, &value));
        Some(value)
    }

    /// Changes what a key has, if it has something.
    pub(super) fn change<R>(&mut self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let value = Arc::make_mut(&mut self.entries).get_mut(key)?;
        let before = print(key, value);
        let changed = change(value);
        self.print = self
            .print
            .wrapping_sub(before)
            .wrapping_add(print(key, value));
        Some(changed)
    }
}

fn print(key: &impl Hash, value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    value.hash(&mut hasher);
    hasher.finish()
}

/// A map from numbers, most of which are near each other; copies share all but the parts that
/// were changed since.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Numbered<V: Eq>(Shared<u64, Shared<u64, V>>);

/// The numbers of one part differ in so many bits.
const PART_BITS: u32 = 5;

impl<V: Eq> Default for Numbered<V> {
    fn default() -> Self {
        Numbered(Shared::default())
    }
}

impl<V: Eq + Hash + Clone> Numbered<V> {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|(_, part)| part.iter().count()).sum()
    }

    pub(super) fn get(&self, number: u64) -> Option<&V> {
        self.0.get(&(number >> PART_BITS))?.get(&number)
    }

    pub(super) fn insert(&mut self, number: u64, value: V) -> Option<V> {
        let part = number >> PART_BITS;
        if self.0.get(&part).is_none() {
            self.0.insert(part, Shared::default());
        }
        let insert = |part: &mut Shared<u64, V>| part.insert(number, value);
        self.0.change(&part, insert).flatten()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<V> {
        let part = number >> PART_BITS;
        let (is_empty, removed) = self.0.change(&part, |part| {
            let removed = part.remove(&number);
            (part.is_empty(), removed)
        })?;
        if is_empty {
            self.0.remove(&part);
        }
        removed
    }

    /// Changes what a number has, if it has something.
    pub(super) fn change<R>(&mut self, number: u64, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let part = number >> PART_BITS;
        let change = |part: &mut Shared<u64, V>| part.change(&number, change);
        self.0.change(&part, change).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_with_the_same_entries_are_equal_and_have_one_print_however_they_came_to_be() {
        let mut one = Numbered::default();
        let mut other = Numbered::default();
        for number in 0..100 {
            one.insert(number, "a");
            other.insert(99 - number, "b");
        }
        let copy = one.clone();
        assert_ne!(one, other);
        for number in 0..100 {
            assert_eq!(
                other.change(number, |it| std::mem::replace(it, "a")),
                Some("b")
            );
        }
        assert_eq!((&one, one.0.print), (&other, other.0.print));
        for number in 0..100 {
            assert_eq!((one.remove(number), one.remove(number)), (Some("a"), None));
            assert_eq!(other.insert(number, "c"), Some("a"));
            assert_eq!(other.remove(number), Some("c"));
        }
        assert_eq!((&one, one.0.print), (&Numbered::default(), 0));
        assert_eq!((&other, other.0.print), (&one, 0));
        assert_eq!((copy.get(42), copy.get(100)), (Some(&"a"), None));
    }
}
