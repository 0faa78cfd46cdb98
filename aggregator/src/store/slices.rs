use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serin_sketch::Counts;

use crate::{
    report::{Delta, ReporterId, SeriesKey, Waiting},
    time::UnixMicros,
};

/// Memory for slices, at most; beyond it the oldest seconds go first. A delta of 30 buckets in both timings is 1 kB, so
/// this is 2 million of them: 100 sidecars of 20 series for a live window of 15 min.
const BYTES_MAX: usize = 2 << 30;

/// 1 s slices by the end of the interval that they were counted in, back to the live window.
#[derive(Debug)]
pub struct Slices {
    window: Duration,
    bytes: usize,
    seconds: BTreeMap<u64, Second>,
}

/// What is known of one second.
#[derive(Debug, Default)]
pub struct Second {
    /// What was counted.
    pub deltas: Vec<Arc<Delta>>,
    /// What each reporter said last of what waits for a response.
    waiting: BTreeMap<ReporterId, Vec<(SeriesKey, Counts)>>,
}

/// A second of which nothing is known.
static NOTHING: Second = Second { deltas: Vec::new(), waiting: BTreeMap::new() };

impl Second {
    /// What waits for a response, by series and age.
    pub fn waiting(&self) -> impl Iterator<Item = &(SeriesKey, Counts)> {
        self.waiting.values().flatten()
    }

    /// What it takes in memory, nearly.
    fn bytes(&self) -> usize {
        let waiting: usize = self.waiting.values().map(|ages| bytes_of(ages)).sum();
        self.deltas.iter().map(|delta| delta.bytes()).sum::<usize>() + waiting
    }
}

fn bytes_of(ages: &[(SeriesKey, Counts)]) -> usize {
    ages.iter().map(|(_, ages)| 256 + 16 * ages.iter().len()).sum()
}

impl Slices {
    /// Keeps this much.
    pub fn new(window: Duration) -> Self {
        Slices { window, bytes: 0, seconds: BTreeMap::new() }
    }

    /// The second that an interval belongs to: the one that its last half second, or its second half if it is shorter,
    /// begins in. Reporters tick on the second, so an interval ends a little after the second it covers, and a
    /// longer one belongs to its last second. Clocks that are ahead must not write into the future: `now` is the limit.
    pub fn second_of(interval_end: UnixMicros, interval: Duration, now: UnixMicros) -> u64 {
        interval_end.min(now).minus(interval.div_f64(2.0).min(Duration::from_millis(500))).second()
    }

    /// Adds deltas to a second. Those older than the window are not kept.
    pub fn add(&mut self, second: u64, deltas: Vec<Arc<Delta>>, now: UnixMicros) {
        self.change(second, now, |kept| {
            let bytes = deltas.iter().map(|delta| delta.bytes()).sum::<usize>();
            kept.deltas.extend(deltas);
            (0, bytes)
        });
    }

    /// Takes what waits at one reporter, in place of what it said before of the same second.
    pub fn wait(&mut self, reporter: &ReporterId, waiting: Waiting, now: UnixMicros) {
        let second = Self::second_of(waiting.at, Duration::from_secs(1), now);
        self.change(second, now, |kept| {
            let now = bytes_of(&waiting.ages);
            let before = kept.waiting.insert(reporter.clone(), waiting.ages);
            (before.map_or(0, |before| bytes_of(&before)), now)
        });
    }

    /// Keeps only what is of certain series.
    pub fn retain(&mut self, is_kept: impl Fn(&SeriesKey) -> bool) {
        for second in self.seconds.values_mut() {
            second.deltas.retain(|delta| is_kept(&delta.series));
            second.waiting.values_mut().for_each(|ages| ages.retain(|(series, _)| is_kept(series)));
        }
        self.bytes = self.seconds.values().map(Second::bytes).sum();
    }

