//! Which links are cut, and how long messages take.

use std::collections::BTreeMap;

use super::Link;

/// How long a message takes longer than usual: the least and the most, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delay {
    /// At least.
    pub(crate) least: u64,
    /// At most.
    pub(crate) most: u64,
}

/// What an undisturbed link takes.
const USUAL: Delay = Delay { least: 1, most: 2 };

/// The state of all links that are not as usual.
#[derive(Debug, Default)]
pub(super) struct Rules {
    seed: u64,
    cuts: BTreeMap<Link, u32>,
    delays: BTreeMap<Link, Delay>,
}

impl Rules {
    pub(super) fn new(seed: u64) -> Rules {
        Rules {
            seed,
            ..Rules::default()
        }
    }

    pub(super) fn cut(&mut self, links: &[Link]) {
        for link in links {
            *self.cuts.entry(*link).or_default() += 1;
        }
    }

    pub(super) fn heal(&mut self, links: &[Link]) {
        for link in links {
            if let Some(count) = self.cuts.get_mut(link) {
                *count -= 1;
                if *count == 0 {
                    self.cuts.remove(link);
                }
            }
        }
    }

    pub(super) fn is_cut(&self, link: Link) -> bool {
        self.cuts.contains_key(&link)
    }

    pub(super) fn delay(&mut self, links: &[Link], delay: Option<Delay>) {
        for link in links {
            match delay {
                Some(delay) => self.delays.insert(*link, delay),
                None => self.delays.remove(link),
            };
        }
    }

    /// How long what a connection sends now takes: the same however many pieces it is in, since
    /// their number may depend on lengths that vary.
    pub(super) fn latency(&self, link: Link, connection: u64, now: u64) -> u64 {
        let mix = self.seed ^ connection.rotate_left(32) ^ now;
        let mut chance = mixed(mix ^ ((link.0 as u64) << 16));
        let mut draw = |delay: Delay| {
            chance = mixed(chance);
            delay.least + chance % (delay.most - delay.least + 1)
        };
        let usual = draw(USUAL);
        usual + self.delays.get(&link).map_or(0, |delay| draw(*delay))
    }

    /// How long after a heal what was kept arrives.
    pub(super) fn retransmission(&self, connection: u64, now: u64) -> u64 {
        1 + mixed(self.seed ^ connection ^ now.rotate_left(20)) % 200
    }
}

/// A number that looks like chance (splitmix64).
pub(super) fn mixed(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
