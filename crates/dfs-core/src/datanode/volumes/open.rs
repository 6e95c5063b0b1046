//! Opening the volumes of a data node: whose are they, are all there?
//!
//! ```text
//! look at each directory ─▶ stamped, without a stamp, or not readable
//!   of two nodes, twice the same, one that was given up, one that is not named ─▶ refused
//!   without a stamp where a volume was, or not readable                        ─▶ out of use
//!   without a stamp where none was                                             ─▶ a new volume
//! ```
//! A volume that is out of use is shown, and its replicas are not reported: they are repaired. A
//! node none of whose volumes can be used does not start.

use std::path::{Path, PathBuf};

use tracing::{error, info};

use crate::datanode::config::DataNodeConfig;
use crate::datanode::store::{
    ChunkStore, Look, Origin, RecoveryReport, Siblings, Stamp, StoreConfig, StoreError,
};
use crate::env::Env;
use crate::types::{NodeKey, Scrub, Space, Volume, VolumeId};

/// A volume that can be used.
pub(super) struct Opened {
    pub(super) id: VolumeId,
    pub(super) directory: PathBuf,
    pub(super) store: ChunkStore,
}

/// A volume that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offline {
    pub(super) id: VolumeId,
    pub(super) directory: PathBuf,
    pub(super) why: String,
}

impl Offline {
    /// What the masters are told of it.
    pub(super) fn tell(&self) -> Volume {
        Volume {
            id: self.id,
            directory: self.directory.display().to_string(),
            failed: Some(self.why.clone()),
            space: Space::default(),
            replicas: 0,
            scrub: Scrub::default(),
            leaving: false,
        }
    }
}

/// All volumes of a node.
pub(super) struct All {
    pub(super) opened: Vec<Opened>,
    pub(super) offline: Vec<Offline>,
    pub(super) recovered: RecoveryReport,
}

/// What is to be done with a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Open { id: VolumeId, is_new: bool },
    Offline { id: VolumeId, why: String },
}

/// What is to be done with all of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) key: Option<NodeKey>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) siblings: Siblings,
}

/// Opens all that can be used.
///
/// # Errors
/// The directories do not belong together, or none can be used.
pub(super) async fn open(config: &DataNodeConfig, env: &Env) -> Result<All, StoreError> {
    let directories = config.directories();
    let mut looks = Vec::new();
    for directory in &directories {
        looks.push(ChunkStore::look(directory, env).await);
    }
    let named: Vec<(&Path, Result<Look, StoreError>)> = directories
        .iter()
        .map(PathBuf::as_path)
        .zip(looks)
        .collect();
    let judged = judge(&named, &config.forget, config.store.initialize)?;
    let key = judged.key.unwrap_or(NodeKey(env.random.next_u128()));
    let mut all = All {
        opened: Vec::new(),
        offline: Vec::new(),
        recovered: RecoveryReport::default(),
    };
    let mut failed = None;
    for (directory, verdict) in directories.iter().zip(judged.verdicts) {
        let (id, why) = match verdict {
            Verdict::Offline { id, why } => (id, StoreError::Failed(why)),
            Verdict::Open { id, is_new } => {
                let store = StoreConfig {
                    directory: directory.clone(),
                    initialize: is_new,
                    origin: Some(Origin { key, volume: id }),
                    ..config.store.clone()
                };
                match ChunkStore::open(store, env.clone()).await {
                    Ok((store, recovered)) => {
                        all.recovered.add(recovered);
                        let directory = directory.clone();
                        all.opened.push(Opened {
                            id,
                            directory,
                            store,
                        });
                        continue;
                    }
                    Err(error) => (id, error),
                }
            }
        };
        match why {
            // The disk's fault: the others can do without it.
            StoreError::Failed(why) => {
                error!(volume = %id, directory = %directory.display(), why, "out of use");
                failed.get_or_insert(StoreError::Failed(why.clone()));
                let directory = directory.clone();
                all.offline.push(Offline { id, directory, why });
            }
            other => {
                close(all.opened).await;
                return Err(other);
            }
        }
    }
    if let (true, Some(failed)) = (all.opened.is_empty(), failed) {
        return Err(failed);
    }
    remember(&mut all, judged.siblings).await?;
    Ok(all)
}

/// Has each volume remember all of them; a node with one directory alone keeps no list.
async fn remember(all: &mut All, mut siblings: Siblings) -> Result<(), StoreError> {
    for opened in &all.opened {
        siblings.put(opened.id, &opened.directory.display().to_string())?;
    }
    if siblings.all.len() < 2 {
        return Ok(());
    }
    let mut is_new = false;
    for opened in &all.opened {
        let known = opened.store.siblings();
        is_new |= known.is_none_or(|known| known.all != siblings.all);
    }
    if !is_new {
        return Ok(());
    }
    siblings.generation = siblings.generation.saturating_add(1);
    info!(volumes = ?siblings.all, "the volumes of this node are noted on each");
    for opened in &all.opened {
        opened.store.set_siblings(siblings.clone()).await?;
    }
    Ok(())
}

