//! Logs that end in the middle, are damaged, grow old and are read meanwhile.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![allow(
    clippy::disallowed_methods,
    reason = "what a broken disk does, done by hand"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::file::{Contents, LogFile};
use super::segment::Change;
use crate::env::{Env, Random, SeededRandom};
use crate::error::Fatal;
use crate::machine::Rev;
use crate::storage::codec::encode_entry;
use crate::storage::directory::Directory;
use crate::types::{self, Entry, MemberId, Vote};

const SEGMENT: u64 = 4096;
/// Entries that fill more than two segments, one commit each.
const LONG: u64 = 260;

fn entry(term: u64, index: u64) -> Entry {
    Entry {
        log_id: types::log_id(Rev { term, index }),
        payload: openraft::EntryPayload::Blank,
    }
}

fn append(term: u64, index: u64) -> Change {
    Change::Append {
        index,
        stored: encode_entry(&entry(term, index)).unwrap(),
    }
}

fn try_open(path: &Path) -> Result<(LogFile, Contents), Fatal> {
    let directory = Directory::open(Env::real().disk, path).unwrap();
    LogFile::open(directory, Arc::new(SeededRandom::new(7)), SEGMENT)
}

fn open(path: &Path) -> (LogFile, Contents) {
    try_open(path).unwrap()
}

fn indexes(log: &LogFile) -> Vec<u64> {
    let entries = log.read(0..=u64::MAX, usize::MAX).unwrap();
    entries.iter().map(|e| e.log_id.index).collect()
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let directory = Directory::open(Env::real().disk, path).unwrap();
    let numbers = directory.segments().unwrap();
    numbers
        .iter()
        .map(|n| path.join(format!("log-{n}")))
        .collect()
}

/// A log of `commits` commits of one entry each, closed.
fn log_of(commits: u64) -> TempDir {
    let path = tempfile::tempdir().unwrap();
    let (log, _) = open(path.path());
    for index in 0..commits {
        log.commit(&[append(1, index)]).unwrap();
    }
    path
}

