//! Snapshots at their limits, in steps, and damaged.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::fixture::{ATTR, Machine, at, serial};
use crate::meta::snapshots::old::{OldKey, OldOf, Row, Which};
use crate::meta::snapshots::seen::Seen;
use crate::meta::tables::{
    LEAVING, META, Meta, OLD, OLD_OF, SEEN, SNAPSHOT_NAMES, SNAPSHOTS, USES,
};
use crate::meta::{Command, Reply, check, query};
use crate::types::change::{Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::limits::{ROWS_PER_COMMAND_MAX, SNAPSHOTS_PER_DIRECTORY_MAX};
use crate::types::snapshot::SnapshotChange;
use crate::types::{
    Answer, Caller, Change, ClientId, InodeId, Location, Name, Outcome, Query, RefusalKind,
    SnapshotId,
};

struct Serial {
    machine: Machine,
    client: ClientId,
    sequence: u64,
}

impl Serial {
    /// With a directory `d`, which is inode 2.
    fn new() -> Serial {
        let mut machine = Machine::lenient();
        let client = machine.open_session();
        let mut serial = Serial {
            machine,
            client,
            sequence: 0,
        };
        let (at, attr, parents) = (at("d"), ATTR, false);
        let made = serial.change(Change::MakeDirectory { at, attr, parents });
        made.unwrap();
        serial
    }

    fn change(&mut self, change: Change) -> Outcome {
        self.sequence += 1;
        let request = serial(self.client, self.sequence);
        self.machine.request(request, change)
    }

    fn put(&mut self, path: &str, text: &'static str) {
        let target = CommitTarget::New {
            at: at(path),
            attr: ATTR,
            replace: true,
        };
        let commit = Commit {
            target,
            offset: WriteOffset::At(0),
            pieces: vec![Piece::Inline(text.into())],
            chunks: Vec::new(),
            revision: None,
            stripes: Vec::new(),
        };
        self.change(Change::Commit(commit)).unwrap();
    }

    fn remove(&mut self, path: &str) {
        let (at, what, skip_trash) = (at(path), Removal::File, true);
        let removal = Change::Remove {
            at,
            what,
            skip_trash,
        };
        self.change(removal).unwrap();
    }

    fn snapshots(&mut self, change: SnapshotChange) -> Outcome {
        let at = at("d");
        self.change(Change::Snapshot { at, change })
    }

    fn take(&mut self, name: &str) -> Outcome {
        self.snapshots(SnapshotChange::Prepare).unwrap();
        self.machine.housekeep();
        let name = Name::new(name).unwrap();
        self.snapshots(SnapshotChange::Create { name })
    }

    fn drop_snapshot(&mut self, name: &str) {
        let name = Name::new(name).unwrap();
        self.snapshots(SnapshotChange::Remove { name }).unwrap();
    }

    fn ask(&self, query: &Query) -> Result<Answer, RefusalKind> {
        let answer = query::answer(&self.machine.view(), Caller::System, query).unwrap();
        answer.map_err(|refusal| refusal.kind)
    }

    fn old_rows(&self) -> usize {
        let view = self.machine.view();
        let rows = view.scan(OLD, ..).unwrap();
        rows.count()
    }
}

fn kind(outcome: &Outcome) -> Option<RefusalKind> {
    outcome.as_ref().err().map(|refusal| refusal.kind)
}

#[test]
fn a_directory_has_a_bounded_number_of_snapshots() {
    let mut serial = Serial::new();
    for number in 0..SNAPSHOTS_PER_DIRECTORY_MAX {
        serial.take(&format!("s{number}")).unwrap();
    }
    assert_eq!(kind(&serial.take("more")), Some(RefusalKind::TooLarge));
    serial.drop_snapshot("s7");
    serial.take("more").unwrap();
    serial.machine.check();
}

#[test]
fn a_snapshot_of_many_changes_is_removed_in_bounded_steps() {
    let mut serial = Serial::new();
    for number in 0..3000 {
        serial.put(&format!("d/f{number}"), "one");
    }
    serial.take("s").unwrap();
    for number in 0..3000 {
        serial.put(&format!("d/f{number}"), "two");
    }
    let kept = serial.old_rows();
    assert_eq!(kept, 1 + 2 * 3000);

    serial.drop_snapshot("s");

    let mut left = kept;
    while left > 0 {
        assert_ne!(
            serial.machine.apply(Command::Housekeeping),
            Reply::Housekeeping { more: false }
        );
        let now = serial.old_rows();
        assert!(
            now < left && left - now <= ROWS_PER_COMMAND_MAX,
            "{left} {now}"
        );
        left = now;
        serial.machine.check();
    }
    serial.machine.housekeep();
    serial.machine.check();
    let view = serial.machine.view();
    assert_eq!(view.scan(SNAPSHOTS, ..).unwrap().count(), 0);
    assert_eq!(query::counters(&view).unwrap().inodes, 3002);
}

#[test]
fn what_comes_and_goes_below_a_snapshot_leaves_nothing() {
    let mut serial = Serial::new();
    serial.put("d/f", "one");
    serial.take("s").unwrap();
    for _ in 0..20 {
        serial.put("d/temporary", "x");
        serial.remove("d/temporary");
    }
    // The directory itself, which has changed.
    assert_eq!(serial.old_rows(), 1);
    serial.machine.check();
}

#[test]
fn what_was_made_later_is_not_in_a_snapshot_by_its_number_either() {
    let mut serial = Serial::new();
    serial.put("d/f", "one");
    let view = serial.take("s").unwrap().attr.unwrap().inode;
    serial.put("d/g", "two");
    let (old, new) = (InodeId(3), InodeId(4));
    let stat = |id: InodeId, number| Query::Stat {
        at: Location::from(id.within(number)),
        follow: true,
    };
    let number = view.snapshot().unwrap();
    assert_eq!((view.own(), number), (InodeId(2), SnapshotId(1)));
    assert!(serial.ask(&stat(old, number)).is_ok());
    for (id, number) in [
        (new, number),
        (InodeId(99), number),
        (InodeId::ROOT, number),
        (old, SnapshotId(2)),
        (old, SnapshotId::LIST),
        (InodeId(99), SnapshotId::LIST),
    ] {
        let refused = serial.ask(&stat(id, number));
        assert_eq!(refused, Err(RefusalKind::NotFound), "{id} {number}");
    }
}

#[test]
fn a_listing_of_a_snapshot_is_paged_like_any_other() {
    let mut serial = Serial::new();
    let names: Vec<String> = (0..40).map(|n| format!("f{n:02}")).collect();
    for name in &names {
        serial.put(&format!("d/{name}"), "one");
    }
    serial.take("s").unwrap();
    for (n, name) in names.iter().enumerate() {
        serial.put(&format!("d/{name}-new"), "two");
        match n % 3 {
            0 => serial.remove(&format!("d/{name}")),
            1 => serial.put(&format!("d/{name}"), "two"),
            _ => {}
        }
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let list = Query::List {
            at: at("d/.snapshots/s"),
            after: after.clone(),
            limit: 7,
            attrs: true,
        };
        let Ok(Answer::Entries(page)) = serial.ask(&list) else {
            panic!()
        };
        assert!(page.entries.len() <= 7);
        found.extend(page.entries.iter().map(|entry| entry.name.to_string()));
        after = page.entries.last().map(|entry| entry.name.clone());
        if !page.more {
            break;
        }
    }
    assert_eq!(found, names);
}

/// One snapshot with rows of every kind, one that is being removed.
fn sound() -> Serial {
    let mut serial = Serial::new();
    serial.put("d/f", "one");
    serial.take("s").unwrap();
    serial.put("d/f", "two");
    serial.take("t").unwrap();
    serial.put("d/f", "three");
    serial.drop_snapshot("t");
    serial.machine.check();
    serial
}

const ONE: SnapshotId = SnapshotId(1);
const TWO: SnapshotId = SnapshotId(2);
const DIR: InodeId = InodeId(2);

/// The old row of the file that was replaced first.
fn old_inode() -> Row {
    Row {
        which: Which::Inodes,
        key: 3_u64.to_be_bytes().to_vec(),
    }
}

type Edit = fn(&mut StateTxn<'_>) -> Result<(), Fatal>;

#[test]
fn damage_of_snapshots_is_seen() {
    let damage: Vec<(&str, Edit)> = vec![
        ("the number of snapshots", |s| {
            s.put(META, &Meta::Snapshots, &7)
        }),
        ("is not below the next number", |s| {
            s.put(META, &Meta::NextSnapshot, &1)
        }),
        ("the name of v1", |s| {
            s.remove(SNAPSHOT_NAMES, &(DIR, Name::new("s").unwrap()))
        }),
        ("rows of SNAPSHOT_NAMES", |s| {
            s.put(SNAPSHOT_NAMES, &(DIR, Name::new("x").unwrap()), &ONE)
        }),
        ("v2 is being removed", |s| s.remove(LEAVING, &TWO)),
        ("rows of LEAVING", |s| s.put(LEAVING, &SnapshotId(9), &())),
        ("does not know of v1", |s| s.remove(SEEN, &DIR)),
        ("its newest snapshot", |s| {
            let own = Some(TWO);
            let row = Seen {
                own,
                ..Seen::default()
            };
            s.put(SEEN, &DIR, &row)
        }),
        ("is seen and nowhere", |s| {
            let several = true;
            let row = Seen {
                several,
                ..Seen::default()
            };
            s.put(SEEN, &InodeId(99), &row)
        }),
        ("is of no snapshot", |s| {
            let key = OldKey {
                row: old_inode(),
                number: SnapshotId(9),
            };
            let old = s.get(OLD, &old_inode().at(ONE))?.unwrap();
            s.put(OLD, &key, &old)
        }),
        ("is not listed", |s| {
            let (number, row) = (ONE, old_inode());
            s.remove(OLD_OF, &OldOf { number, row })
        }),
        ("rows of OLD_OF", |s| s.remove(OLD, &old_inode().at(ONE))),
        ("i2@v1/f: the kind", |s| s.remove(OLD, &old_inode().at(ONE))),
        ("is not counted", |s| s.remove(USES, &DIR)),
    ];
    for (index, (expected, edit)) in damage.into_iter().enumerate() {
        let serial = sound();
        serial.machine.edit(edit);
        let found = check(&serial.machine.view()).unwrap();
        let mut found_all = found.iter();
        let seen = found_all.any(|violation| violation.what.contains(expected));
        assert!(seen, "number {index}, `{expected}`: {found:#?}");
    }
}
