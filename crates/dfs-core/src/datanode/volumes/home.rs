//! The home: where what is the node's is, and no volume's: its papers, its audit log.
//!
//! It is where the newest papers are. When that disk is to be taken out, they move.

use std::path::PathBuf;

use crate::datanode::store::StoreError;
use crate::env::{Env, Timestamp};
use crate::node::Papers;
use crate::security::NodeFile;

/// The directory that stays and has the newest papers, or else the first that stays. Papers on
/// disks that are to be taken out move there.
///
/// # Errors
/// [`StoreError::Invalid`] if they cannot.
pub(super) async fn settle(
    env: &Env,
    staying: &[PathBuf],
    leaving: &[PathBuf],
) -> Result<PathBuf, StoreError> {
    let Some(first) = staying.first() else {
        let home = newest(env, leaving).await.or(leaving.first());
        return Ok(home.cloned().unwrap_or_default());
    };
    let home = newest(env, staying).await.unwrap_or(first);
    for from in leaving {
        let moved = Papers::relocate(env, from, home).await;
        moved.map_err(|error| {
            StoreError::Invalid(format!(
                "the papers of the data node cannot be moved from {} to {}: {error}; start without \
                 the former, give its volume up, and show a join token to get new ones",
                from.display(),
                home.display()
            ))
        })?;
    }
    Ok(home.clone())
}

/// The directory that has the newest papers. If they cannot be read, whoever needs them says so.
async fn newest<'a>(env: &Env, directories: &'a [PathBuf]) -> Option<&'a PathBuf> {
    let mut newest: Option<(&PathBuf, Timestamp)> = None;
    for directory in directories {
        let since = match NodeFile::read(env, directory).await {
            Ok(None) => continue,
            Ok(Some(papers)) => papers.since,
            Err(_) => Timestamp(0),
        };
        if newest.is_none_or(|(_, other)| since > other) {
            newest = Some((directory, since));
        }
    }
    newest.map(|(directory, _)| directory)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use std::path::Path;

    use super::*;
    use crate::security::{Authority, KeyPair, NodeIdentity};
    use crate::testing::{MemoryDisk, test_env};
    use crate::types::{ClusterId, NodeKey, NodeRole};

    /// Papers of a node in a directory, and their secret.
    async fn papers(env: &Env, directory: &Path) -> Vec<u8> {
        let (now, random) = (env.clock.now(), &*env.random);
        let authority = Authority::found(ClusterId(1), random, now).unwrap();
        let identity = NodeIdentity {
            cluster: ClusterId(1),
            role: NodeRole::DataNode,
            node: NodeKey(7),
        };
        let key = KeyPair::generate(random).unwrap();
        let secret = key.secret().to_vec();
        let issued = Papers::issue(env, directory, identity, key, &authority);
        issued.await.unwrap();
        secret
    }

    /// The secret of the papers in a directory, if there are some.
    async fn secret(env: &Env, directory: &Path) -> Option<Vec<u8>> {
        let file = NodeFile::read(env, directory).await.unwrap();
        file.map(|file| file.key.secret().to_vec())
    }

    #[tokio::test]
    async fn papers_leave_a_disk_that_is_to_be_taken_out_wherever_power_goes() {
        let [a, b, c] = ["/a", "/b", "/c"].map(PathBuf::from);
        for changes in 0.. {
            let disk = MemoryDisk::new(changes);
            let env = test_env(1, &disk);
            let ours = papers(&env, &a).await;
            env.disk.create_directory(&b).unwrap();
            let settle = || settle(&env, std::slice::from_ref(&b), std::slice::from_ref(&a));

            disk.lose_power_after(changes);
            let settled = settle().await;
            let is_done = settled.is_ok();
            disk.cut_power();

            assert_eq!(settle().await.unwrap(), b, "{changes}");
            assert_eq!(secret(&env, &b).await, Some(ours), "{changes}");
            assert_eq!(secret(&env, &a).await, None, "{changes}");
            // They stay where they are, whatever is named first.
            let home = super::settle(&env, &[c.clone(), b.clone()], &[]).await;
            assert_eq!(home.unwrap(), b);
            if is_done {
                assert!(changes > 4, "{changes}");
                return;
            }
        }
    }

    #[tokio::test]
    async fn the_newest_papers_are_those_of_the_node() {
        let [a, b] = ["/a", "/b"].map(PathBuf::from);
        let disk = MemoryDisk::new(1);
        let mut env = test_env(1, &disk);
        papers(&env, &a).await;
        env.clock = Env::real().clock;
        let newer = papers(&env, &b).await;

        let home = settle(&env, &[a.clone(), b.clone()], &[]).await.unwrap();
        assert_eq!(home, b);
        let home = settle(&env, std::slice::from_ref(&a), std::slice::from_ref(&b));
        assert_eq!(home.await.unwrap(), a);
        assert_eq!(secret(&env, &a).await, Some(newer));
    }

    #[tokio::test]
    async fn papers_that_cannot_be_read_stay_and_say_what_to_do() {
        let [a, b] = ["/a", "/b"].map(PathBuf::from);
        let disk = MemoryDisk::new(1);
        let env = test_env(1, &disk);
        papers(&env, &a).await;
        disk.put("/a/papers", b"rotten");

        let refused = settle(&env, &[b], &[a]).await.unwrap_err().to_string();

        assert!(refused.contains("/a/papers: damaged"), "{refused}");
        assert!(refused.contains("show a join token"), "{refused}");
    }

    #[tokio::test]
    async fn good_papers_replace_damaged_ones() {
        let [a, b] = ["/a", "/b"].map(PathBuf::from);
        let disk = MemoryDisk::new(1);
        let env = test_env(1, &disk);
        let ours = papers(&env, &a).await;
        env.disk.create_directory(&b).unwrap();
        disk.put("/b/papers", b"rotten");

        let home = settle(&env, std::slice::from_ref(&b), &[a]).await.unwrap();

        assert_eq!(secret(&env, &home).await, Some(ours));
    }
}