/// Gives volumes free again that were opened in vain.
async fn close(opened: Vec<Opened>) {
    for opened in opened {
        if let Err(error) = opened.store.close().await {
            error!(volume = %opened.id, %error, "not closed cleanly");
        }
    }
}

/// Decides what is to be done with each directory, by what was seen there.
///
/// # Errors
/// They do not belong together, and a person has to say what is meant.
pub(super) fn judge(
    named: &[(&Path, Result<Look, StoreError>)],
    forget: &[VolumeId],
    initialize: bool,
) -> Result<Judgement, StoreError> {
    let stamped: Vec<(&Path, Stamp, Option<&Siblings>)> = named
        .iter()
        .filter_map(|(path, look)| match look {
            Ok(Look::Stamped(stamp, siblings)) => Some((*path, *stamp, siblings.as_ref())),
            _ => None,
        })
        .collect();
    belong_together(&stamped)?;
    let lists = stamped.iter().filter_map(|(_, _, siblings)| *siblings);
    let mut siblings = lists
        .max_by_key(|list| list.generation)
        .cloned()
        .unwrap_or_default();
    for (path, stamp, _) in &stamped {
        let id = stamp.volume;
        if siblings.get(id).is_some_and(|sibling| sibling.is_given_up) {
            return Err(StoreError::Invalid(format!(
                "{} is volume {id}, which was given up: leave it out, or empty the directory to \
                 make it a new volume",
                path.display()
            )));
        }
        siblings.put(id, &path.display().to_string())?;
    }
    let mut verdicts = Vec::new();
    let key = stamped.first().map(|(_, stamp, _)| stamp.key);
    for (path, look) in named {
        let directory = path.display().to_string();
        let verdict = match look {
            Ok(Look::Stamped(stamp, _)) => Verdict::Open {
                id: stamp.volume,
                is_new: false,
            },
            Ok(Look::Unstamped) => match siblings.last_at(&directory) {
                Some(id) => Verdict::Offline {
                    id,
                    why: format!(
                        "{directory}: volume {id} was here, and there is no stamp now; is the \
                         disk mounted?"
                    ),
                },
                None if key.is_none() && !initialize => return Err(StoreError::Empty(directory)),
                None => {
                    let id = siblings.next_id();
                    siblings.put(id, &directory)?;
                    Verdict::Open { id, is_new: true }
                }
            },
            Err(error) => match siblings.last_at(&directory) {
                Some(id) if key.is_some() => Verdict::Offline {
                    id,
                    why: error.to_string(),
                },
                // Nothing says that it was a volume of this node.
                _ => return Err(error.clone()),
            },
        };
        verdicts.push(verdict);
    }
    none_is_missed(&verdicts, &mut siblings, forget)?;
    Ok(Judgement {
        key,
        verdicts,
        siblings,
    })
}

/// Refuses directories of two nodes, and the same one twice.
fn belong_together(stamped: &[(&Path, Stamp, Option<&Siblings>)]) -> Result<(), StoreError> {
    for (at, (path, stamp, _)) in stamped.iter().enumerate() {
        for (other_path, other, _) in stamped.iter().take(at) {
            let (a, b) = (other_path.display(), path.display());
            if other.key != stamp.key {
                return Err(StoreError::Invalid(format!(
                    "{a} belongs to the data node with key {}, {b} to the one with key {}: were \
                     disks swapped?",
                    other.key, stamp.key
                )));
            }
            if other.volume == stamp.volume {
                return Err(StoreError::Invalid(format!(
                    "{a} and {b} are both volume {}: one is a copy of the other; leave the \
                     older one out",
                    stamp.volume
                )));
            }
        }
    }
    Ok(())
}

