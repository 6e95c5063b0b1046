//! Tables hold what was put, in order, and undo what was refused.
#![allow(clippy::indexing_slicing, reason = "a bad index fails the test")]

use std::collections::BTreeMap;

use super::*;
use crate::env::{Random, SeededRandom};
use crate::error::Fatal;

const NAMES: &[&str] = &["numbers", "pairs"];
const NUMBERS: Table<u64, String> = Table::new(0, "numbers");
const PAIRS: Table<(u64, String), u64> = Table::new(1, "pairs");

fn rows(state: &impl ReadState) -> Result<Vec<(u64, String)>, Fatal> {
    state.scan(NUMBERS, ..)?.collect()
}

#[test]
fn what_a_batch_puts_is_seen_by_later_views_and_not_by_earlier_ones() -> Result<(), Fatal> {
    let db = StateDb::in_memory(NAMES)?;
    let before = db.view()?;
    db.write(false, |state, _| {
        state.put(NUMBERS, &7, &"seven".to_owned())
    })?;
    assert_eq!(before.get(NUMBERS, &7)?, None);
    assert_eq!(db.view()?.get(NUMBERS, &7)?, Some("seven".to_owned()));
    Ok(())
}

#[test]
fn a_view_outlives_its_database() -> Result<(), Fatal> {
    let db = StateDb::in_memory(NAMES)?;
    db.write(false, |state, _| {
        (0..2000).try_for_each(|n| state.put(NUMBERS, &n, &n.to_string()))
    })?;
    let (view, notes) = db.view_with_notes()?;
    let digest = db.digest()?;
    let mut sealed = view.clone().sealed_rows(0, std::ops::Bound::Unbounded)?;
    drop(db);
    assert_eq!(rows(&view)?.len(), 2000);
    assert_eq!(notes.digest()?, digest);
    assert_eq!(StateDb::recompute_digest(&view)?, digest);
    drop((view, notes));
    assert_eq!(
        sealed.try_fold(0, |count, row| row.map(|_| count + 1))?,
        2000
    );
    Ok(())
}

#[test]
fn undo_takes_back_what_came_after_keep_and_nothing_else() -> Result<(), Fatal> {
    let db = StateDb::in_memory(NAMES)?;
    db.write(false, |state, _| {
        state.put(NUMBERS, &1, &"one".to_owned())?;
        state.keep();
        state.put(NUMBERS, &1, &"uno".to_owned())?;
        state.put(NUMBERS, &2, &"two".to_owned())?;
        state.remove(NUMBERS, &1)?;
        state.undo();
        Ok(())
    })?;
    assert_eq!(rows(&db.view()?)?, [(1, "one".to_owned())]);
    Ok(())
}

#[test]
fn a_failed_batch_changes_nothing() -> Result<(), Fatal> {
    let db = StateDb::in_memory(NAMES)?;
    let result: Result<(), Fatal> = db.write(false, |state, _| {
        state.put(NUMBERS, &1, &"one".to_owned())?;
        Err(Fatal::new("no"))
    });
    assert!(result.is_err());
    assert_eq!(rows(&db.view()?)?, []);
    assert_eq!(db.digest()?, Digest::default());
    Ok(())
}

#[test]
fn a_prefix_scan_gives_exactly_the_rows_of_its_prefix() -> Result<(), Fatal> {
    let db = StateDb::in_memory(NAMES)?;
    db.write(false, |state, _| {
        for (parent, name) in [(1, "z"), (2, ""), (2, "a"), (2, "\u{10ffff}"), (3, "a")] {
            state.put(PAIRS, &(parent, name.to_owned()), &parent)?;
        }
        Ok(())
    })?;
    let view = db.view()?;
    let found: Vec<_> = view.scan_prefix(PAIRS, &2_u64)?.collect::<Result<_, _>>()?;
    let names: Vec<_> = found.iter().map(|((_, name), _)| name.as_str()).collect();
    assert_eq!(names, ["", "a", "\u{10ffff}"]);
    assert_eq!(view.scan_prefix(PAIRS, &u64::MAX)?.count(), 0);
    Ok(())
}

