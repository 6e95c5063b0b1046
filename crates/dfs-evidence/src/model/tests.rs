use super::*;
use crate::history::{Node, Output};

fn mkdir(path: &str) -> Op {
    Op::Mkdir { path: path.into() }
}

fn create(path: &str) -> Op {
    let (path, exclusive) = (path.into(), true);
    Op::Create { path, exclusive }
}

fn rename(from: &str, to: &str) -> Op {
    let (from, to, replace) = (from.into(), to.into(), true);
    Op::Rename { from, to, replace }
}

fn link(from: &str, to: &str) -> Op {
    let (from, to) = (from.into(), to.into());
    Op::Link { from, to }
}

fn unlink(path: &str, skip_trash: bool) -> Op {
    let path = path.into();
    Op::Unlink { path, skip_trash }
}

/// Carries all out; what each gave, or why it was refused.
fn run(ops: &[Op]) -> (Namespace, Vec<Result<Output, &'static str>>) {
    let mut namespace = Namespace::new();
    let mut given = Vec::new();
    for (number, op) in (0..).zip(ops) {
        let gave = namespace.apply(op, number);
        given.push(
            gave.map(|gave| namespace.output(gave))
                .map_err(|Refused(why)| why),
        );
    }
    (namespace, given)
}

fn refusals(ops: &[Op]) -> Vec<&'static str> {
    let (_, given) = run(ops);
    given
        .into_iter()
        .map(|given| given.err().unwrap_or("ok"))
        .collect()
}

#[test]
fn rename_goes_by_the_rules_of_posix() {
    let begin = [
        mkdir("/d"),
        mkdir("/d/in"),
        mkdir("/e"),
        create("/f"),
        create("/g"),
    ];
    for (op, right) in [
        (rename("/f", "/g"), "ok"),
        (rename("/f", "/f"), "ok"),
        (rename("/f", "/d"), "IsADirectory"),
        (rename("/d", "/f"), "NotADirectory"),
        (rename("/e", "/d"), "NotEmpty"),
        (rename("/d", "/e"), "ok"),
        (rename("/d", "/d/in/x"), "IntoItself"),
        (rename("/d", "/d"), "ok"),
        (rename("/x", "/y"), "NotFound"),
        (rename("/f", "/x/y"), "NotFound"),
        (rename("/f", "/g/y"), "NotADirectory"),
        (rename("/", "/y"), "NotPermitted"),
    ] {
        let ops = [&begin[..], std::slice::from_ref(&op)].concat();
        assert_eq!(refusals(&ops).last(), Some(&right), "{op:?}");
    }
    let keep = Op::Rename {
        from: "/f".into(),
        to: "/g".into(),
        replace: false,
    };
    assert_eq!(
        refusals(&[&begin[..], &[keep]].concat()).last(),
        Some(&"Exists")
    );
}

#[test]
fn a_directory_takes_what_is_below_it_along() {
    let stat = Op::Stat {
        path: "/e/f".into(),
    };
    let ops = [mkdir("/d"), create("/d/f"), rename("/d", "/e"), stat];
    let (_, given) = run(&ops);
    assert_eq!(given[3], given[1]);
}

#[test]
fn links_count_names_and_entries_of_the_trash() {
    let stat = |path: &str| Op::Stat { path: path.into() };
    let ops = [
        create("/f"),
        link("/f", "/g"),
        unlink("/f", false),
        stat("/g"),
        unlink("/g", true),
        stat("/g"),
    ];
    let (namespace, given) = run(&ops);
    let links = |given: &Result<Output, _>| match given {
        Ok(Output::Node(Node { links, .. })) => *links,
        _ => 0,
    };
    assert_eq!(
        given.iter().map(links).collect::<Vec<_>>(),
        [1, 2, 0, 2, 0, 0]
    );
    assert_eq!((namespace.items.len(), namespace.trash.len()), (2, 1));
}

#[test]
fn what_is_removed_comes_back_once() {
    let mut namespace = Namespace::with(&["/d"], &["/d/f"]);
    let tree = Op::RemoveTree {
        path: "/d".into(),
        skip_trash: false,
    };
    let restore = Op::Restore {
        trash: 77,
        to: None,
    };
    let done = |output| Seen::Done(output);
    let trashed = Output::Trash(Some(77));
    assert_eq!(namespace.admit(&tree, 0, done(Some(&trashed))), Ok(()));
    let stat = Op::Stat {
        path: "/d/f".into(),
    };
    assert_eq!(namespace.admit(&stat, 1, Seen::Refused("NotFound")), Ok(()));
    assert_eq!(namespace.admit(&restore, 2, done(None)), Ok(()));
    assert_eq!(namespace.admit(&stat, 3, done(None)), Ok(()));
    let again = namespace.clone().admit(&restore, 4, done(None));
    assert_eq!(again, Err("NotFound was right".into()));
    assert_eq!(
        namespace.admit(&restore, 4, Seen::Refused("NotFound")),
        Ok(())
    );
}

