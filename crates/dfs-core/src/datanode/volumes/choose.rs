//! Which volume a new replica goes to.

/// The volumes in the order in which they are to be tried, by what each may still take: the first
/// by chance, the more likely the more it may take, so that all fill up together and none gets
/// all that is written now. The others by what they may take.
pub(super) fn order(available: &[u64], chance: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..available.len()).collect();
    let room = |at: &usize| available.get(*at).copied().unwrap_or(0);
    order.sort_by_key(|at| (std::cmp::Reverse(room(at)), *at));
    let all = available.iter().map(|room| u128::from(*room)).sum::<u128>();
    let mut drawn = match all {
        0 => return order,
        all => u128::from(chance).saturating_mul(all) >> 64,
    };
    for at in 0..order.len() {
        let room = order.get(at).map_or(0, room).into();
        if drawn < room {
            order.get_mut(..=at).unwrap_or_default().rotate_right(1);
            return order;
        }
        drawn -= room;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_spread_by_what_volumes_may_still_take() {
        let available = [100, 0, 300];
        let mut first = [0; 3];
        for draw in 0..400 {
            let order = order(&available, draw * (u64::MAX / 400));
            first[order[0]] += 1;
            let mut sorted = order;
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2], "each is tried once");
        }
        assert!((95..=105).contains(&first[0]), "{first:?}");
        assert_eq!(first[1], 0, "a full one is tried last");
    }

    #[test]
    fn full_volumes_are_tried_all_the_same() {
        assert_eq!(order(&[0, 0], 7), [0, 1]);
        assert!(order(&[], 7).is_empty());
    }
}
