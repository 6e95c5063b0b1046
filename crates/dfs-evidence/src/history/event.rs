//! The events of a history.

use dfs_core::types::Rev;
use serde::{Deserialize, Serialize};

use crate::faults::Fault;

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order of all events.
    pub index: u64,
    /// Nanoseconds since the run began, on one monotonic clock.
    pub time: u64,
    /// Who.
    pub actor: Actor,
    /// What stage.
    pub kind: Kind,
    /// The operation, with what it is given.
    pub op: Op,
    /// What it gave, if it ended well.
    pub output: Option<Output>,
    /// The point of history it belongs to, if a master said so; refusals have one too.
    pub rev: Option<Rev>,
    /// The error, by its stable name first: `NotFound: /a`.
    pub error: Option<String>,
}

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// A client, one operation at a time. After an `info` its number is never used again.
    Process(u64),
    /// Whoever makes the faults.
    Nemesis,
}

/// The stages of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is about to be sent.
    Invoke,
    /// It was done.
    Ok,
    /// It was not done, and never will be.
    Fail,
    /// It is not known whether it was or will be done.
    Info,
}

/// An operation and what it is given: `f` and `value` of a line.
#[allow(missing_docs, reason = "fields that are called what they are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "kebab-case")]
pub enum Op {
    /// Makes a directory.
    Mkdir { path: String },
    /// Makes an empty file.
    Create { path: String, exclusive: bool },
    /// Gives a file another name.
    Link { from: String, to: String },
    /// Moves a name.
    Rename {
        from: String,
        to: String,
        replace: bool,
    },
    /// Removes a file's name.
    Unlink { path: String, skip_trash: bool },
    /// Removes an empty directory.
    Rmdir { path: String },
    /// Removes a tree.
    RemoveTree { path: String, skip_trash: bool },
    /// Brings something back from the trash.
    Restore { trash: u64, to: Option<String> },
    /// Removes something from the trash for good. The path is the one that it was removed from.
    DropTrash { trash: u64, path: String },
    /// Asks for attributes.
    Stat { path: String },
    /// Asks for all names in a directory, in one page: at one point of history.
    List { path: String },
    /// Asks for all names in a directory, page after page: at no one point of history.
    ListAll { path: String },
    /// Replaces what a register (a small file) holds.
    Set { key: String, number: u64 },
    /// Reads a register.
    Get { key: String },
    /// Makes a file of blocks that tell file, version and place; replaces what was there.
    Put {
        path: String,
        file: u64,
        version: u64,
        blocks: u64,
    },
    /// Adds blocks at the end.
    Append {
        path: String,
        file: u64,
        version: u64,
        blocks: u64,
    },
    /// Writes blocks over others.
    Overwrite {
        path: String,
        file: u64,
        version: u64,
        first: u64,
        blocks: u64,
    },
    /// Sets the length of a file, in blocks.
    Truncate {
        path: String,
        file: u64,
        version: u64,
        blocks: u64,
    },
    /// Reads a file of blocks, all of it.
    ReadBlocks { path: String },
    /// What is below this directory is not changed any more, and is looked at once more.
    LastLook { of: String },
    /// A fault begins (`invoke`), has begun (`info`), or is healed (`ok`).
    Fault(Fault),
    /// Everything is healed.
    Heal,
    /// Gives what somebody needs to do something, or takes it away.
    SetRight { right: Right, on: bool },
    /// Asks whether it is given.
    SeeRight { right: Right },
    /// Whoever is logged in as a user must log in again.
    VoidTickets { user: String },
    /// Does as a user what takes this right, and those that all takes which the user does.
    UseRight {
        user: String,
        right: Right,
        how: Use,
        path: String,
    },
    /// Asks how many inodes are used of the quota of a directory.
    Used { path: String },
    /// Makes a file of the bytes of another, which both have from then on.
    Clone {
        from: String,
        to: String,
        replace: bool,
    },
    /// Appends a whole file to another; its name goes, past the trash.
    Concat { to: String, from: String },
    /// A client has read bytes below this directory that it made from other members of a stripe.
    Decoded { of: String },
    /// Makes a snapshot of a directory.
    TakeSnapshot { path: String, name: String },
    /// Removes it.
    DropSnapshot { path: String, name: String },
    /// Asks for all names in a snapshot of a directory, in one page.
    SeeSnapshot { path: String, name: String },
    /// Reads a file of blocks as a snapshot has it; the path is that of today.
    ReadSnapshot { path: String, name: String },
}

/// Something that is given and taken away, and that somebody needs to do something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// This user is not disabled.
    LogIn(String),
    /// The key that this user logs in with is one of its.
    Key(String),
    /// This user may not only read.
    Change(String),
    /// The mode bits of this path are for everybody.
    Mode(String),
    /// The access list of this path names the one user that uses it.
    Named(String),
    /// That user is in the group of this path.
    Member(String),
}

/// What is done as a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Asks for the names in a directory.
    List,
    /// Asks for the attributes of a file in it.
    Stat,
    /// Asks where the bytes of a file are.
    Find,
    /// Reads a file, all of it, from data nodes too.
    Read,
    /// Makes a file.
    Make,
    /// Removes it for good.
    Remove,
    /// Sets the length of a file.
    Cut,
}

impl Use {
    /// Whether it changes anything.
    pub fn changes(self) -> bool {
        matches!(self, Use::Make | Use::Remove | Use::Cut)
    }
}

impl Op {
    /// Whether it changes what clients see.
    pub fn changes(&self) -> bool {
        let looks = matches!(
            self,
            Op::Stat { .. }
                | Op::List { .. }
                | Op::ListAll { .. }
                | Op::Get { .. }
                | Op::ReadBlocks { .. }
                | Op::SeeRight { .. }
                | Op::Used { .. }
                | Op::SeeSnapshot { .. }
                | Op::ReadSnapshot { .. }
        );
        if let Op::UseRight { how, .. } = self {
            return how.changes();
        }
        !looks && !self.is_note()
    }

    /// Whether it only says something of the run: nothing was asked of the cluster.
    pub fn is_note(&self) -> bool {
        matches!(
            self,
            Op::LastLook { .. } | Op::Decoded { .. } | Op::Fault(_) | Op::Heal
        )
    }
}

/// What an operation gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// Attributes of what it was about.
    Node(Node),
    /// Names in a directory, sorted, with the inodes they lead to.
    Names(Vec<(String, u64)>),
    /// What a register holds; nothing if it does not exist.
    Number(Option<u64>),
    /// What a removal put into the trash.
    Trash(Option<u64>),
    /// What a file holds.
    Blocks(Vec<Block>),
    /// Where blocks went: the first of them.
    Offset(u64),
    /// Whether something is so.
    Is(bool),
}

/// Attributes that checkers look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The inode's id.
    pub inode: u64,
    /// Whether it is a directory.
    pub directory: bool,
    /// Length of a file in bytes; 0 for directories.
    pub size: u64,
    /// Names that lead to it; for a directory 2 and its subdirectories.
    pub links: u64,
}

/// Bytes of a block.
pub const BLOCK_LEN: usize = 4096;

/// What a block of 4 KiB says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// All zero: never written.
    Hole,
    /// Written.
    Data {
        /// Which file it was written for.
        file: u64,
        /// By which write.
        version: u64,
        /// Which block of the file it was to be; in an append, which of those added.
        place: u64,
    },
    /// Neither: torn, mixed or foreign bytes.
    Bad,
}
