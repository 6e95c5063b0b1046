//! Attributes, for people and for scripts.

use dfs_core::types::{Attr, Policy};
use serde::Serialize;

use super::mode::{kind_name, letters};
use super::owner::Names;
use super::size::{human, shown};
use super::when::{date, duration, exact};

/// The attributes of something, as `--json` shows them.
#[derive(Debug, Serialize)]
pub(crate) struct AttrDocument {
    path: String,
    kind: &'static str,
    inode: u64,
    mode: String,
    owner: u32,
    group: u32,
    size: u64,
    links: u32,
    accessed: String,
    modified: String,
    changed: String,
    created: String,
    revision: u64,
    inline_bytes: u32,
    policy: PolicyDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// A policy, as `--json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyDocument {
    replicas: u8,
    replicas_min: u8,
    chunk_size: u64,
    inline_max: u32,
    trash_seconds: u64,
    /// None if all is kept in copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    ec: Option<String>,
    /// None if stripes are written at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    ec_after_seconds: Option<u64>,
}

impl AttrDocument {
    /// Of what is at `path`; `target` is what a symbolic link leads to.
    pub(crate) fn new(path: String, attr: &Attr, target: Option<String>) -> AttrDocument {
        AttrDocument {
            path,
            kind: kind_name(attr.kind),
            inode: attr.inode.0,
            mode: attr.mode.to_string(),
            owner: attr.owner.0,
            group: attr.group.0,
            size: attr.size,
            links: attr.links,
            accessed: exact(attr.accessed),
            modified: exact(attr.modified),
            changed: exact(attr.changed),
            created: exact(attr.created),
            revision: attr.revision,
            inline_bytes: attr.inline_bytes,
            policy: PolicyDocument::new(&attr.policy),
            target,
        }
    }
}

impl PolicyDocument {
    /// Of `policy`.
    pub(crate) fn new(policy: &Policy) -> PolicyDocument {
        PolicyDocument {
            replicas: policy.replicas.0,
            replicas_min: policy.replicas_min.0,
            chunk_size: policy.chunk_size,
            inline_max: policy.inline_max,
            trash_seconds: policy.trash.as_secs(),
            ec: policy.ec.map(|shape| shape.to_string()),
            ec_after_seconds: policy.ec_after.map(|after| after.as_secs()),
        }
    }
}

/// The columns of `ls -l`, without the name.
pub(crate) fn long_columns(attr: &Attr, names: &Names, for_people: bool) -> Vec<String> {
    vec![
        letters(attr.kind, attr.mode),
        attr.links.to_string(),
        names.user(attr.owner),
        names.group(attr.group),
        shown(attr.size, for_people),
        date(attr.modified),
    ]
}

/// The lines of `stat`: what, and its value.
pub(crate) fn described(attr: &Attr, names: &Names) -> Vec<(&'static str, String)> {
    let owner = format!("{} ({})", names.user(attr.owner), attr.owner.0);
    let group = format!("{} ({})", names.group(attr.group), attr.group.0);
    let letters = letters(attr.kind, attr.mode);
    vec![
        ("kind", kind_name(attr.kind).to_owned()),
        ("inode", attr.inode.to_string()),
        ("size", described_size(attr)),
        ("mode", format!("{} ({letters})", attr.mode)),
        ("owner", owner),
        ("group", group),
        ("links", attr.links.to_string()),
        ("modified", exact(attr.modified)),
        ("changed", exact(attr.changed)),
        ("accessed", exact(attr.accessed)),
        ("created", exact(attr.created)),
        ("revision", attr.revision.to_string()),
        ("policy", described_policy(&attr.policy)),
    ]
}

fn described_size(attr: &Attr) -> String {
    match attr.kind {
        dfs_core::types::FileKind::Directory => format!("{} entries", attr.size),
        _ if attr.size < 1024 => format!("{} bytes", attr.size),
        _ => format!("{} bytes ({})", attr.size, human(attr.size)),
    }
}

/// `replicas 3 (2 to acknowledge), chunks of 64 MiB, inline up to 4 KiB, trash 1day`; with stripes
/// `stripes of 4+2, what is short in replicas …`.
pub(crate) fn described_policy(policy: &Policy) -> String {
    let after = policy.ec_after;
    let after = after.map(|after| format!(" when unchanged for {}", duration(after)));
    let after = after.unwrap_or_default();
    let stripes = policy
        .ec
        .map(|shape| format!("stripes of {shape}{after}, what is short in "));
    format!(
        "{}replicas {} ({} to acknowledge), chunks of {}, inline up to {}, trash {}",
        stripes.unwrap_or_default(),
        policy.replicas.0,
        policy.replicas_min.0,
        human(policy.chunk_size),
        human(policy.inline_max.into()),
        duration(policy.trash)
    )
}
