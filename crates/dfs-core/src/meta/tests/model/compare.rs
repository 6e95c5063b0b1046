//! Whole trees, byte by byte.

use dfs_raft::state::ReadState;

use super::attributes::Facts;
use super::tree::{Byte, Item, Tree};
use super::views::View;
use crate::meta::query::answer;
use crate::types::query::{LayoutSource, Query};
use crate::types::{Answer, ByteRange, Caller, FileKind, InodeId, Location, SnapshotId};

fn ask(state: &impl ReadState, query: &Query) -> Answer {
    answer(state, Caller::System, query)
        .unwrap()
        .unwrap_or_else(|refusal| panic!("{refusal}: {query:?}"))
}

pub(super) fn compare(tree: &Tree, state: &impl ReadState) {
    let Answer::StatFs(totals) = ask(state, &Query::StatFs) else {
        panic!()
    };
    assert_eq!(totals.inodes, tree.items.len() as u64, "inodes");
    for (id, item) in &tree.items {
        if !tree.uploads.contains(id) {
            compare_item((tree, None), state, *id, item);
        }
    }
    let Answer::Trash(trash) = ask(
        state,
        &Query::ListTrash {
            after: None,
            limit: 4096,
        },
    ) else {
        panic!()
    };
    let found = trash
        .entries
        .iter()
        .map(|e| (e.trash.0, e.inode.0, e.path.clone(), e.expires));
    let expected = tree
        .trash
        .iter()
        .map(|(id, e)| (*id, e.inode, e.path.clone(), e.expires));
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// All below a directory is in a snapshot what it was when that was made, and where its name leads.
pub(super) fn compare_view(view: &View, state: &impl ReadState) {
    let mut todo = vec![view.dir];
    while let Some(id) = todo.pop() {
        let item = &view.tree.items[&id];
        compare_item((&view.tree, Some(view.number)), state, id, item);
        if let Item::Directory(names) = item {
            todo.extend(names.values());
        }
    }
    let list = InodeId(view.dir).within(SnapshotId::LIST);
    let at = Location {
        path: format!("/{}", view.name).parse().unwrap(),
        ..Location::from(list)
    };
    let Answer::Attr(top) = ask(state, &Query::Stat { at, follow: true }) else {
        panic!()
    };
    assert_eq!(top.inode, InodeId(view.dir).within(view.number));
}

fn compare_item(
    (tree, view): (&Tree, Option<SnapshotId>),
    state: &impl ReadState,
    id: u64,
    item: &Item,
) {
    let shown = |id| view.map_or(InodeId(id), |number| InodeId(id).within(number));
    let at = Location::from(shown(id));
    let stat = Query::Stat {
        at: at.clone(),
        follow: false,
    };
    let Answer::Attr(attr) = ask(state, &stat) else {
        panic!()
    };
    let found = Facts {
        mode: attr.mode,
        owner: attr.owner,
        group: attr.group,
        policy: attr.policy,
    };
    assert_eq!(found, tree.facts[&id], "i{id}");
    match item {
        Item::Directory(names) => {
            let list = Query::List {
                at,
                after: None,
                limit: 100,
                attrs: false,
            };
            let Answer::Entries(page) = ask(state, &list) else {
                panic!()
            };
            let found = page.entries.iter().map(|e| (e.name.to_string(), e.inode.0));
            let expected = names.iter().map(|(name, id)| (name.clone(), shown(*id).0));
            assert_eq!(
                found.collect::<Vec<_>>(),
                expected.collect::<Vec<_>>(),
                "i{id}"
            );
        }
        Item::Link(target) => {
            let Answer::Target(found) = ask(state, &Query::ReadLink { at }) else {
                panic!()
            };
            assert_eq!(found, *target, "i{id}");
        }
        Item::File(bytes) => {
            assert_eq!(read(state, at.clone(), (0, u64::MAX)), *bytes, "i{id}");
            // A part that begins and ends within extents.
            let (from, to) = (bytes.len() / 3, bytes.len() - bytes.len() / 4);
            let part = read(state, at, (from as u64, (to - from) as u64));
            assert_eq!(part[from..to], bytes[from..to], "i{id} {from}..{to}");
            let inline = bytes
                .iter()
                .filter(|byte| matches!(byte, Byte::Inline(_)))
                .count();
            assert_eq!(attr.inline_bytes as usize, inline, "i{id}");
        }
    }
    if attr.kind != FileKind::Directory {
        assert_eq!(attr.links as usize, tree.links(id), "the links of i{id}");
    }
}

/// The bytes of a file, right at least in a range.
fn read(state: &impl ReadState, at: Location, (from, length): (u64, u64)) -> Vec<Byte> {
    let query = Query::Layout {
        at,
        range: ByteRange::new(from, length),
    };
    let Answer::Layout(layout) = ask(state, &query) else {
        panic!()
    };
    let mut bytes = vec![Byte::Zero; layout.attr.size as usize];
    for extent in layout.extents {
        for index in 0..extent.length {
            let byte = match &extent.source {
                LayoutSource::Chunk { chunk, offset, .. } => Byte::Chunk(*chunk, offset + index),
                LayoutSource::Inline(text) => Byte::Inline(text[index as usize]),
            };
            bytes[(extent.offset + index) as usize] = byte;
        }
    }
    bytes
}
