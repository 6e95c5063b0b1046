//! A small secret file: replaced whole, for its owner alone, and damaged only aloud.
//!
//! ```text
//! magic(8) │ version(1) │ postcard │ CRC-32C of all before (4)
//! ```

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::SecurityError;
use crate::env::{Env, OpenMode};
use crate::types::checksum::crc32c;

const VERSION: u8 = 1;
const CRC_LEN: usize = 4;
/// Longest file that is read.
const LEN_MAX: u64 = 64 * 1024;

/// What is kept in a file of its own.
pub(crate) trait Kept: Serialize + DeserializeOwned + Send + 'static {
    /// The name of the file.
    const NAME: &'static str;
    /// What it begins with.
    const MAGIC: &'static [u8; 8];
    /// What to do when it is damaged.
    const REMEDY: &'static str;
}

/// Reads what is kept in a directory; none if there is none.
///
/// # Errors
/// It cannot be read, or is damaged.
pub(crate) async fn read<T: Kept>(env: &Env, directory: &Path) -> Result<Option<T>, SecurityError> {
    let (path, disk) = (directory.join(T::NAME), env.disk.clone());
    let file = path.clone();
    let read = move || -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        if !disk.exists(&file)? {
            return Ok(None);
        }
        let file = disk.open(&file, OpenMode::Read)?;
        let length = usize::try_from(file.len()?.min(LEN_MAX)).unwrap_or(0);
        let mut bytes = Zeroizing::new(vec![0; length]);
        file.read_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    };
    let named = |what: String| SecurityError(format!("{}: {what}", path.display()));
    let bytes = env.run_blocking(read).await;
    let bytes = bytes.map_err(|e| named(e.to_string()))?;
    let decoded = bytes.map(|bytes| decode(&bytes)).transpose();
    decoded.map_err(|e| named(e.to_string()))
}

/// Keeps something in a directory, which is made if it is not there.
///
/// # Errors
/// The disk cannot.
pub(crate) async fn write<T: Kept>(
    env: &Env,
    directory: &Path,
    kept: &T,
) -> Result<(), SecurityError> {
    let bytes = encode(kept)?;
    let (directory, disk) = (directory.to_owned(), env.disk.clone());
    let path = directory.join(T::NAME);
    let named = path.display().to_string();
    let write = move || {
        let new = path.with_extension("new");
        disk.create_directory(&directory)?;
        let file = disk.open(&new, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        disk.rename(&new, &path)?;
        disk.sync_directory(&directory)
    };
    let written: io::Result<()> = env.run_blocking(write).await;
    written.map_err(|e| SecurityError(format!("{named}: {e}")))
}

/// Keeps it no longer. That it is not there is no error.
///
/// # Errors
/// The disk cannot.
pub(crate) async fn remove<T: Kept>(env: &Env, directory: &Path) -> Result<(), SecurityError> {
    let (directory, disk) = (directory.to_owned(), env.disk.clone());
    let path = directory.join(T::NAME);
    let named = path.display().to_string();
    let remove = move || {
        if disk.exists(&path)? {
            disk.remove_file(&path)?;
            disk.sync_directory(&directory)?;
        }
        Ok(())
    };
    let removed: io::Result<()> = env.run_blocking(remove).await;
    removed.map_err(|e| SecurityError(format!("{named}: {e}")))
}

fn encode<T: Kept>(kept: &T) -> Result<Zeroizing<Vec<u8>>, SecurityError> {
    let body = postcard::to_stdvec(kept).map_err(SecurityError::new)?;
    Ok(sealed::<T>(&Zeroizing::new(body)))
}

/// The file of something that is encoded.
pub(crate) fn sealed<T: Kept>(body: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(T::MAGIC.to_vec());
    bytes.push(VERSION);
    bytes.extend_from_slice(body);
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// What a file has.
///
/// # Errors
/// It is damaged, or of another version.
pub(crate) fn decode<T: Kept>(bytes: &[u8]) -> Result<T, SecurityError> {
    let damaged = || SecurityError(format!("damaged; {}", T::REMEDY));
    let at = bytes.len().checked_sub(CRC_LEN).ok_or_else(damaged)?;
    let (rest, crc) = bytes.split_at_checked(at).ok_or_else(damaged)?;
    if crc32c(rest).to_le_bytes() != crc {
        return Err(damaged());
    }
    let rest = rest.strip_prefix(T::MAGIC).ok_or_else(damaged)?;
    match rest.split_first() {
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(|_| damaged()),
        Some((version, _)) => {
            let known = format!("of version {version}, this program knows {VERSION}");
            Err(SecurityError(known))
        }
        None => Err(damaged()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
    #![allow(clippy::disallowed_methods, reason = "a test damages files")]

    use std::os::unix::fs::PermissionsExt;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Word(String);

    impl Kept for Word {
        const NAME: &'static str = "word";
        const MAGIC: &'static [u8; 8] = b"DFSWORD1";
        const REMEDY: &'static str = "say it again";
    }

    fn word() -> Word {
        Word("hush".to_owned())
    }

    #[tokio::test]
    async fn what_is_kept_is_read_and_for_its_owner_alone() {
        let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
        let directory = directory.path().join("new");
        assert_eq!(read::<Word>(&env, &directory).await.unwrap(), None);
        write(&env, &directory, &word()).await.unwrap();
        write(&env, &directory, &word()).await.unwrap();
        assert_eq!(read(&env, &directory).await.unwrap(), Some(word()));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory.join("word")), 0o600);
        assert_eq!(mode(&directory), 0o700);
        for _ in 0..2 {
            remove::<Word>(&env, &directory).await.unwrap();
        }
        assert_eq!(read::<Word>(&env, &directory).await.unwrap(), None);
    }

    #[tokio::test]
    async fn damage_is_said_and_not_taken_for_nothing() {
        let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
        write(&env, directory.path(), &word()).await.unwrap();
        let path = directory.path().join("word");
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let error = decode::<Word>(&bad).unwrap_err().to_string();
            assert!(error.contains("say it again"), "byte {at}: {error}");
            assert!(decode::<Word>(&good[..at]).is_err());
        }
        std::fs::write(&path, b"").unwrap();
        let error = read::<Word>(&env, directory.path()).await.unwrap_err();
        assert!(error.to_string().contains("word: damaged"), "{error}");
    }
}
