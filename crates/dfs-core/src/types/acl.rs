//! Access control lists, as POSIX.1e (draft 17, withdrawn, and what Linux does) has them.
//!
//! ```text
//! user::rw-            the owner                     owner
//! user:u1001:r--       one more user                 users
//! group::r--           the owning group              group
//! group:g1002:rw-      one more group                groups
//! mask::rw-            the most that users, group and groups get
//! other::---           everybody else                other
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use super::attr::Mode;
use super::id::{GroupId, UserId};

/// Most named users, and most named groups, in one list.
pub const ACL_ENTRIES_MAX: usize = 32;

/// Read, write, and execute or search.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "u8")]
pub struct Rights(u8);

/// What arrives is checked: other bits are dropped.
impl From<u8> for Rights {
    fn from(bits: u8) -> Rights {
        Rights::new(u32::from(bits))
    }
}

impl Rights {
    /// None.
    pub const NONE: Rights = Rights(0);
    /// Search a directory, execute a file.
    pub const EXECUTE: Rights = Rights(1);
    /// Change what is in it.
    pub const WRITE: Rights = Rights(2);
    /// Read what is in it.
    pub const READ: Rights = Rights(4);
    /// All.
    pub const ALL: Rights = Rights(7);

    /// The three lowest of `bits`.
    pub const fn new(bits: u32) -> Rights {
        Rights((bits & 7) as u8)
    }

    /// As the three lowest bits.
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn within(self, other: Rights) -> Rights {
        Rights(self.0 & other.0)
    }

    /// Whether all of `wanted` are among these.
    pub const fn include(self, wanted: Rights) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(4, 'r'), (2, 'w'), (1, 'x')];
        let text = all.map(|(bit, letter)| if self.0 & bit == 0 { '-' } else { letter });
        f.write_str(&text.iter().collect::<String>())
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which of the lists that something can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AclKind {
    /// Who may do what with it.
    Access,
    /// What is made in a directory gets this.
    Default,
}

/// The entries of a list that mode bits cannot say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Named {
    /// Named users, by id.
    pub users: Vec<(UserId, Rights)>,
    /// Named groups, by id.
    pub groups: Vec<(GroupId, Rights)>,
}

/// A whole list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// The owner's.
    pub owner: Rights,
    /// The owning group's.
    pub group: Rights,
    /// Everybody else's.
    pub other: Rights,
    /// The most that all but the owner and everybody else get. There is one exactly if somebody
    /// is named.
    pub mask: Option<Rights>,
    /// Named users and groups.
    pub named: Named,
}

impl Acl {
    /// What mode bits alone say.
    pub fn of_mode(mode: Mode) -> Acl {
        Acl {
            owner: Rights::new(mode.bits() >> 6),
            group: Rights::new(mode.bits() >> 3),
            other: Rights::new(mode.bits()),
            mask: None,
            named: Named::default(),
        }
    }

    /// Whether mode bits say all of it.
    pub fn is_minimal(&self) -> bool {
        self.mask.is_none() && self.named == Named::default()
    }

    /// The lower nine mode bits that go with it: those of the group are the mask's.
    pub fn mode_bits(&self) -> u32 {
        let class = self.mask.unwrap_or(self.group);
        self.owner.bits() << 6 | class.bits() << 3 | self.other.bits()
    }

    /// The list after `chmod`: the group's bits change the mask, if there is one.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Acl {
        let Acl {
            owner,
            group,
            other,
            ..
        } = Acl::of_mode(mode);
        self.owner = owner;
        self.other = other;
        match &mut self.mask {
            Some(mask) => *mask = group,
            None => self.group = group,
        }
        self
    }

    /// What a user that is in some groups may do with something of this owner and group, if that
    /// includes all that is `wanted` (POSIX.1e, 23.1.5).
    pub fn permits(
        &self,
        wanted: Rights,
        (user, groups): (UserId, &[GroupId]),
        (owner, group): (UserId, GroupId),
    ) -> bool {
        if user == owner {
            return self.owner.include(wanted);
        }
        let mask = self.mask.unwrap_or(Rights::ALL);
        let named = self.named.users.iter().find(|(id, _)| *id == user);
        if let Some((_, rights)) = named {
            return rights.within(mask).include(wanted);
        }
        // One of the entries of its groups must have all that is wanted.
        let own = std::iter::once((group, self.group));
        let all = own.chain(self.named.groups.iter().copied());
        let mut of_groups = all.filter(|(id, _)| groups.contains(id)).peekable();
        match of_groups.peek() {
            Some(_) => of_groups.any(|(_, rights)| rights.within(mask).include(wanted)),
            None => self.other.include(wanted),
        }
    }

    /// What something new gets in a directory that has this as its default: no more than the
    /// mode that was asked for.
    #[must_use]
    pub fn inherited(mut self, mode: Mode) -> Acl {
        let asked = Acl::of_mode(mode);
        self.owner = self.owner.within(asked.owner);
        self.other = self.other.within(asked.other);
        match &mut self.mask {
            Some(mask) => *mask = mask.within(asked.group),
            None => self.group = self.group.within(asked.group),
        }
        self
    }

    /// Puts entries in order.
    ///
    /// # Errors
    /// Somebody is named twice, too many are named, or there are names and no mask.
    pub fn validated(mut self) -> Result<Acl, String> {
        self.named.users.sort_by_key(|(id, _)| *id);
        self.named.groups.sort_by_key(|(id, _)| *id);
        if let Some(user) = repeated(&self.named.users) {
            return Err(format!("{user} is named twice"));
        }
        if let Some(group) = repeated(&self.named.groups) {
            return Err(format!("{group} is named twice"));
        }
        let most = self.named.users.len().max(self.named.groups.len());
        if most > ACL_ENTRIES_MAX {
            return Err(format!("{most} are named, more than {ACL_ENTRIES_MAX}"));
        }
        if self.mask.is_none() && self.named != Named::default() {
            return Err("users or groups are named and there is no mask".to_owned());
        }
        Ok(self)
    }

    /// The mask that limits nobody: all that named users, the group and named groups have.
    pub fn widest_mask(&self) -> Rights {
        let users = self.named.users.iter().map(|(_, rights)| *rights);
        let groups = self.named.groups.iter().map(|(_, rights)| *rights);
        users.chain(groups).fold(self.group, Rights::and)
    }
}

