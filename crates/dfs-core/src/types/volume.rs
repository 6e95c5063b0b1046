//! The disks of a data node, and how far each was read through.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::topology::Space;

/// One of the directories of a data node: its number, which its stamp has. Never given to another.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct VolumeId(pub u32);

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Something is no volume's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0:.20}` is no volume: v0, v1, …")]
pub struct VolumeIdError(String);

impl FromStr for VolumeId {
    type Err = VolumeIdError;

    fn from_str(text: &str) -> Result<VolumeId, VolumeIdError> {
        let digits = text.strip_prefix('v').filter(|digits| {
            let is_digit = |byte: u8| byte.is_ascii_digit();
            digits.bytes().all(is_digit)
        });
        let number = digits.and_then(|digits| digits.parse().ok());
        number
            .map(VolumeId)
            .ok_or_else(|| VolumeIdError(text.to_owned()))
    }
}

/// A volume as its data node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Which.
    pub id: VolumeId,
    /// Its directory, as the settings of its node name it.
    pub directory: String,
    /// Why it is out of use, if it is.
    pub failed: Option<String>,
    /// Room on it.
    pub space: Space,
    /// Replicas on it.
    pub replicas: u64,
    /// How far it was read through.
    pub scrub: Scrub,
    /// It is being emptied, to be taken out.
    pub leaving: bool,
}

/// How far the replicas of a volume, or of a data node, were read through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scrub {
    /// No replica was read through, or written, longer ago than this. None if that is not known:
    /// some were never read through.
    pub unchecked: Option<Duration>,
    /// Whether a pass is under way.
    pub reading: bool,
    /// Replicas read in this pass, or the last.
    pub replicas: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Replicas that passes found corrupt since the node was started.
    pub corrupt: u64,
}

impl Scrub {
    /// Of a whole node. None of its volumes is better known than the whole.
    pub fn sum<'a>(volumes: impl IntoIterator<Item = &'a Scrub>) -> Scrub {
        let none = Scrub {
            unchecked: Some(Duration::ZERO),
            ..Scrub::default()
        };
        volumes.into_iter().fold(none, |sum, one| Scrub {
            unchecked: sum.unchecked.zip(one.unchecked).map(|(a, b)| a.max(b)),
            reading: sum.reading || one.reading,
            replicas: sum.replicas.saturating_add(one.replicas),
            bytes: sum.bytes.saturating_add(one.bytes),
            corrupt: sum.corrupt.saturating_add(one.corrupt),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub(unchecked: Option<u64>) -> Scrub {
        Scrub {
            unchecked: unchecked.map(Duration::from_secs),
            reading: false,
            replicas: 1,
            bytes: 2,
            corrupt: 3,
        }
    }

    #[test]
    fn a_volume_is_read_as_it_is_shown() {
        let shown = VolumeId(12).to_string();
        assert_eq!(shown.parse(), Ok(VolumeId(12)));
        for text in ["", "v", "12", "v+1", "v-1", "v99999999999", "n1"] {
            assert!(text.parse::<VolumeId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_node_is_as_little_checked_as_its_least_checked_volume() {
        let sum = Scrub::sum(&[scrub(Some(5)), scrub(Some(9))]);
        assert_eq!(sum.unchecked, Some(Duration::from_secs(9)));
        assert_eq!((sum.replicas, sum.bytes, sum.corrupt), (2, 4, 6));
        assert_eq!(Scrub::sum(&[scrub(Some(5)), scrub(None)]).unchecked, None);
    }
}