#[test]
fn an_id_is_learnt_and_holds_from_then_on_and_is_never_anothers() {
    let node = |inode| {
        Output::Node(Node {
            inode,
            directory: false,
            size: 0,
            links: 1,
        })
    };
    let mut namespace = Namespace::with::<&str, &str>(&[], &["/f"]);
    let stat = Op::Stat { path: "/f".into() };
    let mut admit =
        |op: &Op, number, output: &Output| namespace.admit(op, number, Seen::Done(Some(output)));
    assert_eq!(admit(&stat, 0, &node(7)), Ok(()));
    assert_eq!(
        admit(&stat, 1, &node(8)),
        Err("the inode 7 was right".into())
    );
    assert_eq!(admit(&unlink("/f", true), 2, &Output::Trash(None)), Ok(()));
    let reused = admit(&create("/g"), 3, &node(7));
    assert_eq!(
        reused,
        Err("the inode 7 is another's, now or in the past".into())
    );
}

#[test]
fn what_touches_nothing_in_common_can_be_exchanged() {
    let namespace = Namespace::with(&["/d", "/e"], &["/d/f", "/d/g"]);
    let list = |path: &str| Op::List { path: path.into() };
    let stat = |path: &str| Op::Stat { path: path.into() };
    for (one, other, meet) in [
        (create("/x"), create("/y"), false),
        (create("/x"), create("/x"), true),
        (create("/d/x"), list("/d"), true),
        (create("/d/x"), list("/e"), false),
        (create("/d/x"), list("/"), false),
        (mkdir("/x"), list("/"), true),
        (rename("/d", "/x"), stat("/d/f"), true),
        (rename("/d", "/e/d"), rename("/e", "/d/e"), true),
        (link("/d/f", "/x"), stat("/d/f"), true),
        (link("/d/f", "/x"), stat("/d/g"), false),
        (unlink("/d/f", true), unlink("/d/g", true), false),
        (unlink("/d/f", false), rename("/d", "/x"), true),
    ] {
        let (first, second) = (namespace.touch(&one).0, namespace.touch(&other).0);
        assert_eq!(first.meets(&second), meet, "{one:?} {other:?}");
        assert_eq!(second.meets(&first), meet);
        if !meet {
            let (mut ab, mut ba) = (namespace.clone(), namespace.clone());
            let _ = (ab.apply(&one, 0), ab.apply(&other, 1));
            let _ = (ba.apply(&other, 1), ba.apply(&one, 0));
            assert_eq!(ab, ba);
        }
    }
}

#[test]
fn what_went_to_the_trash_unheard_leads_nowhere_and_still_counts() {
    let mut namespace = Namespace::with(&["/d", "/d/in"], &["/d/f"]);
    namespace.apply(&link("/d/f", "/g"), 0).unwrap();
    let without = Namespace::with::<&str, _>(&[], &["/g"]);
    let remove = |path: &str| Op::RemoveTree {
        path: path.into(),
        skip_trash: false,
    };
    namespace.apply_unheard(&remove("/d"), 1).unwrap();
    let names = |namespace: &mut Namespace| {
        let list = Op::List { path: "/".into() };
        match namespace.answer(&list, 2) {
            Ok(Output::Names(names)) => names.into_iter().map(|(name, _)| name).collect(),
            other => vec![format!("{other:?}")],
        }
    };
    assert_eq!(names(&mut namespace), names(&mut without.clone()));
    let stat = Op::Stat { path: "/g".into() };
    let answer = namespace.answer(&stat, 3);
    let Ok(Output::Node(Node { links, .. })) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(links, 2, "the trash has it still");
    assert_eq!(namespace.items.len(), 2, "the root and the file");

    namespace.apply_unheard(&unlink("/g", false), 4).unwrap();
    let mut heard = namespace.clone();
    namespace.apply_unheard(&create("/g"), 5).unwrap();
    namespace.apply_unheard(&unlink("/g", false), 6).unwrap();
    heard.apply(&create("/g"), 5).unwrap();
    heard.apply(&unlink("/g", false), 6).unwrap();
    assert_eq!(namespace.trash.len() + 1, heard.trash.len());
}