/// Where the zeros begin that end a file, and the bytes of the file.
fn end_of(file: &Path) -> (usize, Vec<u8>) {
    let bytes = fs::read(file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (end, bytes)
}

#[test]
fn what_was_committed_is_there_when_the_log_is_opened_again() {
    let path = tempfile::tempdir().unwrap();
    let (log, contents) = open(path.path());
    assert_eq!((contents.last, contents.entries), (None, 0));
    let vote = Vote::new(3, MemberId(2));
    log.commit(&[Change::Vote(vote), append(1, 0), append(1, 1)])
        .unwrap();
    log.commit(&[Change::Truncate { from: 1 }, append(2, 1), append(2, 2)])
        .unwrap();
    let purged = Rev { term: 1, index: 0 };
    let committed = Some(Rev { term: 2, index: 1 });
    log.commit(&[Change::Purge(purged), Change::Committed(committed)])
        .unwrap();
    drop(log);

    let (log, contents) = open(path.path());
    assert_eq!(indexes(&log), [1, 2]);
    assert_eq!(contents.notes.vote, Some(vote));
    assert_eq!(contents.notes.purged, Some(purged));
    assert_eq!(contents.notes.committed, committed);
    assert_eq!(contents.last, Some(Rev { term: 2, index: 2 }));
}

#[test]
fn a_commit_that_is_cut_anywhere_is_gone_and_those_before_it_are_there() {
    let path = log_of(4);
    let [file] = <[PathBuf; 1]>::try_from(segments(path.path())).unwrap();
    let (before, _) = end_of(&file);
    let (log, _) = open(path.path());
    log.commit(&[append(1, 4), append(1, 5)]).unwrap();
    drop(log);
    let (end, whole) = end_of(&file);
    for cut in before..end {
        let mut torn = whole.clone();
        torn.get_mut(cut..end).unwrap().fill(0);
        fs::write(&file, torn).unwrap();
        let (log, _) = open(path.path());
        assert_eq!(indexes(&log), [0, 1, 2, 3], "cut at {cut}");
        // What comes next takes its place.
        log.commit(&[append(2, 4)]).unwrap();
        drop(log);
        assert_eq!(
            indexes(&open(path.path()).0),
            [0, 1, 2, 3, 4],
            "cut at {cut}"
        );
    }
}

#[test]
fn a_bit_flipped_before_the_last_commit_keeps_the_log_from_being_opened() {
    let path = log_of(LONG);
    let files = segments(path.path());
    assert!(files.len() > 2, "{files:?}");
    let random = SeededRandom::new(11);
    for (place, file) in files.iter().enumerate() {
        let whole = fs::read(file).unwrap();
        let is_last = place + 1 == files.len();
        // The last commits of a segment that is followed by another count like any other.
        let (end, _) = end_of(file);
        let end = if is_last { end - 60 } else { end };
        for _ in 0..200 {
            let bit = usize::try_from(random.below(end as u64 * 8)).unwrap();
            let mut flipped = whole.clone();
            *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            fs::write(file, flipped).unwrap();
            let opened = try_open(path.path());
            assert!(opened.is_err(), "bit {bit} of {}", file.display());
        }
        fs::write(file, whole).unwrap();
    }
    assert_eq!(indexes(&open(path.path()).0).len() as u64, LONG);
}

#[test]
fn a_missing_segment_is_named() {
    let path = log_of(LONG);
    let files = segments(path.path());
    fs::remove_file(files.get(1).unwrap()).unwrap();
    let error = try_open(path.path()).unwrap_err().to_string();
    assert!(error.contains("log-2"), "{error}");
}

#[test]
fn a_purged_log_stays_small_and_can_be_opened_at_every_step() {
    let path = tempfile::tempdir().unwrap();
    let mut log = open(path.path()).0;
    for index in 0..2000 {
        log.commit(&[append(1, index)]).unwrap();
        if index % 50 == 49 {
            let purged = Rev {
                term: 1,
                index: index - 20,
            };
            log.commit(&[Change::Purge(purged)]).unwrap();
            let files = fs::read_dir(path.path()).unwrap().count();
            assert!(files < 8, "{files} files after {index} entries");
        }
        if index % 70 == 69 {
            drop(log);
            log = open(path.path()).0;
            assert_eq!(indexes(&log).last(), Some(&index));
        }
    }
    let (_, contents) = {
        drop(log);
        open(path.path())
    };
    assert_eq!(
        contents.notes.purged,
        Some(Rev {
            term: 1,
            index: 1979
        })
    );
    assert_eq!(contents.entries, 20);
}

#[test]
fn a_log_that_goes_on_behind_a_snapshot_has_no_entries_before_it() {
    let path = log_of(3);
    let (log, _) = open(path.path());
    log.commit(&[Change::Purge(Rev {
        term: 5,
        index: 1000,
    })])
    .unwrap();
    log.commit(&[append(5, 1001)]).unwrap();
    drop(log);
    let (log, contents) = open(path.path());
    assert_eq!(indexes(&log), [1001]);
    assert_eq!(
        contents.last,
        Some(Rev {
            term: 5,
            index: 1001
        })
    );
    assert!(log.commit(&[append(5, 1003)]).is_err(), "a gap");
}

#[test]
fn a_commit_larger_than_a_segment_gets_a_larger_one() {
    let path = log_of(1);
    let (log, _) = open(path.path());
    let changes: Vec<Change> = (1..1000).map(|index| append(1, index)).collect();
    log.commit(&changes).unwrap();
    log.commit(&[append(1, 1000)]).unwrap();
    drop(log);
    assert_eq!(indexes(&open(path.path()).0).len(), 1001);
}

#[test]
fn entries_that_are_being_read_survive_the_purge_of_their_segment() {
    let path = log_of(LONG);
    let (log, _) = open(path.path());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || reads == 0 {
                // Fewer entries than asked for are fine, damaged ones are not.
                log.read(0..=u64::MAX, usize::MAX).unwrap();
                reads += 1;
            }
        });
        for index in LONG..LONG + 600 {
            log.commit(&[
                append(1, index),
                Change::Purge(Rev {
                    term: 1,
                    index: index - 50,
                }),
            ])
            .unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn a_large_commit_leaves_the_spare_file_to_nobody() {
    let path = log_of(LONG);
    let (log, _) = open(path.path());
    let purged = Rev {
        term: 1,
        index: LONG - 1,
    };
    log.commit(&[Change::Purge(purged)]).unwrap();
    assert!(path.path().join("log-spare").exists());
    let changes: Vec<Change> = (LONG..LONG + 1000).map(|index| append(1, index)).collect();
    log.commit(&changes).unwrap();
    for index in LONG + 1000..2 * LONG + 1000 {
        log.commit(&[append(1, index)]).unwrap();
    }
    drop(log);
    assert_eq!(indexes(&open(path.path()).0).len() as u64, LONG + 1000);
}

/// A log whose last segment begins behind entries that it then replaces, and whose segments
/// before that are gone.
fn log_rewritten_behind_its_begin(again: &[Change]) -> TempDir {
    let path = tempfile::tempdir().unwrap();
    let (log, _) = open(path.path());
    let mut next = 0;
    while segments_now(path.path()) < 2 {
        log.commit(&[append(1, next)]).unwrap();
        next += 1;
    }
    let mut changes = vec![Change::Truncate { from: 6 }];
    changes.extend_from_slice(again);
    log.commit(&changes).unwrap();
    log.commit(&[Change::Purge(Rev { term: 1, index: 5 })])
        .unwrap();
    drop(log);
    assert!(!path.path().join("log-1").exists());
    path
}

fn segments_now(path: &Path) -> usize {
    let names = fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name());
    let is_segment = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy().into_owned();
        name.starts_with("log-") && name != "log-spare"
    };
    names.filter(is_segment).count()
}

