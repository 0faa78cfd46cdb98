mod minute;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serin_sketch::Counts;

use crate::{
    report::{Delta, ReporterId, SeriesKey, Waiting},
    time::UnixMicros,
};
use minute::Minute;

/// Memory for slices, at most; beyond it the oldest go first. A delta of 30 buckets in both timings is 1 kB, so
/// this is 2 million of them: 1,000 sidecars of 20 series for the 90 s that are kept by second and pod.
const BYTES_MAX: usize = 2 << 30;
const MINUTE_S: u64 = 60;
/// Seconds that are kept as they came, back from the last that was judged: what a new trial begins with is a minute of them.
const WHOLE_S: u64 = 90;

/// 1 s slices by the end of the interval that they were counted in; of those that were judged a while ago, minutes of all pods together,
/// back to the live window.
#[derive(Debug)]
pub struct Slices {
    window: Duration,
    bytes: usize,
    seconds: BTreeMap<u64, Second>,
    minutes: BTreeMap<u64, Minute>,
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
        Slices { window, bytes: 0, seconds: BTreeMap::new(), minutes: BTreeMap::new() }
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
        self.minutes.values_mut().for_each(|minute| minute.retain(&is_kept));
        let minutes: usize = self.minutes.values().map(|minute| minute.bytes).sum();
        self.bytes = self.seconds.values().map(Second::bytes).sum::<usize>() + minutes;
    }

    /// Seconds up to this one were judged: those that nobody will ask for one by one become part of their minute.
    pub fn fold(&mut self, judged: u64) {
        let whole = judged.saturating_sub(WHOLE_S);
        while let Some(first) = self.seconds.first_entry()
            && *first.key() < whole
        {
            let (second, kept) = first.remove_entry();
            let minute = self.minutes.entry(second / MINUTE_S * MINUTE_S).or_default();
            self.bytes -= kept.bytes() + minute.bytes;
            kept.deltas.iter().for_each(|delta| minute.add(delta));
            self.bytes += minute.bytes;
        }
    }

    /// `change` says how many bytes went and came.
    fn change(&mut self, second: u64, now: UnixMicros, change: impl FnOnce(&mut Second) -> (usize, usize)) {
        let oldest = now.minus(self.window).second();
        if second >= oldest {
            let (gone, came) = change(self.seconds.entry(second).or_default());
            self.bytes = self.bytes - gone + came;
        }
        while self.minutes.first_key_value().is_some_and(|(s, _)| s + MINUTE_S <= oldest || self.bytes > BYTES_MAX) {
            self.bytes -= self.minutes.pop_first().map_or(0, |(_, minute)| minute.bytes);
        }
        while self.seconds.first_key_value().is_some_and(|(s, _)| *s < oldest || self.bytes > BYTES_MAX) {
            self.bytes -= self.seconds.pop_first().map_or(0, |(_, kept)| kept.bytes());
        }
    }

    /// The stretches of a minute that end before a second, the latest first: of seconds as long as they are kept as they came, and then
    /// minutes of the clock that are whole.
    pub fn minutes_before(&self, second: u64) -> impl Iterator<Item = Vec<&Delta>> {
        let kept = self.seconds.first_key_value().map_or(second, |(first, _)| *first).min(second);
        let fresh = (1..=(second - kept) / MINUTE_S).map(move |ago| {
            let stretch = self.seconds.range(second - ago * MINUTE_S..second - (ago - 1) * MINUTE_S);
            stretch.flat_map(|(_, kept)| kept.deltas.iter().map(Arc::as_ref)).collect()
        });
        let before = self.minutes.iter().rev().filter(move |(start, _)| *start + MINUTE_S <= kept);
        fresh.chain(before.map(|(_, minute)| minute.iter().collect()))
    }

    /// What is known of one second.
    pub fn second(&self, second: u64) -> &Second {
        self.seconds.get(&second).unwrap_or(&NOTHING)
    }

    /// What was counted from one second on, and in the minute that it is in where that is no more kept by seconds.
    pub fn since(&self, second: u64) -> impl Iterator<Item = &Delta> {
        let is_folded = self.seconds.first_key_value().is_none_or(|(kept, _)| second < *kept);
        let minutes = self.minutes.range(second / MINUTE_S * MINUTE_S..).filter(move |_| is_folded);
        let minutes = minutes.flat_map(|(_, minute)| minute.iter());
        minutes.chain(self.seconds.range(second..).flat_map(|(_, kept)| kept.deltas.iter().map(Arc::as_ref)))
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
    fn what_was_judged_a_while_ago_is_kept_by_minutes_and_all_is_there_once() {
        let mut slices = Slices::new(Duration::from_secs(900));
        let pod = |pod: u64| {
            let series = SeriesKey { pod: pod.to_string(), ..(*delta().series).clone() };
            Arc::new(Delta { series: Arc::new(series), ..(*delta()).clone() })
        };
        let total = |deltas: &[&Delta]| deltas.iter().map(|delta| delta.requests()).sum::<u64>();
        for second in 600..1_000 {
            slices.add(second, vec![pod(1), pod(2), pod(second)], UnixMicros::from_second(second + 1));
            slices.fold(second);
            let all: Vec<&Delta> = slices.since(0).collect();
            assert_eq!(total(&all), 3 * (second - 599));
        }
        // 600 to 908 are folded: the minutes 600 to 900, one series each.
        assert_eq!((slices.second(908).deltas.len(), slices.second(909).deltas.len()), (0, 3));
        assert_eq!(slices.since(0).count(), 6 + 91 * 3);
        assert_eq!(total(&slices.since(850).collect::<Vec<_>>()), 3 * (1_000 - 840), "from the minute's beginning");
        // One minute of seconds, none of the minute that is folded in part, and the whole ones before it.
        let minutes: Vec<u64> = slices.minutes_before(1_000).map(|minute| total(&minute)).collect();
        assert_eq!(minutes, [180; 6]);
        let bytes = slices.seconds.values().map(Second::bytes).sum::<usize>()
            + slices.minutes.values().map(|minute| minute.bytes).sum::<usize>();
        assert_eq!(slices.bytes, bytes);
        slices.add(1_790, vec![], UnixMicros::from_second(1_791));
        assert_eq!(slices.since(0).map(Delta::requests).sum::<u64>(), 3 * (909 - 840 + 91), "the window is over");
        slices.retain(|_| false);
        assert_eq!(slices.bytes, 0);
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
