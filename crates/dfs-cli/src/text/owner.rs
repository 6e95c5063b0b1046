//! Owners and groups: numbers in files, names where the cluster or this machine knows them.

use std::collections::BTreeMap;

use dfs_core::client::Client;
use dfs_core::types::{GroupId, UserId};

use crate::error::{self, Doing};
use crate::local;

/// The names of users and groups.
#[derive(Debug, Default)]
pub(crate) struct Names {
    source: Source,
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

/// Who knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Source {
    #[default]
    Machine,
    Cluster,
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
            source: Source::Machine,
            users: parse_names(&local::read_text("/etc/passwd").unwrap_or_default()),
            groups: parse_names(&local::read_text("/etc/group").unwrap_or_default()),
        }
    }

    /// Asks a cluster for the names of all its users and groups.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn of_cluster(client: &Client) -> error::Result<Names> {
        let users = client.users().await.doing("list", "the users")?;
        let groups = client.groups().await.doing("list", "the groups")?;
        let users = users.iter().map(|user| (user.name.to_string(), user.id.0));
        let groups = groups
            .iter()
            .map(|group| (group.name.to_string(), group.id.0));
        Ok(Names {
            source: Source::Cluster,
            users: users.collect(),
            groups: groups.collect(),
        })
    }

    /// Those that go with a cluster: its own where people log in, otherwise this machine's.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn fitting(client: &Client) -> error::Result<Names> {
        match client.config().access.is_some() {
            true => Names::of_cluster(client).await,
            false => Ok(Names::load()),
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
    /// Names what nobody knows.
    pub(crate) fn parse(&self, text: &str) -> Result<Ownership, String> {
        let (user, group) = match text.split_once(':') {
            None => (text, None),
            Some((user, group)) => (user, Some(group)),
        };
        let ownership = Ownership {
            owner: match user {
                "" => None,
                user => Some(self.user_id(user)?),
            },
            group: match group {
                None | Some("") => None,
                Some(group) => Some(self.group_id(group)?),
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

    /// The user of a name or number.
    ///
    /// # Errors
    /// Names what nobody knows.
    pub(crate) fn user_id(&self, text: &str) -> Result<UserId, String> {
        self.source.find(&self.users, "user", text).map(UserId)
    }

    /// The group of a name or number.
    ///
    /// # Errors
    /// Names what nobody knows.
    pub(crate) fn group_id(&self, text: &str) -> Result<GroupId, String> {
        self.source.find(&self.groups, "group", text).map(GroupId)
    }
}

impl Source {
    fn find(self, names: &BTreeMap<String, u32>, what: &str, text: &str) -> Result<u32, String> {
        let known = names.get(text).copied();
        let id = known.map_or_else(|| text.parse::<u32>(), Ok);
        id.map_err(|_| match self {
            Source::Machine => format!(
                "this machine knows no {what} `{text}`; names come from /etc, numbers always work"
            ),
            Source::Cluster => format!(
                "the cluster has no {what} `{text}`; `dfs {what} ls` shows them, numbers always \
                 work"
            ),
        })
    }
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
            source: Source::Machine,
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
    fn who_does_not_know_a_name_is_said() {
        let mut names = names();
        assert!(names.user_id("bob").unwrap_err().contains("/etc"));
        names.source = Source::Cluster;
        assert!(names.user_id("bob").unwrap_err().contains("dfs user ls"));
        assert!(names.group_id("").unwrap_err().contains("dfs group ls"));
        assert_eq!(names.group_id("staff"), Ok(GroupId(50)));
    }

    #[test]
    fn a_number_without_a_name_is_shown_as_it_is() {
        assert_eq!(names().user(UserId(1000)), "ann");
        assert_eq!(names().user(UserId(4711)), "4711");
    }
}
