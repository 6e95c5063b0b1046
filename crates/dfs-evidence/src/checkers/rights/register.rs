//! One right: what was written to it and seen of it.

/// A right is given or taken away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub(super) on: bool,
    /// The event that began it.
    pub(super) began: u64,
    /// The event that ended it; none if its outcome is unknown.
    pub(super) ended: Option<u64>,
    /// Its point of history; none if its outcome is unknown.
    pub(super) at: Option<u64>,
    /// If it was done, its point is later than this.
    pub(super) floor: u64,
}

/// What somebody saw.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) on: bool,
    pub(super) began: u64,
    pub(super) ended: u64,
    /// The point of history that was seen, where it is known.
    pub(super) at: Option<u64>,
    /// Whether it has that point for itself.
    pub(super) changes: bool,
}

/// A right that is on at the beginning.
#[derive(Debug, Default)]
pub(super) struct Register {
    /// In the order in which they began.
    writes: Vec<Write>,
    sights: Vec<Sight>,
}

/// What is known of a register at a point, and for how long it has been seen so.
struct Known {
    on: bool,
    since: u64,
}

impl Register {
    pub(super) fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub(super) fn see(&mut self, sight: Sight) {
        self.sights.push(sight);
    }

    /// The write that a sight contradicts by real time alone: it ended before, wrote something
    /// else, and nothing that wrote what was seen may have come between.
    pub(super) fn contradicting(&self, sight: &Sight) -> Option<u64> {
        // What began last leaves the least between.
        let is_before = |write: &&Write| write.ended.is_some_and(|ended| ended < sight.began);
        let others = self.writes.iter().filter(|write| write.on != sight.on);
        let last = others.filter(is_before).map(|write| write.began).max();
        let last = match (last, sight.on) {
            (Some(last), _) => last,
            // As it was at the beginning.
            (None, true) => return None,
            (None, false) => 0,
        };
        let mut same = self.writes.iter().filter(|write| write.on == sight.on);
        let may_be_between = |write: &Write| {
            write.began < sight.ended && write.ended.is_none_or(|ended| ended > last)
        };
        (!same.any(may_be_between)).then_some(last)
    }

    /// What points of history contradict. The sights are then out of the order they were added in.
    pub(super) fn contradictions(&mut self) -> Vec<String> {
        let mut known: Vec<(u64, bool)> = self.writes.iter().filter_map(Write::known).collect();
        known.sort_unstable();
        self.sights.retain(|sight| sight.at.is_some());
        self.sights.sort_by_key(|sight| (sight.at, sight.changes));
        let unknown = self.writes.iter().filter(|write| write.at.is_none());
        let mut unknown: Vec<Write> = unknown.copied().collect();
        unknown.sort_by_key(|write| write.floor);
        let mut found = Vec::new();
        let mut writes = known.into_iter().peekable();
        let mut now = Known { on: true, since: 0 };
        for sight in &self.sights {
            let at = sight.at.unwrap_or_default();
            while let Some((since, on)) = writes.next_if(|(point, _)| *point <= at) {
                now = Known { on, since };
            }
            if sight.on != now.on && !explain(&mut unknown, sight, &now) {
                let (state, since) = (if now.on { "on" } else { "off" }, now.since);
                let Sight { began, .. } = sight;
                found.push(format!(
                    "event {began} saw something else at point {at}: it was {state} since {since}"
                ));
                continue;
            }
            now = Known {
                on: sight.on,
                since: at.max(now.since),
            };
        }
        found
    }
}

impl Write {
    fn known(&self) -> Option<(u64, bool)> {
        Some((self.at?, self.on))
    }
}

/// Takes the first of the unknown writes that may have come between what is known and what was
/// seen: any other would do as well for what comes later.
fn explain(unknown: &mut Vec<Write>, sight: &Sight, now: &Known) -> bool {
    let at = sight.at.unwrap_or_default();
    // The entry of a change is no other's.
    let latest = if sight.changes {
        at.saturating_sub(1)
    } else {
        at
    };
    let fits = |write: &Write| write.on == sight.on && write.floor.max(now.since) < latest;
    match unknown.iter().position(fits) {
        Some(first) => {
            unknown.remove(first);
            true
        }
        None => false,
    }
}
