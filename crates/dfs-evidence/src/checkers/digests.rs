//! Digests: masters that have applied the same entries hold the same rows.

use std::collections::BTreeMap;

/// What a master said of its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Which master.
    pub master: String,
    /// The index of the last entry it had applied.
    pub applied: u64,
    /// The digest of all its rows.
    pub digest: String,
}

/// What is wrong with the states of masters: equal points, different rows.
pub fn complaints(digests: &[Digest]) -> Vec<String> {
    let mut first: BTreeMap<u64, &Digest> = BTreeMap::new();
    let mut found = Vec::new();
    for said in digests {
        let before = first.entry(said.applied).or_insert(said);
        if before.digest != said.digest {
            found.push(format!(
                "M4: at {} {} has {} and {} has {}",
                said.applied, before.master, before.digest, said.master, said.digest
            ));
        }
    }
    found
}

/// How many points at least two masters spoke of: a check of none has shown nothing.
pub fn compared(digests: &[Digest]) -> usize {
    let mut masters: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for said in digests {
        let spoke = masters.entry(said.applied).or_default();
        if !spoke.contains(&said.master.as_str()) {
            spoke.push(&said.master);
        }
    }
    masters.values().filter(|spoke| spoke.len() > 1).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_rows_at_one_point_are_found_and_at_different_points_are_not() {
        let digest = |master: &str, applied, digest: &str| Digest {
            master: master.to_owned(),
            applied,
            digest: digest.to_owned(),
        };
        let right = [
            digest("m1", 5, "aa"),
            digest("m2", 5, "aa"),
            digest("m3", 6, "bb"),
        ];
        assert_eq!((complaints(&right), compared(&right)), (Vec::new(), 1));
        let wrong = [&right[..], &[digest("m2", 6, "cc")]].concat();
        assert_eq!(complaints(&wrong), ["M4: at 6 m3 has bb and m2 has cc"]);
        assert_eq!(compared(&[digest("m1", 5, "aa"), digest("m1", 5, "aa")]), 0);
    }
}