#[test]
fn entries_replaced_behind_the_begin_of_the_oldest_segment_are_read_again() {
    let path = log_rewritten_behind_its_begin(&[append(2, 6), append(2, 7)]);
    let (log, contents) = open(path.path());
    assert_eq!(indexes(&log), [6, 7]);
    assert_eq!(contents.last, Some(Rev { term: 2, index: 7 }));
}

#[test]
fn a_log_emptied_behind_the_begin_of_its_oldest_segment_goes_on() {
    let path = log_rewritten_behind_its_begin(&[]);
    let (log, contents) = open(path.path());
    assert_eq!(contents.last, Some(Rev { term: 1, index: 5 }));
    log.commit(&[append(2, 6)]).unwrap();
    drop(log);
    assert_eq!(indexes(&open(path.path()).0), [6]);
}

#[test]
fn a_refused_gap_leaves_a_log_that_opens_and_goes_on() {
    let path = log_of(3);
    let (log, _) = open(path.path());
    assert!(log.commit(&[append(1, 4)]).is_err());
    log.commit(&[append(1, 3)]).unwrap();
    drop(log);
    assert_eq!(indexes(&open(path.path()).0), [0, 1, 2, 3]);
}

#[test]
fn a_log_whose_entries_are_all_in_a_missing_segment_is_refused() {
    let path = tempfile::tempdir().unwrap();
    let (log, _) = open(path.path());
    let mut next = 0;
    while segments_now(path.path()) < 2 {
        log.commit(&[append(1, next), Change::Vote(Vote::new(next, MemberId(1)))])
            .unwrap();
        next += 1;
    }
    log.commit(&[Change::Truncate { from: next - 1 }]).unwrap();
    drop(log);
    fs::remove_file(path.path().join("log-1")).unwrap();
    assert!(try_open(path.path()).is_err());
}
