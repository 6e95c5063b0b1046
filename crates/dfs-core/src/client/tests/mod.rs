//! Tests of the client against masters and data nodes that do what a script says.

use crate::types::{Attr, FileKind, GroupId, InodeId, Mode, Policy, Timestamp, UserId};

/// Attributes of an empty file.
pub(in crate::client) fn attr() -> Attr {
    Attr {
        inode: InodeId(2),
        kind: FileKind::File,
        mode: Mode::FILE,
        owner: UserId::ROOT,
        group: GroupId(0),
        size: 0,
        links: 1,
        accessed: Timestamp(0),
        modified: Timestamp(0),
        changed: Timestamp(0),
        created: Timestamp(0),
        policy: Policy::DEFAULT,
        revision: 0,
        inline_bytes: 0,
    }
}
