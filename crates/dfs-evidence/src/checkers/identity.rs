//! Identities: an id is given once, and what is in the trash comes back once.

use std::collections::BTreeMap;

use crate::history::{Op, Operation, Output};

/// What is wrong with the ids in a history: of all of it, as all share one space of ids.
pub fn complaints(operations: &[Operation<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    let mut inodes: BTreeMap<u64, u64> = BTreeMap::new();
    let mut directories: BTreeMap<u64, bool> = BTreeMap::new();
    let mut entries: BTreeMap<u64, u64> = BTreeMap::new();
    let mut ended: BTreeMap<u64, u64> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.is_ok()) {
        let began = operation.began;
        let mut once = |given: &mut BTreeMap<u64, u64>, id, what| {
            if let Some(first) = given.insert(id, began) {
                found.push(format!("{what} {id}, by the events {first} and {began}"));
            }
        };
        if let (Op::Mkdir { .. } | Op::Put { .. } | Op::Clone { .. }, Some(Output::Node(node)))
        | (
            Op::Create {
                exclusive: true, ..
            },
            Some(Output::Node(node)),
        ) = (operation.op, operation.output())
        {
            once(&mut inodes, node.inode, "M6: two new inodes have the id");
        }
        match (operation.op, operation.output()) {
            (_, Some(Output::Trash(Some(id)))) => {
                let what = "M6: two entries of the trash have the id";
                once(&mut entries, *id, what);
            }
            (Op::Restore { trash, .. } | Op::DropTrash { trash, .. }, _) => {
                let what = "M5: twice restored or dropped was the entry";
                once(&mut ended, *trash, what);
            }
            _ => {}
        }
        if let Some(Output::Node(node)) = operation.output()
            && *directories.entry(node.inode).or_insert(node.directory) != node.directory
        {
            let id = node.inode;
            found.push(format!(
                "M6: the inode {id} is a file and a directory, by event {began}"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::operations;
    use crate::history::tale::{Tale, create, directory, file, gone, stat, unlink};

    fn told(tell: impl Fn(&mut Tale)) -> Vec<String> {
        let mut tale = Tale::default();
        tell(&mut tale);
        let history = tale.history();
        complaints(&operations(&history, |_| true).unwrap())
    }

    #[test]
    fn an_id_that_is_given_again_is_found_though_its_first_owner_is_gone() {
        let found = told(|tale| {
            tale.does(1, create("/a"), file(7), 10);
            tale.does(1, unlink("/a"), gone(), 11);
            tale.does(2, create("/b"), file(7), 12);
        });
        assert_eq!(
            found,
            ["M6: two new inodes have the id 7, by the events 0 and 4"]
        );
        let put = Op::Put {
            path: "/f".into(),
            file: 1,
            version: 1,
            blocks: 1,
        };
        let found = told(|tale| {
            tale.does(1, create("/a"), file(7), 10);
            tale.does(2, put.clone(), file(7), 0);
        });
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn an_id_of_a_file_and_of_a_directory_is_found() {
        let found = told(|tale| {
            tale.does(1, stat("/a"), file(7), 10);
            tale.does(2, stat("/d"), directory(7), 12);
        });
        assert_eq!(
            found,
            ["M6: the inode 7 is a file and a directory, by event 2"]
        );
    }

    #[test]
    fn what_comes_back_twice_is_found() {
        let restore = || Op::Restore { trash: 3, to: None };
        let found = told(|tale| {
            tale.does(1, unlink("/a"), Some(Output::Trash(Some(3))), 10);
            tale.does(1, restore(), file(7), 11);
            tale.refused(1, restore(), "NotFound: t3", 12);
        });
        assert_eq!(found, Vec::<String>::new());
        let found = told(|tale| {
            tale.does(1, restore(), file(7), 11);
            tale.does(1, restore(), file(7), 12);
            tale.does(1, unlink("/a"), Some(Output::Trash(Some(3))), 13);
            tale.does(1, unlink("/b"), Some(Output::Trash(Some(3))), 14);
        });
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
