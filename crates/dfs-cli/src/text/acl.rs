//! Access lists: `u:alice:rw-,d:g:dev:r-x`, and the lines of `getfacl`.

use std::str::FromStr;

use dfs_core::types::acl::{AclKind, Named};
use dfs_core::types::{Acl, FileKind, GroupId, Rights, UserId};
use serde::Serialize;

use super::owner::Names;

/// Entries to set, as `setfacl -m` takes them: `u:alice:rw-,d:g:dev:r-x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entries(Vec<(Key, Asked)>);

/// Entries to take away, as `setfacl -x` takes them: `u:alice,d:g:dev`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys(Vec<Key>);

/// Which entry of which list, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    which: AclKind,
    tag: Tag,
    /// Empty for the owner, the owning group, the mask and everybody else.
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    User,
    Group,
    Mask,
    Other,
}

/// Rights, and whether `X` asks for execution where it makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    rights: Rights,
    execute_if_useful: bool,
}

/// Whom an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    Owner,
    User(UserId),
    OwningGroup,
    Group(GroupId),
    Mask,
    Other,
}

/// The lists of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lists {
    /// Who may do what with it.
    pub(crate) access: Acl,
    /// What is made in it gets this, if it is a directory and has one.
    pub(crate) default: Option<Acl>,
}

/// What to do with lists: first clear, then take away, then set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Edit {
    /// Takes away all that mode bits cannot say, and the default list.
    pub(crate) clear: bool,
    /// Takes away the default list.
    pub(crate) clear_default: bool,
    taken: Vec<(AclKind, Whom)>,
    set: Vec<(AclKind, Whom, Asked)>,
}

/// An entry as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    tag: &'static str,
    /// Whom it names; none for the entries that every list has.
    name: Option<String>,
    id: Option<u32>,
    rights: String,
    /// What the mask leaves of them.
    effective: String,
}

impl FromStr for Entries {
    type Err = String;

    fn from_str(text: &str) -> Result<Entries, String> {
        let entry = |text: &str| -> Result<(Key, Asked), String> {
            let bad = || format!("{text:?} is no entry; write u:NAME:rwx, g:NAME:r-x, m::r, o::-");
            let (which, parts) = split(text);
            let (key, rights) = match parts.as_slice() {
                [tag @ ("m" | "mask" | "o" | "other"), rights] => (key(which, tag, ""), rights),
                [tag, name, rights] => (key(which, tag, name), rights),
                _ => (None, &""),
            };
            Ok((key.ok_or_else(bad)?, parse_rights(rights).ok_or_else(bad)?))
        };
        let entries: Result<_, String> = text.split(',').map(entry).collect();
        entries.map(Entries)
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Keys, String> {
        let one = |text: &str| {
            let (which, parts) = split(text);
            let key = match parts.as_slice() {
                [tag] | [tag, ""] | [tag, "", ""] => key(which, tag, ""),
                [tag, name] | [tag, name, ""] => key(which, tag, name),
                _ => None,
            };
            // What every list has cannot be taken away.
            let key = key.filter(|key| key.tag == Tag::Mask || !key.name.is_empty());
            key.ok_or_else(|| {
                format!("{text:?} is no entry to take away; write u:NAME, g:NAME, d:u:NAME, m")
            })
        };
        let keys: Result<_, String> = text.split(',').map(one).collect();
        keys.map(Keys)
    }
}

/// Which list is meant, and the parts of the entry.
fn split(text: &str) -> (AclKind, Vec<&str>) {
    let mut parts: Vec<&str> = text.trim().split(':').collect();
    match parts.first() {
        Some(&("d" | "default")) => {
            parts.remove(0);
            (AclKind::Default, parts)
        }
        _ => (AclKind::Access, parts),
    }
}

fn key(which: AclKind, tag: &str, name: &str) -> Option<Key> {
    let tag = match tag {
        "u" | "user" => Tag::User,
        "g" | "group" => Tag::Group,
        "m" | "mask" => Tag::Mask,
        "o" | "other" => Tag::Other,
        _ => return None,
    };
    let names_nobody = matches!(tag, Tag::Mask | Tag::Other);
    let fits = name.is_empty() || !names_nobody;
    fits.then(|| Key {
        which,
        tag,
        name: name.to_owned(),
    })
}

/// `rw-`, `r-X`, `6`.
fn parse_rights(text: &str) -> Option<Asked> {
    let mut asked = Asked {
        rights: Rights::NONE,
        execute_if_useful: false,
    };
    if let [digit @ b'0'..=b'7'] = text.as_bytes() {
        asked.rights = Rights::new(u32::from(digit - b'0'));
        return Some(asked);
    }
    for letter in text.chars() {
        let more = match letter {
            'r' => Rights::READ,
            'w' => Rights::WRITE,
            'x' => Rights::EXECUTE,
            '-' => Rights::NONE,
            'X' => {
                asked.execute_if_useful = true;
                Rights::NONE
            }
            _ => return None,
        };
        asked.rights = asked.rights.and(more);
    }
    (!text.is_empty()).then_some(asked)
}

impl Key {
    fn whom(&self, names: &Names) -> Result<Whom, String> {
        Ok(match (self.tag, self.name.as_str()) {
            (Tag::User, "") => Whom::Owner,
            (Tag::User, name) => Whom::User(names.user_id(name)?),
            (Tag::Group, "") => Whom::OwningGroup,
            (Tag::Group, name) => Whom::Group(names.group_id(name)?),
            (Tag::Mask, _) => Whom::Mask,
            (Tag::Other, _) => Whom::Other,
        })
    }
}

impl Edit {
    /// Also sets these entries.
    ///
    /// # Errors
    /// Names what nobody knows.
    pub(crate) fn set(&mut self, entries: &Entries, names: &Names) -> Result<(), String> {
        for (key, asked) in &entries.0 {
            self.set.push((key.which, key.whom(names)?, *asked));
        }
        Ok(())
    }

