use std::{collections::BTreeMap, time::Duration};

use crate::{report::Delta, time::UnixMicros};

/// Deltas held at most: a delta of 30 buckets in both timings is about 1 kB, so 4 million are 4 GB; beyond it
/// the oldest seconds go first.
const DELTAS_MAX: usize = 4_000_000;

/// 1 s slices by the end of the interval that they were counted in, back to the live window.
#[derive(Debug)]
pub struct Slices {
    window: Duration,
    deltas: usize,
    seconds: BTreeMap<u64, Vec<Delta>>,
}

impl Slices {
    /// Keeps this much.
    pub fn new(window: Duration) -> Self {
        Slices { window, deltas: 0, seconds: BTreeMap::new() }
    }

    /// The second that an interval belongs to. Reporters tick on the second, so an interval ends a little after
    /// the second it covers; half a second of slack finds that one. A longer interval belongs to its last
    /// second. Clocks that are ahead must not write into the future: `now` is the limit.
    pub fn second_of(interval_end: UnixMicros, now: UnixMicros) -> u64 {
        interval_end.min(now).minus(Duration::from_millis(500)).second()
    }

    /// Adds deltas to a second. Those older than the window are not kept.
    pub fn add(&mut self, second: u64, deltas: Vec<Delta>, now: UnixMicros) {
        let oldest = now.minus(self.window).second();
        if second >= oldest {
            self.deltas += deltas.len();
            self.seconds.entry(second).or_default().extend(deltas);
        }
        while self.seconds.first_key_value().is_some_and(|(s, _)| *s < oldest || self.deltas > DELTAS_MAX) {
            let gone = self.seconds.pop_first().map_or(0, |(_, deltas)| deltas.len());
            self.deltas -= gone;
        }
    }

    /// What was counted in one second.
    pub fn second(&self, second: u64) -> &[Delta] {
        self.seconds.get(&second).map_or(&[], Vec::as_slice)
    }

    /// What was counted from one second on.
    pub fn since(&self, second: u64) -> impl Iterator<Item = &Delta> {
        self.seconds.range(second..).flat_map(|(_, deltas)| deltas)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serin_proto::v1::{Outcome, Vantage};
    use serin_sketch::{Counts, Micros};

    use super::*;
    use crate::report::SeriesKey;

    fn delta() -> Delta {
        let mut total = Counts::new();
        total.record(Micros(5));
        let series = Arc::new(SeriesKey {
            service: "s".into(),
            route: "r".into(),
            release: "v1".into(),
            pod: String::new(),
            outcome: Outcome::Success,
            vantage: Vantage::Gateway,
        });
        Delta { series, upstream: Counts::new(), total }
    }

    #[test]
    fn an_interval_belongs_to_the_second_it_covers() {
        let now = UnixMicros::from_second(100);
        let cases = [(11_000_000, 10), (11_004_000, 10), (10_998_000, 10), (11_499_000, 10), (11_501_000, 11)];
        for (end, second) in cases {
            assert_eq!(Slices::second_of(UnixMicros(end), now), second, "{end}");
        }
        assert_eq!(Slices::second_of(UnixMicros::from_second(5_000), now), 99, "a clock that is ahead");
    }

    #[test]
    fn what_is_older_than_the_window_goes() {
        let mut slices = Slices::new(Duration::from_secs(10));
        let at = |s| UnixMicros::from_second(s);
        slices.add(50, vec![delta()], at(51));
        slices.add(55, vec![delta(), delta()], at(56));
        assert_eq!(slices.since(0).count(), 3);
        slices.add(61, vec![], at(62));
        assert_eq!((slices.second(50).len(), slices.since(0).count(), slices.deltas), (0, 2, 2));
        slices.add(40, vec![delta()], at(62));
        assert_eq!(slices.second(40).len(), 0, "too old on arrival");
    }
}
