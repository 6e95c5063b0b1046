//! Owners and groups: numbers in the cluster, names where this machine knows them.

use std::collections::BTreeMap;

use dfs_core::types::{GroupId, UserId};

use crate::local;

/// The names this machine has for users and groups.
#[derive(Debug, Default)]
pub(crate) struct Names {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

/// Whom something shall belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ownership {
    /// The owner, if it changes.
    pub(crate) owner: Option<UserId>,
    /// The group, if it changes.
    pub(crate) group: Option<GroupId>,
}

impl Names {
    /// Reads `/etc/passwd` and `/etc/group`. A file that cannot be read knows no names.
    pub(crate) fn load() -> Names {
        Names {
            users: parse_names(&local::read_text("/etc/passwd").unwrap_or_default()),
            groups: parse_names(&local::read_text("/etc/group").unwrap_or_default()),
        }
    }

    /// The name of a user, or the number.
    pub(crate) fn user(&self, id: UserId) -> String {
        name_of(&self.users, id.0)
    }

    /// The name of a group, or the number.
    pub(crate) fn group(&self, id: GroupId) -> String {
        name_of(&self.groups, id.0)
    }

    /// Reads `user`, `user:group`, `:group`; names or numbers.
    ///
    /// # Errors
    /// Names what this machine does not know.
    pub(crate) fn parse(&self, text: &str) -> Result<Ownership, String> {
        let (user, group) = match text.split_once(':') {
            None => (text, None),
            Some((user, group)) => (user, Some(group)),
        };
        let ownership = Ownership {
            owner: find(&self.users, "user", user)?.map(UserId),
            group: match group {
                None => None,
                Some(group) => find(&self.groups, "group", group)?.map(GroupId),
            },
        };
        match ownership {
            Ownership {
                owner: None,
                group: None,
            } => Err(format!("{text:?} names nobody; write USER[:GROUP]")),
            ownership => Ok(ownership),
        }
    }
}

fn find(names: &BTreeMap<String, u32>, what: &str, text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(id) = names.get(text) {
        return Ok(Some(*id));
    }
    text.parse().map(Some).map_err(|_| {
        format!("this machine knows no {what} `{text}`; names come from /etc, numbers always work")
    })
}

fn name_of(names: &BTreeMap<String, u32>, id: u32) -> String {
    let name = names.iter().find(|(_, known)| **known == id);
    name.map_or_else(|| id.to_string(), |(name, _)| name.clone())
}

/// `name:password:id:…` lines; others are skipped, as everywhere.
fn parse_names(text: &str) -> BTreeMap<String, u32> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let id = fields.nth(1)?.parse().ok()?;
        Some((name, id))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            users: parse_names("root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:\nbroken\n"),
            groups: parse_names("staff:x:50:\n"),
        }
    }

    #[test]
    fn owners_are_names_or_numbers() {
        let both = names().parse("ann:staff").unwrap();
        assert_eq!(both.owner, Some(UserId(1000)));
        assert_eq!(both.group, Some(GroupId(50)));
        assert_eq!(names().parse("7").unwrap().owner, Some(UserId(7)));
        assert_eq!(names().parse(":7").unwrap().group, Some(GroupId(7)));
        assert_eq!(names().parse(":7").unwrap().owner, None);
    }

    #[test]
    fn unknown_names_are_named() {
        assert!(names().parse("bob").unwrap_err().contains("`bob`"));
        assert!(names().parse("ann:wheel").unwrap_err().contains("`wheel`"));
        assert!(names().parse("").is_err());
        assert!(names().parse(":").is_err());
    }

    #[test]
    fn a_number_without_a_name_is_shown_as_it_is() {
        assert_eq!(names().user(UserId(1000)), "ann");
        assert_eq!(names().user(UserId(4711)), "4711");
    }
}
