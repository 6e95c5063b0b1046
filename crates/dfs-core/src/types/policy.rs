//! How the bytes of files are kept, per directory.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::{
    CHUNK_SIZE_DEFAULT, CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, INLINE_DEFAULT, INLINE_MAX, REPLICAS_MAX,
    TRASH_TTL,
};
use super::stripe::StripeShape;

/// How many copies of a chunk there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicationTarget(pub u8);

/// How the bytes of a file are kept. A directory's policy is what new files in it get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// Copies of each chunk, on as many data nodes.
    pub replicas: ReplicationTarget,
    /// Copies that must be on stable storage before a write is acknowledged; the rest are made
    /// by repair.
    pub replicas_min: ReplicationTarget,
    /// Largest chunk, in bytes.
    pub chunk_size: u64,
    /// Files up to this many bytes are kept in the metadata, without a chunk.
    pub inline_max: u32,
    /// How long removed files can be restored; zero removes at once.
    pub trash: Duration,
    /// Bytes are kept in stripes of this shape; what is too short for one in copies. None keeps
    /// all in copies.
    pub ec: Option<StripeShape>,
    /// With `ec`: bytes are written in copies, and come into stripes when their file has not been
    /// changed for so long. None writes stripes at once.
    pub ec_after: Option<Duration>,
}

impl Policy {
    /// Three copies, two to acknowledge, 64 MiB chunks, 4 KiB inline, a day of trash.
    pub const DEFAULT: Policy = Policy {
        replicas: ReplicationTarget(3),
        replicas_min: ReplicationTarget(2),
        chunk_size: CHUNK_SIZE_DEFAULT,
        inline_max: INLINE_DEFAULT,
        trash: TRASH_TTL,
        ec: None,
        ec_after: None,
    };

    /// Checks it against the limits.
    ///
    /// # Errors
    /// Names the field that is out of its range.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=REPLICAS_MAX).contains(&self.replicas.0) {
            return Err(format!(
                "replicas={} is not in 1..={REPLICAS_MAX}",
                self.replicas.0
            ));
        }
        if !(1..=self.replicas.0).contains(&self.replicas_min.0) {
            let max = self.replicas.0;
            return Err(format!(
                "replicas_min={} is not in 1..={max}",
                self.replicas_min.0
            ));
        }
        if !(CHUNK_SIZE_MIN..=CHUNK_SIZE_MAX).contains(&self.chunk_size)
            || !self.chunk_size.is_multiple_of(CHUNK_SIZE_MIN)
        {
            return Err(format!(
                "chunk_size={} is not a multiple of {CHUNK_SIZE_MIN} up to {CHUNK_SIZE_MAX}",
                self.chunk_size
            ));
        }
        if self.inline_max > INLINE_MAX {
            return Err(format!(
                "inline_max={} is above {INLINE_MAX}",
                self.inline_max
            ));
        }
        match (self.ec, self.ec_after) {
            (Some(shape), _) => self.validate_stripes(shape),
            (None, Some(_)) => Err("ec_after says when, and ec not of which shape".to_owned()),
            (None, None) => Ok(()),
        }
    }

    /// The shape of stripes that are written at once.
    pub fn stripes_at_once(&self) -> Option<StripeShape> {
        self.ec.filter(|_| self.ec_after.is_none())
    }

    fn validate_stripes(&self, shape: StripeShape) -> Result<(), String> {
        shape.validate().map_err(|e| format!("ec: {e}"))?;
        let (copies, least) = (self.replicas.0, shape.parity.saturating_add(1));
        if copies < least {
            return Err(format!(
                "replicas={copies} is below {least}: what is too short for ec={shape} would be \
                 safe against less than the rest"
            ));
        }
        Ok(())
    }
}

