//! Every kind of damage is seen.
#![allow(clippy::too_many_lines, reason = "one table of cases")]
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::check;
use crate::meta::accounts::acl::Acls;
use crate::meta::chunks::concat::Part;
use crate::meta::chunks::extents::{Extent, Source};
use crate::meta::chunks::shares::SEVERAL;
use crate::meta::members::tokens::JoinToken;
use crate::meta::namespace::dirent::Dirent;
use crate::meta::namespace::inode::{self, Body};
use crate::meta::namespace::purge::Purge;
use crate::meta::tables::{
    ACLS, CHUNKS, CONCATS, DIRENTS, EXTENTS, GROUP_NAMES, GROUPS, INODES, JOIN_TOKENS, MEMBERS,
    META, Meta, Moment, NODE_CHUNKS, NODE_KEYS, NODE_LOADS, NODE_RECLAIM, PURGE, RANGES, RECLAIM,
    REPLIES, SESSION_AGES, SESSIONS, SHARES, SPENT, TOKEN_HASHES, TRASH, TRASH_EXPIRY,
    TRASH_OWNERS, TRIMS, UPLOADS, USER_NAMES,
};
use crate::meta::tests::fixture::{ATTR, Machine, at, serial};
use crate::meta::{Command, sessions};
use crate::types::change::{Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::node::{TokenHash, TokenId};
use crate::types::{
    Change, ChunkId, ClientId, FileKind, GroupId, InodeId, Name, NewChunk, NodeId, NodeKey,
    NodeRole, Permit, Timestamp, TrashId, UserId,
};

const DIR: InodeId = InodeId(2);
const FILE: InodeId = InodeId(3);
const CHUNK: ChunkId = ChunkId(1);
const NODE: NodeId = NodeId(1);

/// `/d` = i2, `/d/f` = i3 with 100 bytes of c1 on n1 and 2 inline, `/t` = i4 in the trash,
/// an upload i5, c2 freed.
fn sound() -> Machine {
    let mut machine = Machine::lenient();
    let client = machine.open_session();
    machine.register(1);
    machine.apply(Command::ReserveChunkIds { count: 10 });
    let new = |path: &str, chunk| {
        let chunk = ChunkId(chunk);
        let piece = Piece::Chunk {
            chunk,
            offset: 0,
            length: 100,
        };
        let chunks = vec![NewChunk {
            permit: Permit::default(),
            chunk,
            length: 100,
            checksum: 0,
            replicas: vec![NODE],
        }];
        let target = CommitTarget::New {
            at: at(path),
            attr: ATTR,
            replace: true,
        };
        let pieces = vec![piece, Piece::Inline("hi".into())];
        let offset = WriteOffset::At(0);
        Change::Commit(Commit {
            target,
            offset,
            pieces,
            chunks,
            revision: None,
            stripes: Vec::new(),
        })
    };
    let remove = |skip_trash| Change::Remove {
        at: at("t"),
        what: Removal::File,
        skip_trash,
    };
    let create = || Change::Create {
        at: at("t"),
        attr: ATTR,
        exclusive: true,
    };
    let changes = [
        Change::MakeDirectory {
            at: at("d"),
            attr: ATTR,
            parents: false,
        },
        new("d/f", 1),
        create(),
        remove(false),
        Change::BeginUpload {
            at: at("u"),
            attr: ATTR,
        },
        new("t", 2),
        remove(true),
    ];
    for (change, sequence) in changes.into_iter().zip(1..) {
        machine.request(serial(client, sequence), change).unwrap();
    }
    machine.check();
    machine
}

type Edit = fn(&mut StateTxn<'_>) -> Result<(), Fatal>;

fn edit_inode(
    state: &mut StateTxn<'_>,
    id: InodeId,
    edit: impl FnOnce(&mut inode::Inode),
) -> Result<(), Fatal> {
    let mut row = inode::require(state, id)?;
    edit(&mut row);
    state.put(INODES, &id, &row)
}

fn edit_file(state: &mut StateTxn<'_>, new: (u64, u32)) -> Result<(), Fatal> {
    let (size, inline_bytes) = new;
    edit_inode(state, FILE, |row| {
        let allocated = row.allocated();
        row.body = Body::File {
            size,
            inline_bytes,
            allocated,
        }
    })
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn tree_damage() -> Vec<(&'static str, Edit)> {
    vec![
        ("the links", |s| edit_inode(s, FILE, |row| row.links = 2)),
        ("leads to no inode", |s| s.remove(INODES, &FILE)),
        ("the links", |s| s.remove(DIRENTS, &(DIR, name("f")))),
        ("the kind", |s| {
            let wrong = Dirent {
                inode: FILE,
                kind: FileKind::Symlink,
            };
            s.put(DIRENTS, &(DIR, name("f")), &wrong)
        }),
        ("is in no directory", |s| {
            let entry = Dirent {
                inode: FILE,
                kind: FileKind::File,
            };
            s.put(DIRENTS, &(FILE, name("x")), &entry)
        }),
        ("the place", |s| {
            edit_inode(s, DIR, |row| {
                if let Body::Directory(directory) = &mut row.body {
                    directory.place = Some((InodeId::ROOT, name("other")));
                }
            })
        }),
        ("above itself", |s| {
            s.put(
                DIRENTS,
                &(DIR, name("loop")),
                &Dirent {
                    inode: DIR,
                    kind: FileKind::Directory,
                },
            )?;
            edit_inode(s, DIR, |row| {
                if let Body::Directory(directory) = &mut row.body {
                    directory.place = Some((DIR, name("loop")));
                }
            })
        }),
        ("does not expire", |s| {
            let entry = s.get(TRASH, &TrashId(1))?.unwrap();
            s.remove(TRASH_EXPIRY, &(Moment(entry.expires), TrashId(1)))
        }),
        ("the links", |s| s.remove(TRASH, &TrashId(1))),
        ("has no name", |s| {
            s.remove(UPLOADS, &(ClientId(1), InodeId(5)))
        }),
        ("is no file", |s| s.put(UPLOADS, &(ClientId(1), DIR), &())),
        ("is not such", |s| s.put(PURGE, &FILE, &Purge::Data)),
        ("has no name", |s| s.put(PURGE, &DIR, &Purge::Tree)),
        ("the number of inodes", |s| s.put(META, &Meta::Inodes, &9)),
        ("not below the next id", |s| {
            s.put(META, &Meta::NextInode, &5)
        }),
    ]
}

fn chunk_damage() -> Vec<(&'static str, Edit)> {
    vec![
        ("beyond the end", |s| edit_file(s, (50, 2))),
        ("the inline bytes", |s| edit_file(s, (102, 3))),
        ("trimmed from", |s| s.put(TRIMS, &FILE, &7)),
        ("overlaps", |s| {
            let source = Source::Inline("xx".into());
            s.put(EXTENTS, &(FILE, 99), &Extent { length: 2, source })
        }),
        ("its bytes", |s| {
            let source = Source::Inline("x".into());
            s.put(EXTENTS, &(FILE, 100), &Extent { length: 2, source })
        }),
        ("has no file", |s| {
            let source = Source::Inline("x".into());
            s.put(EXTENTS, &(InodeId(99), 0), &Extent { length: 1, source })
        }),
        ("which does not exist", |s| s.remove(CHUNKS, &CHUNK)),
        ("has no references", |s| s.remove(EXTENTS, &(FILE, 0))),
        ("the references", |s| {
            let chunk = s.get(CHUNKS, &CHUNK)?.unwrap();
            s.put(
                CHUNKS,
                &CHUNK,
                &crate::meta::Chunk {
                    references: 2,
                    ..chunk
                },
            )
        }),
        ("the file it is part of", |s| {
            let chunk = s.get(CHUNKS, &CHUNK)?.unwrap();
            s.put(
                CHUNKS,
                &CHUNK,
                &crate::meta::Chunk {
                    inode: DIR,
                    ..chunk
                },
            )
        }),
        ("has no replicas", |s| {
            let chunk = s.get(CHUNKS, &CHUNK)?.unwrap();
            s.put(
                CHUNKS,
                &CHUNK,
                &crate::meta::Chunk {
                    replicas: Vec::new(),
                    ..chunk
                },
            )
        }),
        ("who is unknown", |s| {
            let chunk = s.get(CHUNKS, &CHUNK)?.unwrap();
            s.put(
                CHUNKS,
                &CHUNK,
                &crate::meta::Chunk {
                    replicas: vec![NodeId(9)],
                    ..chunk
                },
            )
        }),
        ("is not listed", |s| s.remove(NODE_CHUNKS, &(NODE, CHUNK))),
        ("rows of NODE_CHUNKS", |s| {
            s.put(NODE_CHUNKS, &(NODE, ChunkId(2)), &())
        }),
        ("is meant to have", |s| s.remove(NODE_LOADS, &NODE)),
        ("the number of chunks", |s| s.put(META, &Meta::Chunks, &9)),
        ("the bytes of chunks", |s| {
            s.put(META, &Meta::ChunkBytes, &9)
        }),
        ("is used and spent", |s| s.put(SPENT, &CHUNK, &())),
        ("of no range", |s| s.remove(RANGES, &ChunkId(1))),
        ("intended and given up", |s| {
            let since = s.get(RECLAIM, &(ChunkId(2), NODE))?.unwrap();
            s.put(NODE_RECLAIM, &(NODE, since, CHUNK), &())?;
            s.put(RECLAIM, &(CHUNK, NODE), &since)
        }),
        ("rows of NODE_RECLAIM", |s| {
            s.remove(RECLAIM, &(ChunkId(2), NODE))
        }),
    ]
}

fn part(source: u64, length: u64) -> Part {
    let source = InodeId(source);
    Part { source, length }
}

fn sharing_damage() -> Vec<(&'static str, Edit)> {
    vec![
        ("is not shared by i3", |s| s.put(SHARES, &(CHUNK, FILE), &1)),
        ("is not shared by i2", |s| s.put(SHARES, &(CHUNK, DIR), &1)),
        ("c1 in i3: its extents", |s| {
            let chunk = s.get(CHUNKS, &CHUNK)?.unwrap();
            let inode = SEVERAL;
            s.put(CHUNKS, &CHUNK, &crate::meta::Chunk { inode, ..chunk })
        }),
        ("c1 in i3: its extents", |s| {
            let chunk = s.get(CHUNKS, &CHUNK)?.unwrap();
            let inode = SEVERAL;
            s.put(SHARES, &(CHUNK, FILE), &2)?;
            s.put(CHUNKS, &CHUNK, &crate::meta::Chunk { inode, ..chunk })
        }),
        ("i4 is part of i3 and a file", |s| {
            s.put(CONCATS, &(FILE, 0), &part(4, 1))
        }),
        ("i99 reaches beyond the end of i3", |s| {
            s.put(CONCATS, &(FILE, 100), &part(99, 3))
        }),
        ("i99 is part of two files", |s| {
            s.put(CONCATS, &(FILE, 0), &part(99, 1))?;
            s.put(CONCATS, &(FILE, 1), &part(99, 1))
        }),
        ("overlaps what was moved to it", |s| {
            let source = Source::Inline("x".into());
            s.put(CONCATS, &(FILE, 50), &part(99, 1))?;
            s.put(EXTENTS, &(InodeId(99), 0), &Extent { length: 1, source })
        }),
        ("is beyond its part", |s| {
            let source = Source::Inline("xx".into());
            s.put(CONCATS, &(FILE, 50), &part(99, 1))?;
            s.put(EXTENTS, &(InodeId(99), 0), &Extent { length: 2, source })
        }),
    ]
}

fn member_damage() -> Vec<(&'static str, Edit)> {
    vec![
        ("its key's node", |s| s.remove(NODE_KEYS, &NodeKey(1))),
        ("rows of NODE_KEYS", |s| {
            s.put(NODE_KEYS, &NodeKey(2), &NODE)
        }),
        ("does not expire", |s| {
            let session = s.get(SESSIONS, &ClientId(1))?.unwrap();
            s.remove(SESSION_AGES, &session.age(ClientId(1)))
        }),
        ("remembered for no one", |s| {
            s.remove(SESSIONS, &ClientId(1))
        }),
        ("of no session", |s| s.remove(SESSIONS, &ClientId(1))),
        ("answers remembered", |s| {
            let first = s.get(REPLIES, &(ClientId(1), 1))?.unwrap();
            let many = 10..10 + sessions::REPLIES_PER_CLIENT_MAX;
            many.into_iter()
                .try_for_each(|seq| s.put(REPLIES, &(ClientId(1), seq), &first))
        }),
    ]
}

fn join_token() -> JoinToken {
    JoinToken {
        hash: TokenHash([1; 32]),
        role: NodeRole::DataNode,
        node: None,
        uses: 1,
        expires: Timestamp(1),
        label: String::new(),
        by: UserId::ROOT,
        created: Timestamp(0),
    }
}

fn account_damage() -> Vec<(&'static str, Edit)> {
    vec![
        ("its name's user", |s| {
            s.remove(USER_NAMES, &"admin".parse().unwrap())
        }),
        ("rows of USER_NAMES", |s| {
            s.put(USER_NAMES, &"ghost".parse().unwrap(), &UserId(7))
        }),
        ("u0 and g0 disagree", |s| {
            s.remove(MEMBERS, &(GroupId::ADMIN, UserId::ROOT))
        }),
        ("u7 and g0 disagree", |s| {
            s.put(MEMBERS, &(GroupId::ADMIN, UserId(7)), &())
        }),
        ("which is not there", |s| s.remove(GROUPS, &GroupId::ADMIN)),
        ("its name's group", |s| {
            s.remove(GROUP_NAMES, &"admin".parse().unwrap())
        }),
        ("rows of GROUP_NAMES", |s| {
            s.put(GROUP_NAMES, &"ghost".parse().unwrap(), &GroupId(7))
        }),
        ("the lists of i3 are of nothing", |s| {
            s.put(ACLS, &FILE, &Acls::default())
        }),
        ("i3 lacks its lists", |s| {
            edit_inode(s, FILE, |row| row.has_acl = true)
        }),
        ("j7: its hash's token", |s| {
            s.put(JOIN_TOKENS, &TokenId(7), &join_token())
        }),
        ("rows of TOKEN_HASHES", |s| {
            s.put(TOKEN_HASHES, &TokenHash([1; 32]), &TokenId(7))
        }),
        ("j7 is used up", |s| {
            let uses = 0;
            let token = JoinToken {
                uses,
                ..join_token()
            };
            s.put(JOIN_TOKENS, &TokenId(7), &token)
        }),
        ("t1 is not u0's", |s| {
            s.remove(TRASH_OWNERS, &(UserId::ROOT, TrashId(1)))
        }),
        ("rows of TRASH_OWNERS", |s| {
            s.put(TRASH_OWNERS, &(UserId(7), TrashId(1)), &())
        }),
    ]
}

fn assert_seen(damage: Vec<(&'static str, Edit)>) {
    for (index, (expected, edit)) in damage.into_iter().enumerate() {
        let machine = sound();
        machine.edit(edit);
        let found = check(&machine.view()).unwrap();
        let seen = found
            .iter()
            .any(|violation| violation.what.contains(expected));
        assert!(seen, "number {index}, `{expected}`: {found:#?}");
    }
}

#[test]
fn damage_of_the_tree_is_seen() {
    assert_seen(tree_damage());
}

#[test]
fn damage_of_extents_and_chunks_is_seen() {
    assert_seen(chunk_damage());
}

#[test]
fn damage_of_what_files_share_is_seen() {
    assert_seen(sharing_damage());
}

#[test]
fn damage_of_nodes_and_sessions_is_seen() {
    assert_seen(member_damage());
}

#[test]
fn damage_of_accounts_is_seen() {
    assert_seen(account_damage());
}

#[test]
fn a_missing_root_is_seen() {
    let machine = sound();
    machine.edit(|state| state.remove(INODES, &InodeId::ROOT));
    let found = check(&machine.view()).unwrap();
    assert!(
        found
            .iter()
            .any(|violation| violation.what.starts_with("the root")),
        "{found:#?}"
    );
}

#[test]
fn violations_beyond_a_thousand_are_only_counted() {
    let machine = sound();
    machine.edit(|state| {
        (100..2000_u64).try_for_each(|id| state.put(PURGE, &InodeId(id), &Purge::Tree))
    });
    let found = check(&machine.view()).unwrap();
    assert_eq!(found.len(), 1001);
    assert_eq!(found.last().unwrap().to_string(), "and 900 more");
}
