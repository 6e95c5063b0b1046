//! Keys: bytes that sort as the values do.

use crate::error::Fatal;

/// Something that can be a table's key.
///
/// The encoding keeps the order: `a < b` exactly if `encode(a) < encode(b)` as bytes. Numbers
/// are big-endian; a tuple is its parts in turn, where only the last may vary in length.
pub trait Key: Sized {
    /// Appends the key's bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes the key from the front of `bytes`, and what belongs to it off them.
    ///
    /// # Errors
    /// The bytes are not such a key: the database is damaged.
    fn decode(bytes: &mut &[u8]) -> Result<Self, Fatal>;

    /// The key's bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        self.encode(&mut out);
        out
    }

    /// The key that `bytes` are, all of them.
    ///
    /// # Errors
    /// The bytes are not such a key: the database is damaged.
    fn from_bytes(mut bytes: &[u8]) -> Result<Self, Fatal> {
        let key = Self::decode(&mut bytes)?;
        if bytes.is_empty() {
            Ok(key)
        } else {
            Err(damaged("bytes after its end"))
        }
    }
}

fn damaged(what: &str) -> Fatal {
    Fatal::new(format!("a stored key is damaged: {what}"))
}

macro_rules! integer_keys {
    ($($integer:ty),*) => {$(
        impl Key for $integer {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(bytes: &mut &[u8]) -> Result<Self, Fatal> {
                let (head, rest) =
                    bytes.split_first_chunk().ok_or_else(|| damaged("too short"))?;
                *bytes = rest;
                Ok(<$integer>::from_be_bytes(*head))
            }
        }
    )*};
}

integer_keys!(u8, u16, u32, u64, u128);

impl Key for () {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut &[u8]) -> Result<Self, Fatal> {
        Ok(())
    }
}

/// Only as the last part of a key: it takes all the bytes that are left.
impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, Fatal> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| damaged("not UTF-8"))?
            .to_owned();
        *bytes = &[];
        Ok(text)
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, Fatal> {
        Ok((A::decode(bytes)?, B::decode(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, Fatal> {
        Ok((A::decode(bytes)?, B::decode(bytes)?, C::decode(bytes)?))
    }
}
