//! What users do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dfs_core::client::{Client, Stamped};
use dfs_core::error::{Error, Result};
use dfs_core::types::change::Removal;
use dfs_core::types::limits::ENTRIES_PER_REPLY_MAX;
use dfs_core::types::{ByteRange, Change, Query, Rev};
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::{DIRECTORY, FILE};
use crate::history::{Op, Right, Use};
use crate::workloads::Worker;
use crate::workloads::act::{Became, at};

/// Files are cut to fewer bytes than this.
const CUT_BELOW: u64 = 1000;
/// How often, of 100, the same is done once more: what was permitted just now may no longer be.
const AGAIN: u32 = 75;

/// A use of a right to a place. What is made is called by a number.
pub(super) fn op(user: &str, right: &Right, how: Use, number: u64) -> Op {
    let place = match right {
        Right::Mode(path) | Right::Named(path) | Right::Member(path) => path.as_str(),
        Right::LogIn(_) | Right::Key(_) | Right::Change(_) => DIRECTORY,
    };
    let path = match how {
        _ if place == FILE => FILE.to_owned(),
        Use::List => place.to_owned(),
        Use::Stat | Use::Find | Use::Cut => format!("{place}/file"),
        Use::Read => format!("{place}/data"),
        Use::Make | Use::Remove => format!("{place}/{number}"),
    };
    Op::UseRight {
        user: user.to_owned(),
        right: right.clone(),
        how,
        path,
    }
}

/// What can be done in a place with a right to it.
fn possible(right: &Right) -> &'static [Use] {
    match right {
        Right::Mode(path) if path == FILE => &[Use::Find, Use::Read, Use::Cut],
        Right::Mode(_) => &[
            Use::List,
            Use::Stat,
            Use::Find,
            Use::Read,
            Use::Make,
            Use::Cut,
        ],
        _ => &[Use::List, Use::Stat, Use::Find, Use::Make, Use::Cut],
    }
}

/// Does one thing after the other in these places, until it is told that it is over.
pub(super) async fn go_on(
    user: &mut Worker,
    name: &str,
    places: &[Right],
    (over, pause): (&AtomicBool, Duration),
) {
    let mut made = None;
    let mut last: Option<(&Right, Use)> = None;
    while !user.is_stopped() && !over.load(Ordering::Relaxed) {
        let again = last.filter(|_| user.chance(AGAIN));
        last = again.or_else(|| any(user, places));
        let Some((right, how)) = last else {
            return;
        };
        let (right, how, number) = match made.take() {
            Some((right, number)) => (right, Use::Remove, number),
            None => (right, how, user.unique()),
        };
        let became = attempt(user, op(name, right, how, number)).await;
        if how == Use::Make && matches!(became, Became::Done(_)) {
            made = Some((right, number));
        }
        user.pause(pause).await;
    }
}

/// Something to do, somewhere.
fn any<'a>(user: &mut Worker, places: &'a [Right]) -> Option<(&'a Right, Use)> {
    let right = places.choose(&mut user.random)?;
    let how = possible(right).choose(&mut user.random)?;
    Some((right, *how))
}

/// Does each thing once that changes nothing.
pub(super) async fn once(user: &mut Worker, name: &str, places: &[Right]) {
    for right in places {
        for how in possible(right).iter().filter(|how| !how.changes()) {
            attempt(user, op(name, right, *how, 0)).await;
        }
    }
}

async fn attempt(user: &mut Worker, op: Op) -> Became {
    let size = user.random.random_range(0..CUT_BELOW);
    let pending = user.invoke(op.clone());
    match carry_out(&user.client, &op, size).await {
        Ok(rev) => {
            pending.ok(None, rev);
            Became::Done(None)
        }
        Err(error) => user.failed(pending, &error, !op.changes()),
    }
}

/// The point of history at which it was done, if there is one.
async fn carry_out(client: &Client, op: &Op, size: u64) -> Result<Option<Rev>> {
    let Op::UseRight { how, path, .. } = op else {
        return Err(Error::invalid("no use of a right"));
    };
    let query = match how {
        Use::Read => return client.read(path).await.map(|_| None),
        Use::Make | Use::Remove | Use::Cut => {
            let submitted = client.submit(change(client, *how, path, size)?).await?;
            return Ok(Some(submitted.rev));
        }
        Use::List => Query::List {
            at: at(path)?,
            after: None,
            limit: u32::try_from(ENTRIES_PER_REPLY_MAX).unwrap_or(u32::MAX),
            attrs: false,
        },
        Use::Stat => Query::Stat {
            at: at(path)?,
            follow: false,
        },
        Use::Find => Query::Layout {
            at: at(path)?,
            range: ByteRange::new(0, u64::MAX),
        },
    };
    let Stamped { rev, .. } = client.query(query).await?;
    Ok(Some(rev))
}

fn change(client: &Client, how: Use, path: &str, size: u64) -> Result<Change> {
    let at = at(path)?;
    Ok(match how {
        Use::Make => Change::Create {
            at,
            attr: client.config().identity.file(),
            exclusive: true,
        },
        Use::Remove => Change::Remove {
            at,
            what: Removal::File,
            skip_trash: true,
        },
        _ => Change::Truncate { at, size },
    })
}