    /// `change` says how many bytes went and came.
    fn change(&mut self, second: u64, now: UnixMicros, change: impl FnOnce(&mut Second) -> (usize, usize)) {
        let oldest = now.minus(self.window).second();
        if second >= oldest {
            let (gone, came) = change(self.seconds.entry(second).or_default());
            self.bytes = self.bytes - gone + came;
        }
        while self.seconds.first_key_value().is_some_and(|(s, _)| *s < oldest || self.bytes > BYTES_MAX) {
            self.bytes -= self.seconds.pop_first().map_or(0, |(_, kept)| kept.bytes());
        }
    }

    /// What is known of one second.
    pub fn second(&self, second: u64) -> &Second {
        self.seconds.get(&second).unwrap_or(&NOTHING)
    }

    /// What was counted from one second on.
    pub fn since(&self, second: u64) -> impl Iterator<Item = &Delta> {
        self.seconds.range(second..).flat_map(|(_, kept)| kept.deltas.iter().map(Arc::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use serin_proto::v1::{Outcome, Vantage};
    use serin_sketch::{Counts, Micros};

    use super::*;
    use crate::report::SeriesKey;

    fn delta() -> Arc<Delta> {
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
        Arc::new(Delta { series, upstream: Counts::new(), total, retries: 0 })
    }

    #[test]
    fn an_interval_belongs_to_the_second_it_covers() {
        let now = UnixMicros::from_second(100);
        let cases = [
            (11_000_000, 1_000, 10),
            (11_004_000, 1_004, 10),
            (10_998_000, 998, 10),
            (11_499_000, 1_000, 10),
            (11_501_000, 1_000, 11),
            (20_002_000, 10_000, 19),
            // Sealed early for want of room, and the rest of that second.
            (10_300_000, 300, 10),
            (11_004_000, 704, 10),
        ];
        for (end, ms, second) in cases {
            assert_eq!(Slices::second_of(UnixMicros(end), Duration::from_millis(ms), now), second, "{end} {ms}");
        }
        let ahead = UnixMicros::from_second(5_000);
        assert_eq!(Slices::second_of(ahead, Duration::from_secs(1), now), 99, "a clock that is ahead");
    }

    #[test]
    fn what_is_older_than_the_window_goes() {
        let mut slices = Slices::new(Duration::from_secs(10));
        let at = |s| UnixMicros::from_second(s);
        slices.add(50, vec![delta()], at(51));
        slices.add(55, vec![delta(), delta()], at(56));
        assert_eq!(slices.since(0).count(), 3);
        slices.add(61, vec![], at(62));
        assert_eq!(
            (slices.second(50).deltas.len(), slices.since(0).count(), slices.bytes),
            (0, 2, 2 * delta().bytes())
        );
        slices.add(40, vec![delta()], at(62));
        assert_eq!(slices.second(40).deltas.len(), 0, "too old on arrival");
    }

    #[test]
    fn what_waits_is_what_was_said_last() {
        let mut slices = Slices::new(Duration::from_secs(10));
        let reporter = ReporterId { node_id: "n".into(), boot_nonce: 1, context_id: 2 };
        let now = UnixMicros::from_second(101);
        let waiting = |requests| {
            let ages = Counts::from_iter([(serin_sketch::Bucket::of(Micros(1_500_000)), requests)]);
            Waiting { at: UnixMicros(101_004_000), ages: vec![((*delta().series).clone(), ages)] }
        };
        slices.wait(&reporter, waiting(7), now.plus(Duration::from_millis(5)));
        slices.wait(&reporter, waiting(3), now.plus(Duration::from_millis(9)));
        let said = |second| slices.second(second).waiting().map(|(_, ages)| ages.total()).sum::<u64>();
        assert_eq!((said(100), said(101)), (3, 0));
        let gone = Waiting { ages: Vec::new(), ..waiting(1) };
        slices.wait(&reporter, gone, now.plus(Duration::from_millis(9)));
        assert_eq!(slices.bytes, 0);
    }
}