    /// Also takes these entries away.
    ///
    /// # Errors
    /// Names what nobody knows.
    pub(crate) fn take(&mut self, keys: &Keys, names: &Names) -> Result<(), String> {
        for key in &keys.0 {
            self.taken.push((key.which, key.whom(names)?));
        }
        Ok(())
    }

    /// Whether it sets a default list, which only directories have.
    pub(crate) fn is_for_directories(&self) -> bool {
        self.set
            .iter()
            .any(|(which, ..)| *which == AclKind::Default)
    }

    /// The lists of something of `kind` afterwards. A default list is left out of what is no
    /// directory. A mask that is not set here is the widest that makes sense, as everywhere.
    ///
    /// # Errors
    /// A list would contradict itself; says how.
    pub(crate) fn apply_to(&self, lists: &Lists, kind: FileKind) -> Result<Lists, String> {
        let Lists { access, default } = lists.clone();
        let (access, default) = match (self.clear, self.clear_default) {
            (true, _) => (without_names(access), None),
            (false, true) => (access, None),
            (false, false) => (access, default),
        };
        let access = match self.is_about(AclKind::Access) {
            true => self.edited(access, AclKind::Access, kind)?,
            false => access,
        };
        let default = match (default, kind) {
            (default, FileKind::File | FileKind::Symlink) => default,
            (None, FileKind::Directory) if !self.is_for_directories() => None,
            (Some(default), FileKind::Directory) if !self.is_about(AclKind::Default) => {
                Some(default)
            }
            (default, FileKind::Directory) => {
                let default = default.unwrap_or_else(|| Acl {
                    mask: None,
                    named: Named::default(),
                    ..access
                });
                Some(self.edited(default, AclKind::Default, kind)?)
            }
        };
        Ok(Lists { access, default })
    }

    fn is_about(&self, list: AclKind) -> bool {
        let taken = self.taken.iter().any(|(which, _)| *which == list);
        taken || self.set.iter().any(|(which, ..)| *which == list)
    }