/// Refuses to go on without a volume that is not named and that nobody has given up.
fn none_is_missed(
    verdicts: &[Verdict],
    siblings: &mut Siblings,
    forget: &[VolumeId],
) -> Result<(), StoreError> {
    let is_here = |id: VolumeId| {
        verdicts.iter().any(|verdict| {
            let (Verdict::Open { id: here, .. } | Verdict::Offline { id: here, .. }) = verdict;
            *here == id
        })
    };
    for id in forget {
        let here = is_here(*id);
        let known = siblings.all.iter_mut().find(|sibling| sibling.id == *id);
        match known {
            Some(sibling) if !here => sibling.is_given_up = true,
            Some(sibling) => {
                return Err(StoreError::Invalid(format!(
                    "volume {id} is to be given up, and its directory {} is named as well: leave \
                     that out",
                    sibling.directory
                )));
            }
            None => {
                let what = format!("volume {id} is to be given up, and there was never such a one");
                return Err(StoreError::Invalid(what));
            }
        }
    }
    let standing = siblings.all.iter().filter(|sibling| !sibling.is_given_up);
    match standing.clone().find(|sibling| !is_here(sibling.id)) {
        Some(missed) => Err(StoreError::Missing {
            volume: missed.id,
            directory: missed.directory.clone(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use super::*;

    fn stamped(key: u128, volume: u32, known: &[(u32, &str)], generation: u64) -> Look {
        let stamp = Stamp {
            key: NodeKey(key),
            volume: VolumeId(volume),
            ..Stamp::NOBODY
        };
        let mut siblings = Siblings {
            generation,
            all: Vec::new(),
        };
        for (id, directory) in known {
            siblings.put(VolumeId(*id), directory).unwrap();
        }
        Look::Stamped(stamp, (!known.is_empty()).then_some(siblings))
    }

    fn judged(looks: &[(&str, Look)]) -> Result<Vec<Verdict>, StoreError> {
        let named: Vec<_> = looks
            .iter()
            .map(|(path, look)| (Path::new(*path), Ok(look.clone())))
            .collect();
        judge(&named, &[], false).map(|judged| judged.verdicts)
    }

    const OPEN: fn(u32) -> Verdict = |id| Verdict::Open {
        id: VolumeId(id),
        is_new: false,
    };
    const NEW: fn(u32) -> Verdict = |id| Verdict::Open {
        id: VolumeId(id),
        is_new: true,
    };

    #[test]
    fn a_new_node_takes_empty_directories_only_when_it_is_told_to() {
        let named = || ["/a", "/b"].map(|path| (Path::new(path), Ok(Look::Unstamped)));
        assert_eq!(
            judge(&named(), &[], false),
            Err(StoreError::Empty("/a".to_owned()))
        );
        let judged = judge(&named(), &[], true).unwrap();
        assert_eq!(judged.verdicts, [NEW(0), NEW(1)]);
        assert_eq!(judged.key, None);
    }

    #[test]
    fn an_empty_directory_is_new_where_no_volume_was_and_out_of_use_where_one_was() {
        let known = [(0, "/a"), (4, "/b")];
        let verdicts = judged(&[
            ("/a", stamped(1, 0, &known, 1)),
            ("/b", Look::Unstamped),
            ("/c", Look::Unstamped),
        ]);
        let verdicts = verdicts.unwrap();
        assert!(matches!(
            &verdicts[1],
            Verdict::Offline {
                id: VolumeId(4),
                ..
            }
        ));
        assert_eq!((&verdicts[0], &verdicts[2]), (&OPEN(0), &NEW(5)));
    }

    #[test]
    fn the_newest_list_counts_and_one_that_is_older_misses_nothing() {
        let old = stamped(1, 0, &[(0, "/a"), (1, "/gone")], 1);
        let mut new = stamped(1, 2, &[(0, "/a"), (1, "/gone"), (2, "/b")], 2);
        let named = |new: &Look| judged(&[("/a", old.clone()), ("/b", new.clone())]);
        let missed = StoreError::Missing {
            volume: VolumeId(1),
            directory: "/gone".to_owned(),
        };
        assert_eq!(named(&new), Err(missed));
        if let Look::Stamped(_, Some(siblings)) = &mut new {
            siblings.all[1].is_given_up = true;
        }
        assert_eq!(named(&new), Ok(vec![OPEN(0), OPEN(2)]));
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_put_up_with_if_it_is_known() {
        let broken = || Err(StoreError::Invalid("EIO".to_owned()));
        let known = [(0, "/a"), (1, "/b")];
        let first = || (Path::new("/a"), Ok(stamped(1, 0, &known, 1)));
        let judged = judge(&[first(), (Path::new("/b"), broken())], &[], false).unwrap();
        let offline = Verdict::Offline {
            id: VolumeId(1),
            why: "EIO".to_owned(),
        };
        assert_eq!(judged.verdicts, [OPEN(0), offline]);
        judge(&[first(), (Path::new("/c"), broken())], &[], false).unwrap_err();
        judge(&[(Path::new("/a"), broken())], &[], true).unwrap_err();
    }

    #[test]
    fn what_is_given_up_was_a_volume_and_is_not_named() {
        let known = [(0, "/a"), (1, "/b")];
        let named = [(Path::new("/a"), Ok(stamped(1, 0, &known, 1)))];
        for wrong in [0, 7] {
            let refused = judge(&named, &[VolumeId(wrong)], false).unwrap_err();
            assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
        }
        let judged = judge(&named, &[VolumeId(1)], false).unwrap();
        assert!(judged.siblings.get(VolumeId(1)).unwrap().is_given_up);
    }
}