#[test]
fn a_batch_reads_its_own_writes_in_both_directions_like_a_map() -> Result<(), Fatal> {
    let seed = 42;
    let random = SeededRandom::new(seed);
    let db = StateDb::in_memory(NAMES)?;
    let mut model = BTreeMap::new();
    for batch in 0..30 {
        db.write(false, |state, _| {
            for _ in 0..20 {
                let key = random.below(40);
                if random.below(3) == 0 {
                    model.remove(&key);
                    state.remove(NUMBERS, &key)?;
                } else {
                    let value = format!("{batch}-{}", random.below(100));
                    model.insert(key, value.clone());
                    state.put(NUMBERS, &key, &value)?;
                }
                let (a, b) = (random.below(40), random.below(40));
                let (low, high) = (a.min(b), a.max(b));
                let forward: Vec<_> = state.scan(NUMBERS, low..high)?.collect::<Result<_, _>>()?;
                let expected: Vec<_> = model
                    .range(low..high)
                    .map(|(k, v)| (*k, v.clone()))
                    .collect();
                assert_eq!(forward, expected, "seed {seed}");
                let mut back: Vec<_> = state
                    .scan_back(NUMBERS, low..high)?
                    .collect::<Result<_, _>>()?;
                back.reverse();
                assert_eq!(back, expected, "seed {seed}");
            }
            Ok(())
        })?;
        let view = db.view()?;
        assert_eq!(rows(&view)?, model.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(
            StateDb::recompute_digest(&view)?,
            db.digest()?,
            "seed {seed}"
        );
    }
    Ok(())
}

#[test]
fn equal_rows_have_equal_digests_whatever_order_made_them() -> Result<(), Fatal> {
    let (a, b) = (StateDb::in_memory(NAMES)?, StateDb::in_memory(NAMES)?);
    a.write(false, |state, _| {
        state.put(NUMBERS, &1, &"one".to_owned())?;
        state.put(NUMBERS, &2, &"two".to_owned())
    })?;
    b.write(false, |state, _| state.put(NUMBERS, &2, &"zwei".to_owned()))?;
    assert_ne!(a.digest()?, b.digest()?);
    b.write(false, |state, _| {
        state.put(NUMBERS, &1, &"one".to_owned())?;
        state.put(NUMBERS, &2, &"two".to_owned())
    })?;
    assert_eq!(a.digest()?, b.digest()?);
    Ok(())
}

#[test]
fn a_row_whose_bytes_changed_fails_its_checksum() {
    let sealed = seal::seal("numbers", b"key", b"value".to_vec());
    assert!(seal::unseal("numbers", b"key", &sealed).is_ok());
    for bit in 0..sealed.len() * 8 {
        let mut bad = sealed.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(seal::unseal("numbers", b"key", &bad).is_err(), "bit {bit}");
    }
    assert!(
        seal::unseal("numbers", b"yek", &sealed).is_err(),
        "another row's value"
    );
    assert!(
        seal::unseal("pairs", b"key", &sealed).is_err(),
        "another table's value"
    );
    assert!(
        seal::unseal("numbers", b"key", b"abc").is_err(),
        "too short"
    );
}

/// Reads all there is.
fn read_all(path: &std::path::Path) -> Result<(), Fatal> {
    let disk = crate::env::Env::real().disk;
    let file = disk.open(path, crate::env::OpenMode::ReadWrite);
    let file = file.map_err(|e| Fatal::with_source("the test's file", e))?;
    let db = StateDb::open(file, NAMES, 0)?;
    let view = db.view()?;
    let results = [
        view.get(NUMBERS, &77).map(drop),
        rows(&view).map(drop),
        view.scan_back(NUMBERS, ..).map(|rows| rows.for_each(drop)),
        StateDb::recompute_digest(&view).map(drop),
        db.digest().map(drop),
    ];
    results.into_iter().collect()
}

#[test]
fn a_damaged_page_is_an_error_and_no_panic() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("state");
    let disk = crate::env::Env::real().disk;
    let file = disk.open(&path, crate::env::OpenMode::CreateNew)?;
    let db = StateDb::open(file, NAMES, 0)?;
    db.write(true, |state, _| {
        (0..2000).try_for_each(|n| state.put(NUMBERS, &n, &"x".repeat(100)))
    })?;
    drop(db);
    #[allow(clippy::disallowed_methods, reason = "a file of this test")]
    let whole = std::fs::read(&path)?;
    // Of redb's pages, those with our rows and those that lead to them: damage to what redb keeps
    // for itself may end the process when it closes the file.
    let rows = |at: &usize| whole[*at..*at + 4096].windows(64).any(|w| w == [b'x'; 64]);
    let ours = |at: &usize| whole[*at] == 2 || rows(at);
    let pages = (1..whole.len() / 4096).map(|page| page * 4096);
    let pages: Vec<_> = pages.filter(ours).collect();
    let random = SeededRandom::new(5);
    let mut failed = 0;
    for _ in 0..60 {
        let mut damaged = whole.clone();
        let page = pages[random.below(pages.len() as u64) as usize];
        // These bytes say what is where in it.
        damaged[page + random.below(64) as usize] ^= 1 << random.below(8);
        #[allow(clippy::disallowed_methods, reason = "a file of this test")]
        std::fs::write(&path, damaged)?;
        failed += u32::from(read_all(&path).is_err());
    }
    assert!(failed > 10, "{failed}");
    Ok(())
}