    /// A list after what is to be done with it.
    fn edited(&self, mut acl: Acl, list: AclKind, kind: FileKind) -> Result<Acl, String> {
        let useful = kind == FileKind::Directory || is_executable(&acl);
        for (_, whom) in self.taken.iter().filter(|(which, _)| *which == list) {
            match whom {
                Whom::User(user) => acl.named.users.retain(|(id, _)| id != user),
                Whom::Group(group) => acl.named.groups.retain(|(id, _)| id != group),
                Whom::Mask | Whom::Owner | Whom::OwningGroup | Whom::Other => {}
            }
        }
        let mut mask = None;
        for (_, whom, asked) in self.set.iter().filter(|(which, ..)| *which == list) {
            let rights = match asked.execute_if_useful && useful {
                true => asked.rights.and(Rights::EXECUTE),
                false => asked.rights,
            };
            match whom {
                Whom::Owner => acl.owner = rights,
                Whom::User(user) => put(&mut acl.named.users, *user, rights),
                Whom::OwningGroup => acl.group = rights,
                Whom::Group(group) => put(&mut acl.named.groups, *group, rights),
                Whom::Mask => mask = Some(rights),
                Whom::Other => acl.other = rights,
            }
        }
        let needed = acl.named != Named::default();
        acl.mask = mask.or_else(|| needed.then(|| acl.widest_mask()));
        acl.validated()
    }
}

fn put<T: PartialEq>(entries: &mut Vec<(T, Rights)>, id: T, rights: Rights) {
    match entries.iter_mut().find(|(there, _)| *there == id) {
        Some((_, before)) => *before = rights,
        None => entries.push((id, rights)),
    }
}

/// The list without what mode bits cannot say. Nobody gets more by that.
fn without_names(acl: Acl) -> Acl {
    Acl {
        group: acl.group.within(acl.mask.unwrap_or(Rights::ALL)),
        mask: None,
        named: Named::default(),
        ..acl
    }
}

fn is_executable(acl: &Acl) -> bool {
    let users = acl.named.users.iter().map(|(_, rights)| *rights);
    let groups = acl.named.groups.iter().map(|(_, rights)| *rights);
    let mut all = users.chain(groups).chain([acl.owner, acl.group, acl.other]);
    all.any(|rights| rights.include(Rights::EXECUTE))
}

/// The entries of a list, in the order of POSIX.1e.
pub(crate) fn rows(acl: &Acl, names: &Names) -> Vec<Row> {
    let mask = acl.mask.unwrap_or(Rights::ALL);
    let row = |tag, named: Option<(u32, String)>, rights: Rights, most: Rights| {
        let (id, name) = named.unzip();
        Row {
            tag,
            name,
            id,
            rights: rights.to_string(),
            effective: rights.within(most).to_string(),
        }
    };
    let mut rows = vec![row("user", None, acl.owner, Rights::ALL)];
    let users = acl.named.users.iter();
    rows.extend(
        users.map(|(id, rights)| row("user", Some((id.0, names.user(*id))), *rights, mask)),
    );
    rows.push(row("group", None, acl.group, mask));
    let groups = acl.named.groups.iter();
    let group = |id: &GroupId| Some((id.0, names.group(*id)));
    rows.extend(groups.map(|(id, rights)| row("group", group(id), *rights, mask)));
    rows.extend(acl.mask.map(|mask| row("mask", None, mask, Rights::ALL)));
    rows.push(row("other", None, acl.other, Rights::ALL));
    rows
}

/// The line of an entry: `user:alice:rw-`, and what the mask leaves of it if that is less.
pub(crate) fn line(prefix: &str, row: &Row) -> String {
    let name = row.name.as_deref().unwrap_or_default();
    let line = format!("{prefix}{}:{name}:{}", row.tag, row.rights);
    match row.rights == row.effective {
        true => line,
        false => format!("{line}\t#effective:{}", row.effective),
    }
}

#[cfg(test)]
mod tests {
    use dfs_core::types::Mode;

    use super::*;

    fn lists(mode: u32) -> Lists {
        Lists {
            access: Acl::of_mode(Mode::new(mode)),
            default: None,
        }
    }

    fn edit(set: &[&str], taken: &[&str]) -> Edit {
        let mut edit = Edit::default();
        for text in set {
            edit.set(&text.parse().unwrap(), &Names::default()).unwrap();
        }
        for text in taken {
            edit.take(&text.parse().unwrap(), &Names::default())
                .unwrap();
        }
        edit
    }

    fn shown(acl: &Acl) -> String {
        let rows = rows(acl, &Names::default());
        let lines: Vec<_> = rows.iter().map(|row| line("", row)).collect();
        lines.join(" ")
    }

