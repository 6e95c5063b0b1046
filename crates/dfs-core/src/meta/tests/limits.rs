//! Limits hold exactly, and work is cut where it would be without a bound.

use super::fixture::{ATTR, Machine, START, at, serial as serial_request};
use crate::meta::chunks::references;
use crate::meta::namespace::inode;
use crate::meta::tables::{CHUNKS, INODES, META, Meta};
use crate::meta::{Command, Reply, counters, query};
use crate::types::change::{Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::limits::{LINKS_MAX, PATH_DEPTH_MAX, REPLICAS_PER_COMMAND_MAX};
use crate::types::{
    AttrChange, Caller, Change, ChunkId, ClientId, InodeId, Location, NewChunk, Outcome, Permit,
    RefusalKind,
};

struct Serial {
    machine: Machine,
    client: ClientId,
    sequence: u64,
}

impl Serial {
    fn new() -> Serial {
        let mut machine = Machine::new();
        let client = machine.open_session();
        Serial {
            machine,
            client,
            sequence: 0,
        }
    }

    fn change(&mut self, change: Change) -> Outcome {
        self.sequence += 1;
        self.machine
            .request(serial_request(self.client, self.sequence), change)
    }

    fn make_directory(&mut self, at: Location) -> Outcome {
        self.change(Change::MakeDirectory {
            at,
            attr: ATTR,
            parents: true,
        })
    }
}

fn kind(outcome: &Outcome) -> Option<RefusalKind> {
    outcome.as_ref().err().map(|refusal| refusal.kind)
}

/// A chain of directories as deep as one can be; gives the deepest.
fn deepest(serial: &mut Serial) -> InodeId {
    let path = vec!["d"; PATH_DEPTH_MAX].join("/");
    serial
        .make_directory(at(&path))
        .unwrap()
        .attr
        .unwrap()
        .inode
}

#[test]
fn a_directory_below_the_deepest_is_refused_wherever_the_path_starts() {
    let mut serial = Serial::new();
    let deepest = deepest(&mut serial);
    let below = Location {
        handle: None,
        base: deepest,
        path: "/x".parse().unwrap(),
    };
    let refused = serial.make_directory(below);
    assert_eq!(kind(&refused), Some(RefusalKind::NameTooLong));
    serial.machine.check();
}

#[test]
fn what_a_rename_made_too_deep_can_still_be_removed() {
    let mut serial = Serial::new();
    let deepest = deepest(&mut serial);
    serial.make_directory(at("tree/leaf/file")).unwrap();
    let above = Location {
        handle: None,
        base: InodeId(deepest.0 - 1),
        path: "/tree".parse().unwrap(),
    };
    serial
        .change(Change::Rename {
            from: at("tree"),
            to: above,
            replace: false,
        })
        .unwrap();
    let leaf = InodeId(deepest.0 + 2);
    let file = Location {
        handle: None,
        base: leaf,
        path: "/file".parse().unwrap(),
    };

    let more = Location {
        handle: None,
        base: leaf,
        path: "/more".parse().unwrap(),
    };
    assert_eq!(
        kind(&serial.make_directory(more)),
        Some(RefusalKind::NameTooLong)
    );
    let removal = Change::Remove {
        at: file,
        what: Removal::Tree,
        skip_trash: false,
    };
    let trash = serial.change(removal).unwrap().trash;
    assert!(trash.is_some());
    serial.machine.check();
}

#[test]
fn a_deep_tree_is_purged_in_steps() {
    let mut serial = Serial::new();
    deepest(&mut serial);
    let removal = Change::Remove {
        at: at("d"),
        what: Removal::Tree,
        skip_trash: true,
    };
    serial.change(removal).unwrap();
    let steps = serial.machine.housekeep();
    assert!(steps > 1, "{steps} steps");
    assert_eq!(query::counters(&serial.machine.view()).unwrap().inodes, 1);
    serial.machine.check();
}

#[test]
fn a_file_has_a_bounded_number_of_names() {
    let mut serial = Serial::new();
    serial
        .change(Change::Create {
            at: at("f"),
            attr: ATTR,
            exclusive: true,
        })
        .unwrap();
    serial.machine.edit(|state| {
        let mut inode = inode::require(state, InodeId(2))?;
        inode.links = LINKS_MAX - 1;
        state.put(INODES, &InodeId(2), &inode)
    });
    let link = |name: &str| Change::Link {
        from: at("f"),
        at: at(name),
    };
    serial.change(link("last")).unwrap();
    let refused = serial.change(link("one-more"));
    assert_eq!(kind(&refused), Some(RefusalKind::TooManyLinks));
}

#[test]
fn the_answers_of_a_session_stay_bounded_and_go_with_it_in_steps() {
    let mut serial = Serial::new();
    for _ in 0..1100 {
        let change = AttrChange::default();
        serial
            .change(Change::SetAttr {
                at: at(""),
                change,
                follow: true,
            })
            .unwrap();
    }
    serial.machine.check();
    serial.change(Change::CloseSession).unwrap();
    serial.machine.housekeep();
    serial.machine.check();
}

#[test]
fn a_command_about_too_many_replicas_is_refused() {
    let mut machine = Machine::new();
    let node = machine.register(1);
    let chunks: Vec<_> = (0..=REPLICAS_PER_COMMAND_MAX as u64).map(ChunkId).collect();
    match machine.apply(Command::AdoptReplicas { node, chunks }) {
        Reply::Adopted(Err(refusal)) => assert_eq!(refusal.kind, RefusalKind::TooLarge),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_chunk_that_as_many_extents_name_as_can_be_counted_is_named_no_more() {
    let mut serial = Serial::new();
    serial.machine = Machine::lenient();
    serial.client = serial.machine.open_session();
    let node = serial.machine.register(1);
    serial.machine.apply(Command::ReserveChunkIds { count: 1 });
    let (chunk, length) = (ChunkId(1), 100);
    let piece = |offset, length| Piece::Chunk {
        chunk,
        offset,
        length,
    };
    let commit = |target, offset, piece, chunks| {
        Change::Commit(Commit {
            target,
            offset: WriteOffset::At(offset),
            pieces: vec![piece],
            chunks,
            revision: None,
            stripes: Vec::new(),
        })
    };
    let new = CommitTarget::New {
        at: at("f"),
        attr: ATTR,
        replace: false,
    };
    let replicas = vec![node];
    let row = NewChunk {
        permit: Permit::default(),
        chunk,
        length,
        checksum: 0,
        replicas,
    };
    serial
        .change(commit(new, 0, piece(0, length), vec![row]))
        .unwrap();
    serial.machine.edit(|state| {
        let mut row = references::require(state, chunk)?;
        row.references = u32::MAX;
        state.put(CHUNKS, &chunk, &row)
    });
    let file = || CommitTarget::File(at("f"));
    let inline = || Piece::Inline(bytes::Bytes::from_static(b"x"));
    for refused in [
        commit(file(), length, piece(0, 1), vec![]),
        commit(file(), length / 2, inline(), vec![]),
    ] {
        let refused = serial.change(refused);
        assert_eq!(kind(&refused), Some(RefusalKind::TooLarge));
    }
    for taken in [0, length - 1, length] {
        serial
            .change(commit(file(), taken, inline(), vec![]))
            .unwrap();
    }
}

#[test]
fn metadata_of_a_newer_format_stops_the_replica() {
    let mut machine = Machine::new();
    machine.open_session();
    machine.edit(|state| {
        state.put(META, &Meta::Format, &99)?;
        let fatal = counters::found(state, START).unwrap_err().to_string();
        assert!(fatal.contains("stored in format 99"), "{fatal}");
        Ok(())
    });
}

#[test]
fn an_empty_state_answers_and_asks_to_be_founded() {
    let machine = Machine::new();
    let view = machine.view();
    assert!(query::housekeeping_due(&view, machine.now).unwrap());
    let stat = crate::types::Query::Stat {
        at: at(""),
        follow: true,
    };
    let refusal = query::answer(&view, Caller::System, &stat)
        .unwrap()
        .unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotFound);
    machine.check();
}
