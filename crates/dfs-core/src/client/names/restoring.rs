//! Restoring a snapshot: what a directory was is built beside it, of clones, and put in its place
//! by one change.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use crate::client::{Client, PutOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::types::acl::AclKind;
use crate::types::attr::SetTime;
use crate::types::change::Removal;
use crate::types::limits::NAME_LEN_MAX;
use crate::types::query::Entry;
use crate::types::snapshot::{SNAPSHOTS_NAME, SnapshotChange};
use crate::types::{
    Attr, AttrChange, Change, DfsPath, FileKind, InodeId, Location, Mode, Name, NewAttr, Policy,
    PolicyChange, RefusalKind, TrashId,
};

/// Files that are cloned at a time.
const CLONES_AT_ONCE: usize = 16;
/// Names that are tried for what is being built.
const NAMES_MAX: u32 = 1000;
/// How long it takes until a directory is asked again whether it is counted.
const COUNTING_PAUSE: Duration = Duration::from_millis(50);

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Files.
    pub files: u64,
    /// Directories below the one that was restored.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What was there before, in the trash; none if nothing was, or if it went for good.
    pub replaced: Option<TrashId>,
}

impl Client {
    /// Makes a directory again what it was when a snapshot was made, or with `to` makes another
    /// directory of that, where nothing is. All is built under the name `.restore-NAME-…` beside
    /// it, and gets its name at the end: until then nothing has changed, and if it fails nothing
    /// is left. Files are cloned: no bytes are copied.
    ///
    /// What was there goes to the trash; the snapshots and the quota of the directory stay.
    ///
    /// # Errors
    /// `NotFound` if there is no such snapshot; `Exists` if there is something at `to`; `Invalid`
    /// for the root without `to`; `OutOfSpace` if a quota is too small for both; `Denied` for
    /// whoever may not make what is to be restored: without `to`, who is no administrator.
    pub async fn restore_snapshot(
        &self,
        path: &DfsPath,
        name: &Name,
        to: Option<&DfsPath>,
    ) -> Result<Restored> {
        let view = self.metadata(view_of(path, name)?).await?;
        let target = to.unwrap_or(path);
        let Some(parent) = target.parent() else {
            return Err(Error::invalid(match to {
                None => "`/` cannot be replaced: name a place to restore it to".to_owned(),
                Some(_) => "`/` exists".to_owned(),
            }));
        };
        if let Some(to) = to
            && self.exists(to).await?
        {
            let message = format!("{to} exists already");
            return Err(Error::new(ErrorKind::Exists, message));
        }
        let (built, top) = self.make_beside(&parent, name).await?;
        let done = async {
            let mut restoring = Restoring {
                client: self,
                known: BTreeMap::new(),
                restored: Restored::default(),
            };
            restoring.directory(view, top).await?;
            let mut restored = restoring.restored;
            match to {
                Some(to) => self.rename_with(&built, to, false).await?,
                None => restored.replaced = self.put_in_place(path, &built).await?,
            }
            Ok(restored)
        };
        let done = done.await;
        if done.is_err()
            && let Err(error) = self.remove(&built, Removal::Tree, true).await
        {
            tracing::warn!(%built, %error, "what a failed restore has built is left");
        }
        done
    }

    /// Makes a directory for what is to be built, that nobody else may look into.
    async fn make_beside(&self, parent: &DfsPath, name: &Name) -> Result<(DfsPath, Attr)> {
        for number in 1..=NAMES_MAX {
            let tail = format!("-{number}");
            let mut text = format!(".restore-{name}");
            text.truncate(text.floor_char_boundary(NAME_LEN_MAX - tail.len()));
            let path = parent.join(Name::new(text + &tail)?)?;
            let attr = NewAttr::of_mode(Mode::new(0o700));
            match self.create_dir_with(&path, attr, false).await {
                Err(error) if error.kind() == ErrorKind::Exists => {}
                made => return Ok((path, made?)),
            }
        }
        let message = format!("{NAMES_MAX} restores of `{name}` are left in {parent}");
        Err(Error::new(ErrorKind::Exists, message))
    }

    /// Puts what was built in the place of a directory, once it is counted like that.
    async fn put_in_place(&self, path: &DfsPath, built: &DfsPath) -> Result<Option<TrashId>> {
        self.prepare_snapshots(built).await?;
        loop {
            let change = Change::Snapshot {
                at: Location::from(path.clone()),
                change: SnapshotChange::Replace {
                    by: Location::from(built.clone()),
                },
            };
            match self.change(change).await {
                Err(error) if is_busy(&error) => sleep(COUNTING_PAUSE).await,
                changed => return Ok(changed?.trash),
            }
        }
    }
}

/// Whether something is refused for a while only, such as until a directory is counted.
fn is_busy(error: &Error) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| refusal.kind == RefusalKind::Busy)
}

/// Where a snapshot is read.
fn view_of(path: &DfsPath, name: &Name) -> Result<DfsPath> {
    let list = Name::new(SNAPSHOTS_NAME)?;
    Ok(path.join(list)?.join(name.clone())?)
}

/// A name in what an inode is.
fn within(dir: &Attr, name: &Name) -> Result<Location> {
    Ok(Location {
        path: DfsPath::from_names(vec![name.clone()])?,
        ..Location::from(dir)
    })
}

/// The change that makes any policy this one.
fn exactly(policy: Policy) -> PolicyChange {
    PolicyChange {
        replicas: Some(policy.replicas),
        replicas_min: Some(policy.replicas_min),
        chunk_size: Some(policy.chunk_size),
        inline_max: Some(policy.inline_max),
        trash: Some(policy.trash),
        ec: policy.ec,
        ec_after: policy.ec.map(|_| policy.ec_after.unwrap_or_default()),
    }
}