/// The first id that two neighbours have.
fn repeated<T: PartialEq>(entries: &[(T, Rights)]) -> Option<&T> {
    let next = entries.iter().skip(1);
    let mut pairs = entries.iter().zip(next);
    let pair = pairs.find(|((one, _), (other, _))| one == other);
    pair.map(|((one, _), _)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: UserId = UserId(1);
    const GROUP: GroupId = GroupId(1);

    fn rights(text: &str) -> Rights {
        let bit = |letter| match letter {
            'r' => Rights::READ,
            'w' => Rights::WRITE,
            'x' => Rights::EXECUTE,
            _ => Rights::NONE,
        };
        text.chars().map(bit).fold(Rights::NONE, Rights::and)
    }

    fn list() -> Acl {
        Acl {
            owner: rights("r"),
            group: rights("r"),
            other: rights("rwx"),
            mask: Some(rights("rw")),
            named: Named {
                users: vec![(UserId(2), rights("rwx")), (UserId(3), rights(""))],
                groups: vec![(GroupId(2), rights("w")), (GroupId(3), rights("rx"))],
            },
        }
    }

    fn may(acl: &Acl, user: u32, groups: &[u32], wanted: &str) -> bool {
        let groups: Vec<GroupId> = groups.iter().copied().map(GroupId).collect();
        acl.permits(rights(wanted), (UserId(user), &groups), (OWNER, GROUP))
    }

    #[test]
    fn the_first_entry_that_fits_decides() {
        let acl = list();
        // The owner, though others may more.
        assert!(may(&acl, 1, &[1, 2], "r") && !may(&acl, 1, &[1, 2], "w"));
        // A named user, within the mask; not its groups', nor everybody's.
        assert!(may(&acl, 2, &[], "rw") && !may(&acl, 2, &[], "x"));
        assert!(!may(&acl, 3, &[1], "r"));
        // Everybody else is not limited by the mask.
        assert!(may(&acl, 9, &[9], "rwx"));
    }

    #[test]
    fn one_group_must_have_all_that_is_wanted() {
        let acl = list();
        assert!(may(&acl, 9, &[1, 2], "r") && may(&acl, 9, &[1, 2], "w"));
        assert!(!may(&acl, 9, &[1, 2], "rw"), "of two groups one each");
        assert!(!may(&acl, 9, &[3], "x"), "the mask lacks it");
        assert!(
            !may(&acl, 9, &[2], "r"),
            "a group that fits keeps others out"
        );
    }

    #[test]
    fn mode_bits_and_lists_agree() {
        for bits in 0..0o1000 {
            let mode = Mode::new(bits);
            let acl = Acl::of_mode(mode);
            assert_eq!(acl.mode_bits(), bits);
            assert!(acl.is_minimal());
            assert_eq!(list().with_mode(mode).mode_bits(), bits);
        }
        assert_eq!(list().mode_bits(), 0o467);
        assert_eq!(list().with_mode(Mode::new(0o700)).group, rights("r"));
    }

    #[test]
    fn what_is_inherited_is_never_more_than_asked_for() {
        let made = list().inherited(Mode::new(0o640));
        assert_eq!(made.mode_bits(), 0o440);
        assert_eq!(made.mask, Some(rights("r")));
        assert_eq!(made.named, list().named);
    }

    #[test]
    fn a_list_that_contradicts_itself_is_refused() {
        let mut twice = list();
        twice.named.users.push((UserId(2), rights("r")));
        assert!(twice.validated().unwrap_err().contains("u2 is named twice"));
        let mut open = list();
        open.mask = None;
        assert!(open.validated().unwrap_err().contains("no mask"));
        let mut many = list();
        many.named.groups = (0..33).map(|id| (GroupId(id), Rights::READ)).collect();
        assert!(many.validated().is_err());
        assert_eq!(list().widest_mask(), Rights::ALL);
    }
}
