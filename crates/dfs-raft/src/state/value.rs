//! Values: a version, then bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Fatal;

/// Something that can be a table's value.
///
/// What is stored outlives the code that wrote it, so every value begins with the version of its
/// form. A new form gets the next [`VERSION`](Value::VERSION) and says in
/// [`from_previous`](Value::from_previous) how to read the ones before it.
pub trait Value: Sized {
    /// The version of the form this code writes.
    const VERSION: u8;

    /// Appends the value's bytes, without the version.
    ///
    /// # Errors
    /// It cannot be encoded; this is a defect of the program.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Fatal>;

    /// The value that `bytes` of this [`VERSION`](Value::VERSION) are.
    ///
    /// # Errors
    /// The bytes are not such a value: the database is damaged.
    fn decode(bytes: &[u8]) -> Result<Self, Fatal>;

    /// The value that `bytes` of an older version are.
    ///
    /// # Errors
    /// The version is unknown here: written by a newer program, or damaged.
    fn from_previous(version: u8, bytes: &[u8]) -> Result<Self, Fatal> {
        let _ = bytes;
        Err(Fatal::new(format!(
            "{} is stored in version {version}, this program knows {}: use the newer program",
            std::any::type_name::<Self>(),
            Self::VERSION,
        )))
    }

    /// Version and bytes.
    ///
    /// # Errors
    /// As [`encode`](Value::encode).
    fn to_bytes(&self) -> Result<Vec<u8>, Fatal> {
        let mut out = Vec::with_capacity(64);
        out.push(Self::VERSION);
        self.encode(&mut out)?;
        Ok(out)
    }

    /// The value that version and bytes are.
    ///
    /// # Errors
    /// As [`decode`](Value::decode) and [`from_previous`](Value::from_previous).
    fn from_bytes(bytes: &[u8]) -> Result<Self, Fatal> {
        match bytes.split_first() {
            Some((version, rest)) if *version == Self::VERSION => Self::decode(rest),
            Some((version, rest)) => Self::from_previous(*version, rest),
            None => Err(Fatal::new("a stored value is damaged: it is empty")),
        }
    }
}

/// Appends `value` as postcard, for [`Value::encode`].
///
/// # Errors
/// It cannot be encoded; this is a defect of the program.
pub fn encode_postcard<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), Fatal> {
    let bytes = std::mem::take(out);
    *out = postcard::to_extend(value, bytes)
        .map_err(|e| Fatal::with_source("a value cannot be encoded", e))?;
    Ok(())
}

/// Reads postcard, all of `bytes`, for [`Value::decode`].
///
/// # Errors
/// The bytes are not such a value: the database is damaged.
pub fn decode_postcard<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fatal> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(Fatal::new("a stored value is damaged: bytes after its end")),
        Err(e) => Err(Fatal::with_source("a stored value is damaged", e)),
    }
}

/// Makes types that serde knows [`Value`]s in postcard: `postcard_values!(1: Inode, Chunk);`.
#[macro_export]
macro_rules! postcard_values {
    ($version:literal: $($type:ty),* $(,)?) => {$(
        impl $crate::state::Value for $type {
            const VERSION: u8 = $version;

            fn encode(&self, out: &mut Vec<u8>) -> Result<(), $crate::Fatal> {
                $crate::state::encode_postcard(self, out)
            }

            fn decode(bytes: &[u8]) -> Result<Self, $crate::Fatal> {
                $crate::state::decode_postcard(bytes)
            }
        }
    )*};
}

postcard_values!(1: (), u64, u128, String);