/// Which fields of a policy to set, and to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct PolicyChange {
    /// See [`Policy::replicas`]. Without `replicas_min`, that becomes a majority of it.
    pub replicas: Option<ReplicationTarget>,
    /// See [`Policy::replicas_min`].
    pub replicas_min: Option<ReplicationTarget>,
    /// See [`Policy::chunk_size`].
    pub chunk_size: Option<u64>,
    /// See [`Policy::inline_max`].
    pub inline_max: Option<u32>,
    /// See [`Policy::trash`].
    pub trash: Option<Duration>,
    /// See [`Policy::ec`]. Without `replicas`, those become one more than the parity; `replicas`
    /// without this ends the coding.
    pub ec: Option<StripeShape>,
    /// See [`Policy::ec_after`]; zero is at once.
    pub ec_after: Option<Duration>,
}

impl PolicyChange {
    /// `policy` with the change made; not yet validated.
    pub fn apply_to(&self, policy: Policy) -> Policy {
        let beside = |shape: StripeShape| ReplicationTarget(shape.parity.saturating_add(1));
        let set = self.replicas.or(self.ec.map(beside));
        let majority = set.map(|r| ReplicationTarget(r.0 / 2 + 1));
        Policy {
            replicas: set.unwrap_or(policy.replicas),
            replicas_min: self
                .replicas_min
                .or(majority)
                .unwrap_or(policy.replicas_min),
            chunk_size: self.chunk_size.unwrap_or(policy.chunk_size),
            inline_max: self.inline_max.unwrap_or(policy.inline_max),
            trash: self.trash.unwrap_or(policy.trash),
            ec: match self.replicas {
                Some(_) => self.ec,
                None => self.ec.or(policy.ec),
            },
            ec_after: match (self.ec_after, self.replicas, self.ec) {
                (Some(after), ..) => Some(after).filter(|after| !after.is_zero()),
                (None, None, None) => policy.ec_after,
                (None, ..) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(policy: Policy, change: PolicyChange) -> Policy {
        let policy = change.apply_to(policy);
        assert_eq!(policy.validate(), Ok(()));
        policy
    }

    #[test]
    fn what_is_too_short_for_a_stripe_is_as_safe_as_the_rest() {
        let shape = StripeShape { data: 4, parity: 2 };
        let ec = PolicyChange {
            ec: Some(shape),
            ..PolicyChange::default()
        };
        let one = PolicyChange {
            replicas: Some(ReplicationTarget(1)),
            ..PolicyChange::default()
        };
        let coded = changed(changed(Policy::DEFAULT, one), ec);
        assert_eq!(coded.ec, Some(shape));
        assert_eq!((coded.replicas.0, coded.replicas_min.0), (3, 2));
        let unsafe_one = PolicyChange {
            replicas: Some(ReplicationTarget(2)),
            ..ec
        };
        assert!(unsafe_one.apply_to(coded).validate().is_err());
    }

    #[test]
    fn copies_end_the_coding_and_other_fields_leave_it() {
        let ec = PolicyChange {
            ec: Some(StripeShape { data: 2, parity: 1 }),
            ..PolicyChange::default()
        };
        let coded = changed(Policy::DEFAULT, ec);
        let trash = PolicyChange {
            trash: Some(Duration::ZERO),
            ..PolicyChange::default()
        };
        assert_eq!(changed(coded, trash).ec, coded.ec);
        let copies = PolicyChange {
            replicas: Some(ReplicationTarget(3)),
            ..PolicyChange::default()
        };
        assert_eq!(changed(coded, copies), Policy::DEFAULT);
    }

    #[test]
    fn stripes_come_later_or_at_once() {
        let later = PolicyChange {
            ec: Some(StripeShape { data: 2, parity: 1 }),
            ec_after: Some(Duration::from_secs(60)),
            ..PolicyChange::default()
        };
        let policy = changed(Policy::DEFAULT, later);
        assert_eq!((policy.ec, policy.stripes_at_once()), (later.ec, None));
        let now = PolicyChange {
            ec_after: Some(Duration::ZERO),
            ..PolicyChange::default()
        };
        assert_eq!(changed(policy, now).stripes_at_once(), later.ec);
        let no_shape = PolicyChange { ec: None, ..later };
        assert!(no_shape.apply_to(Policy::DEFAULT).validate().is_err());
    }
}
