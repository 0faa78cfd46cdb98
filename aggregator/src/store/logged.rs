use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use crate::{report::ReporterId, time::UnixMicros};

/// A reporter without a message in the log for this long is forgotten: it is gone, or was idle and goes on above its floor.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// Which reports from a log were counted. A report can be in it twice, written by two aggregators that a filter sent it to, and in any order.
///
/// Each message says below which sequence (its floor) all were acknowledged, hence in the log, before it was written. What has come in
/// the log's order up to here is therefore everything below the highest floor, and what is known of the few sequences above it.
#[derive(Debug, Default)]
pub struct Logged(HashMap<ReporterId, Counted>);

#[derive(Debug)]
struct Counted {
    floor: u64,
    above: BTreeSet<u64>,
    last_seen: UnixMicros,
}

impl Logged {
    /// Takes a report's numbers, in the order of the log, and says whether its counts are to be added.
    pub fn is_new(&mut self, reporter: &ReporterId, floor: u64, sequence: u64, now: UnixMicros) -> bool {
        let counted = match self.0.get_mut(reporter) {
            Some(counted) => counted,
            None => self.0.entry(reporter.clone()).or_insert(Counted { floor, above: BTreeSet::new(), last_seen: now }),
        };
        counted.last_seen = now;
        let is_new = sequence >= counted.floor && counted.above.insert(sequence);
        if floor > counted.floor {
            counted.floor = floor;
            counted.above = counted.above.split_off(&floor);
        }
        is_new
    }

    /// Forgets reporters that are gone.
    pub fn forget(&mut self, now: UnixMicros) {
        self.0.retain(|_, counted| now.since(counted.last_seen) < FORGET_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_000_000_000);

    fn reporter() -> ReporterId {
        ReporterId { node_id: "n".into(), boot_nonce: 1, context_id: 1 }
    }

    #[test]
    fn what_comes_again_or_late_counts_once() {
        let mut logged = Logged::default();
        let mut is_new = |floor, sequence| logged.is_new(&reporter(), floor, sequence, NOW);
        assert!(is_new(1, 1) && is_new(1, 3) && is_new(1, 2), "in any order");
        assert!(!is_new(1, 2) && !is_new(1, 3), "again");
        assert!(is_new(4, 4), "1 to 3 were acknowledged");
        assert!(!is_new(1, 2), "from an aggregator that was held up");
        assert!(!is_new(4, 4));
    }

    #[test]
    fn only_what_is_above_the_floor_is_remembered_one_by_one() {
        let mut logged = Logged::default();
        for sequence in 1..=1_000 {
            assert!(logged.is_new(&reporter(), sequence.max(9) - 8, sequence, NOW));
        }
        assert_eq!(logged.0[&reporter()].above.len(), 9);
        logged.forget(NOW.plus(FORGET_AFTER));
        assert!(logged.0.is_empty());
    }

    /// A filter that sends its reports to two aggregators in turn, each of which writes them to the log as late as it likes, and acknowledges
    /// what it wrote.
    #[derive(Clone, Debug)]
    enum Step {
        Send { to: usize },
        Write { by: usize },
        Move,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..2usize).prop_map(|to| Step::Send { to }),
            3 => (0..2usize).prop_map(|by| Step::Write { by }),
            1 => Just(Step::Move),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn each_report_that_was_acknowledged_is_counted_once(steps in steps()) {
            let mut logged = Logged::default();
            // What each aggregator has to write, and below which sequence it knows all to be acknowledged.
            let mut waiting: [std::collections::VecDeque<u64>; 2] = Default::default();
            let mut floors = [1u64; 2];
            let (mut acknowledged, mut next, mut at) = (0u64, 1u64, 0usize);
            let mut counted = std::collections::BTreeMap::<u64, u32>::new();
            for step in steps {
                match step {
                    Step::Send { to } if to == at && next <= acknowledged + 8 => {
                        waiting[at].push_back(next);
                        next += 1;
                    }
                    Step::Write { by } => {
                        let Some(sequence) = waiting[by].pop_front() else { continue };
                        if logged.is_new(&reporter(), floors[by], sequence, NOW) {
                            *counted.entry(sequence).or_default() += 1;
                        }
                        // Only the aggregator that the filter talks to can acknowledge, and it does so in order.
                        if by == at && sequence == acknowledged + 1 {
                            acknowledged = sequence;
                            floors[by] = sequence + 1;
                        }
                    }
                    Step::Move => {
                        at = 1 - at;
                        floors[at] = acknowledged + 1;
                        next = acknowledged + 1;
                        // A new stream: what an earlier one of this filter left waiting there is still written.
                    }
                    Step::Send { .. } => {}
                }
            }
            for sequence in 1..=acknowledged {
                prop_assert_eq!(counted.get(&sequence), Some(&1), "sequence {}", sequence);
            }
            prop_assert!(counted.values().all(|times| *times == 1));
        }
    }
}