struct Restoring<'a> {
    client: &'a Client,
    /// Where files are by now that had several names.
    known: BTreeMap<InodeId, Location>,
    restored: Restored,
}

impl Restoring<'_> {
    /// Makes `to`, which is empty, what a directory was.
    fn directory(&mut self, from: Attr, mut to: Attr) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut listing = self.client.read_dir(&from).await?;
            let mut batch = Vec::new();
            while let Some(entry) = listing.next_entry().await? {
                let attr = require_attr(&entry)?;
                if attr.kind == FileKind::File && attr.links == 1 && attr.policy == to.policy {
                    batch.push(entry);
                    if batch.len() >= 8 * CLONES_AT_ONCE {
                        self.files(&from, &to, std::mem::take(&mut batch)).await?;
                    }
                    continue;
                }
                self.files(&from, &to, std::mem::take(&mut batch)).await?;
                self.entry(&from, &mut to, &entry, &attr).await?;
            }
            self.files(&from, &to, batch).await?;
            self.keep_policy(&mut to, from.policy).await?;
            self.attributes(Location::from(&from), Location::from(&to), &from)
                .await
        })
    }

    /// Clones files, several at a time.
    async fn files(&mut self, from: &Attr, to: &Attr, entries: Vec<Entry>) -> Result<()> {
        let this = &*self;
        let cloned: Vec<u64> = stream::iter(entries)
            .map(|entry| async move {
                let attr = require_attr(&entry)?;
                let (from, to) = (within(from, &entry.name)?, within(to, &entry.name)?);
                this.file(from, to, &attr).await?;
                Ok::<_, Error>(attr.size)
            })
            .buffer_unordered(CLONES_AT_ONCE)
            .try_collect()
            .await?;
        self.restored.files += cloned.len() as u64;
        self.restored.bytes += cloned.iter().sum::<u64>();
        Ok(())
    }

    /// Whatever takes more than a clone.
    async fn entry(
        &mut self,
        from: &Attr,
        to: &mut Attr,
        entry: &Entry,
        attr: &Attr,
    ) -> Result<()> {
        let (source, target) = (within(from, &entry.name)?, within(to, &entry.name)?);
        match attr.kind {
            FileKind::File => {
                if let Some(first) = self.known.get(&attr.inode) {
                    self.client.hard_link(first, &target).await?;
                    self.restored.files += 1;
                    return Ok(());
                }
                self.keep_policy(to, attr.policy).await?;
                self.file(source, target.clone(), attr).await?;
                if attr.links > 1 {
                    self.known.insert(attr.inode, target);
                }
                self.restored.files += 1;
                self.restored.bytes += attr.size;
            }
            FileKind::Symlink => {
                let leads = self.client.read_link(&source).await?;
                self.client.symlink(&leads, &target).await?;
                let change = AttrChange {
                    mode: None,
                    ..attributes_of(attr)
                };
                self.client.set_attr(&target, change, false).await?;
                self.restored.links += 1;
            }
            FileKind::Directory => {
                self.keep_policy(to, from.policy).await?;
                let mode = NewAttr::of_mode(Mode::new(0o700));
                let made = self.client.create_dir_with(&target, mode, false).await?;
                // Who starts at an inode shows that it was led there.
                let inner = self.client.metadata(&source).await?;
                self.directory(inner, made).await?;
                self.restored.directories += 1;
            }
        }
        Ok(())
    }

    /// Lets new files in a directory be kept as those are that are cloned into it.
    async fn keep_policy(&self, dir: &mut Attr, policy: Policy) -> Result<()> {
        if dir.policy != policy {
            let handle = dir.handle;
            *dir = self.client.set_policy(&*dir, exactly(policy)).await?;
            dir.handle = dir.handle.or(handle);
        }
        Ok(())
    }

    async fn file(&self, from: Location, to: Location, attr: &Attr) -> Result<()> {
        match self.client.clone_file(&from, &to, false).await {
            // The policy it was written under allowed what that of today does not.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                let options = PutOptions::new(false);
                self.client.copy(&from, &to, options).await?;
            }
            cloned => cloned.map(|_| ())?,
        }
        self.attributes(from, to, attr).await
    }

    /// Gives something the owner, permissions, lists and times that it had.
    async fn attributes(&self, from: Location, to: Location, attr: &Attr) -> Result<()> {
        let kinds = match attr.kind {
            FileKind::Directory => &[AclKind::Default, AclKind::Access][..],
            _ => &[AclKind::Access][..],
        };
        let client = self.client;
        let change = AttrChange {
            accessed: None,
            modified: None,
            ..attributes_of(attr)
        };
        client.set_attr(&to, change, false).await?;
        for which in kinds {
            if let Some(acl) = client.acl(&from, *which).await? {
                client.set_acl(&to, *which, Some(acl)).await?;
            }
        }
        let (accessed, modified) = (Some(attr.accessed.into()), Some(attr.modified.into()));
        client.set_times(&to, accessed, modified).await.map(drop)
    }
}

fn attributes_of(attr: &Attr) -> AttrChange {
    AttrChange {
        mode: Some(attr.mode),
        owner: Some(attr.owner),
        group: Some(attr.group),
        accessed: Some(SetTime::At(attr.accessed)),
        modified: Some(SetTime::At(attr.modified)),
    }
}

fn require_attr(entry: &Entry) -> Result<Attr> {
    entry.attr.clone().ok_or_else(|| {
        let message = format!("a master did not say what {} is", entry.name);
        Error::new(ErrorKind::Internal, message)
    })
}