    #[test]
    fn entries_are_read_as_setfacl_reads_them() {
        for good in [
            "u:1:rw-",
            "user:1:rwx",
            "u::r",
            "g:1:5",
            "group::-",
            "m:rx",
            "mask::rx",
            "o:r",
            "other::---",
            "d:u:1:rwX,default:g::0",
        ] {
            assert!(good.parse::<Entries>().is_ok(), "{good}");
        }
        for bad in [
            "", "u", "u:1", "u:1:", "u:1:q", "u:1:8", "u:1:77", "x:1:r", "m:1:r", "o:1:r", "d",
            "u:1:r:", "u:1:r,",
        ] {
            assert!(bad.parse::<Entries>().is_err(), "{bad}");
        }
        for good in ["u:1", "g:1:", "m", "mask:", "m::", "d:u:1,default:g:2"] {
            assert!(good.parse::<Keys>().is_ok(), "{good}");
        }
        for bad in ["", "u", "u:", "g::", "o", "u:1:r", "d:", "m:1", "u:1,"] {
            assert!(bad.parse::<Keys>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mask_comes_with_the_first_name_and_goes_with_the_last() {
        let set = edit(&["u:7:rw-"], &[]);
        let after = set.apply_to(&lists(0o640), FileKind::File).unwrap();
        assert_eq!(
            shown(&after.access),
            "user::rw- user:7:rw- group::r-- mask::rw- other::---"
        );
        let again = edit(&["u:7:r"], &[]);
        let again = again.apply_to(&after, FileKind::File).unwrap();
        assert_eq!(again.access.mask, Some(Rights::READ));
        let taken = edit(&[], &["u:7"]);
        let taken = taken.apply_to(&after, FileKind::File).unwrap();
        assert_eq!(taken, lists(0o640));
    }

    #[test]
    fn a_mask_that_is_given_stays_and_what_it_leaves_is_shown() {
        let set = edit(&["u:7:rwx,m::r"], &[]);
        let after = set.apply_to(&lists(0o660), FileKind::File).unwrap();
        assert_eq!(
            shown(&after.access),
            "user::rw- user:7:rwx\t#effective:r-- group::rw-\t#effective:r-- mask::r-- other::---"
        );
    }

    #[test]
    fn clearing_gives_nobody_more() {
        let set = edit(&["u:7:rwx,g:8:r,m::r"], &[]);
        let before = set.apply_to(&lists(0o660), FileKind::File).unwrap();
        let clear = Edit {
            clear: true,
            ..Edit::default()
        };
        let after = clear.apply_to(&before, FileKind::File).unwrap();
        assert_eq!(after, lists(0o640));
    }

    #[test]
    fn a_default_list_begins_as_the_access_list_and_is_for_directories() {
        let set = edit(&["d:g:8:rwx"], &[]);
        assert!(set.is_for_directories());
        let after = set.apply_to(&lists(0o750), FileKind::Directory).unwrap();
        assert_eq!(after.access, lists(0o750).access);
        assert_eq!(
            shown(&after.default.clone().unwrap()),
            "user::rwx group::r-x group:8:rwx mask::rwx other::---"
        );
        let file = set.apply_to(&lists(0o640), FileKind::File).unwrap();
        assert_eq!(file, lists(0o640));
        // What is taken away from a list that is not there makes none.
        let taken = edit(&[], &["d:g:8"]);
        let none = taken.apply_to(&lists(0o750), FileKind::Directory).unwrap();
        assert_eq!(none.default, None);
        let clear = Edit {
            clear_default: true,
            ..Edit::default()
        };
        let cleared = clear.apply_to(&after, FileKind::Directory).unwrap();
        assert_eq!(cleared, lists(0o750));
    }

    #[test]
    fn execution_is_given_where_somebody_has_it_and_for_directories() {
        let set = edit(&["u:7:rX"], &[]);
        let of = |mode, kind| {
            let after = set.apply_to(&lists(mode), kind).unwrap();
            after.access.named.users[0].1
        };
        assert_eq!(of(0o640, FileKind::File), Rights::READ);
        let both = Rights::READ.and(Rights::EXECUTE);
        assert_eq!(of(0o740, FileKind::File), both);
        assert_eq!(of(0o640, FileKind::Directory), both);
    }

    #[test]
    fn a_name_that_nobody_knows_is_named() {
        let entries: Entries = "u:bob:r".parse().unwrap();
        let unknown = Edit::default().set(&entries, &Names::default());
        assert!(unknown.unwrap_err().contains("`bob`"));
    }
}
