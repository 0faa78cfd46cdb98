mod minute;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serin_sketch::Counts;

use crate::{
    report::{Delta, Deltas, Origin, ReporterId, SeriesKey, Waiting},
    time::UnixMicros,
};

/// Memory for slices, at most; beyond it the oldest go first. A delta of 45 buckets in both timings is about 250 B, so this is 8 million of
/// them: 4,000 sidecars of 20 series for the 100 s that are kept by second and pod.
const BYTES_MAX: usize = 2 << 30;
const MINUTE_S: u64 = 60;
/// Seconds that are kept as they came, back from the last that was judged: what a new trial begins with is a minute of them.
const WHOLE_S: u64 = 90;
/// So many seconds become part of a minute at once: a sum is written anew each time.
const FOLD_S: u64 = 10;

/// 1 s slices by the end of the interval that they were counted in; of those that were judged a while ago, minutes of all pods together,
/// back to the live window.
#[derive(Debug)]
pub struct Slices {
    window: Duration,
    bytes: usize,
    seconds: BTreeMap<u64, Second>,
    /// Sums, all pods of a series together.
    minutes: BTreeMap<u64, Deltas>,
}

/// What is known of one second.
#[derive(Debug, Default)]
pub struct Second {
    /// What was counted, by report.
    reports: Vec<(Origin, Arc<Deltas>)>,
    /// What each reporter said last of what waits for a response.
    waiting: BTreeMap<ReporterId, Waiting>,
}

/// A second of which nothing is known.
static NOTHING: Second = Second { reports: Vec::new(), waiting: BTreeMap::new() };

impl Second {
    /// What was counted.
    pub fn deltas(&self) -> impl Iterator<Item = Delta<'_>> {
        self.reports.iter().flat_map(|(_, deltas)| deltas.iter())
    }

    /// What was counted, with whose it is.
    pub fn by_origin(&self) -> impl Iterator<Item = (&Origin, Delta<'_>)> {
        self.reports.iter().flat_map(|(origin, deltas)| deltas.iter().map(move |delta| (origin, delta)))
    }

    /// What waits for a response, by series and age.
    pub fn waiting(&self) -> impl Iterator<Item = &(SeriesKey, Counts)> {
        self.waiting.values().flat_map(|waiting| &waiting.ages)
    }

    /// The same of each reporter.
    pub fn waiting_by_reporter(&self) -> impl Iterator<Item = (&ReporterId, &Waiting)> {
        self.waiting.iter()
    }

    /// Whether a proxy tells of what waits there.
    pub fn tells_of_waiting(&self, node: &Arc<str>) -> bool {
        let first = ReporterId { node_id: Arc::clone(node), boot_nonce: 0, context_id: 0 };
        self.waiting.range(first..).next().is_some_and(|(reporter, _)| reporter.node_id == *node)
    }

    /// What it takes in memory, nearly.
    fn bytes(&self) -> usize {
        let waiting: usize = self.waiting.values().map(|waiting| bytes_of(&waiting.ages)).sum();
        self.reports.iter().map(|(_, deltas)| deltas.bytes()).sum::<usize>() + waiting
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

    /// Adds deltas of a proxy to a second. Those older than the window are not kept.
    pub fn add(&mut self, second: u64, origin: &Origin, deltas: Arc<Deltas>, now: UnixMicros) {
        self.change(second, now, |kept| {
            let bytes = deltas.bytes();
            kept.reports.push((origin.clone(), deltas));
            (0, bytes)
        });
    }

    /// Takes what waits at one reporter, in place of what it said before of the same second.
    pub fn wait(&mut self, reporter: &ReporterId, waiting: Waiting, now: UnixMicros) {
        let second = Self::second_of(waiting.at, Duration::from_secs(1), now);
        self.change(second, now, |kept| {
            let now = bytes_of(&waiting.ages);
            let before = kept.waiting.insert(reporter.clone(), waiting);
            (before.map_or(0, |before| bytes_of(&before.ages)), now)
        });
    }

    /// Keeps only what is of certain series.
    pub fn retain(&mut self, is_kept: impl Fn(&SeriesKey) -> bool) {
        for second in self.seconds.values_mut() {
            second.reports.iter_mut().for_each(|(_, deltas)| *deltas = Arc::new(deltas.of(&is_kept)));
            second.reports.retain(|(_, deltas)| deltas.iter().len() > 0);
            second.waiting.values_mut().for_each(|waiting| waiting.ages.retain(|(series, _)| is_kept(series)));
        }
        self.minutes.values_mut().for_each(|minute| *minute = minute.of(&is_kept));
        self.minutes.retain(|_, minute| minute.iter().len() > 0);
        let minutes: usize = self.minutes.values().map(Deltas::bytes).sum();
        self.bytes = self.seconds.values().map(Second::bytes).sum::<usize>() + minutes;
    }

    /// Seconds up to this one were judged: those that nobody will ask for one by one become part of their minute.
    pub fn fold(&mut self, judged: u64) {
        let whole = judged.saturating_sub(WHOLE_S) / FOLD_S * FOLD_S;
        while let Some((first, _)) = self.seconds.first_key_value()
            && *first < whole
        {
            let end = (first / FOLD_S + 1) * FOLD_S;
            let start = first / MINUTE_S * MINUTE_S;
            let after = self.seconds.split_off(&end);
            let folded = std::mem::replace(&mut self.seconds, after);
            let before = self.minutes.remove(&start);
            let all = before.iter().flat_map(Deltas::iter).chain(folded.values().flat_map(Second::deltas));
            let minute = minute::sum(all);
            self.bytes -= folded.values().map(Second::bytes).sum::<usize>() + before.map_or(0, |before| before.bytes());
            self.bytes += minute.bytes();
            self.minutes.insert(start, minute);
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
            self.bytes -= self.minutes.pop_first().map_or(0, |(_, minute)| minute.bytes());
        }
        while self.seconds.first_key_value().is_some_and(|(s, _)| *s < oldest || self.bytes > BYTES_MAX) {
            self.bytes -= self.seconds.pop_first().map_or(0, |(_, kept)| kept.bytes());
        }
    }

    /// The stretches of a minute that end before a second, the latest first: of seconds as long as they are kept as they came, and then
    /// minutes of the clock that are whole.
    pub fn minutes_before(&self, second: u64) -> impl Iterator<Item = Vec<Delta<'_>>> {
        let kept = self.seconds.first_key_value().map_or(second, |(first, _)| *first).min(second);
        let fresh = (1..=(second - kept) / MINUTE_S).map(move |ago| {
            let stretch = self.seconds.range(second - ago * MINUTE_S..second - (ago - 1) * MINUTE_S);
            stretch.flat_map(|(_, kept)| kept.deltas()).collect()
        });
        let before = self.minutes.iter().rev().filter(move |(start, _)| *start + MINUTE_S <= kept);
        fresh.chain(before.map(|(_, minute)| minute.iter().collect()))
    }

    /// The oldest second that is kept as it came.
    pub fn first_second(&self) -> Option<u64> {
        self.seconds.first_key_value().map(|(second, _)| *second)
    }

    /// What is known of one second.
    pub fn second(&self, second: u64) -> &Second {
        self.seconds.get(&second).unwrap_or(&NOTHING)
    }

    /// What was counted from one second on, and in the minute that it is in where that is no more kept by seconds.
    pub fn since(&self, second: u64) -> impl Iterator<Item = Delta<'_>> {
        let is_folded = self.seconds.first_key_value().is_none_or(|(kept, _)| second < *kept);
        let minutes = self.minutes.range(second / MINUTE_S * MINUTE_S..).filter(move |_| is_folded);
        let minutes = minutes.flat_map(|(_, minute)| minute.iter());
        minutes.chain(self.seconds.range(second..).flat_map(|(_, kept)| kept.deltas()))
    }
}

#[cfg(test)]
mod tests {
    use serin_proto::v1::{Outcome, Vantage};
    use serin_sketch::{Counts, Micros};

    use super::*;
    use crate::report::{Counted, SeriesKey};

    fn key() -> SeriesKey {
        SeriesKey {
            service: "s".into(),
            route: "r".into(),
            release: "v1".into(),
            pod: String::new(),
            outcome: Outcome::Success,
            vantage: Vantage::Gateway,
        }
    }

    fn node() -> Origin {
        Origin { node: "n".into(), ..Origin::unknown() }
    }

    /// One request of each of these pods.
    fn report(pods: &[u64]) -> Arc<Deltas> {
        let total = Counts::from_iter([(serin_sketch::Bucket::of(Micros(5)), 1)]);
        let counted = pods.iter().map(|pod| {
            let series = Arc::new(SeriesKey { pod: pod.to_string(), ..key() });
            Counted { series, upstream: Counts::new(), total: total.clone(), retries: 0 }
        });
        Arc::new(counted.collect())
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
        slices.add(50, &node(), report(&[1]), at(51));
        slices.add(55, &node(), report(&[1, 2]), at(56));
        assert_eq!(slices.since(0).count(), 3);
        slices.add(61, &node(), report(&[]), at(62));
        assert_eq!(
            (slices.second(50).deltas().count(), slices.since(0).count(), slices.bytes),
            (0, 2, report(&[1, 2]).bytes() + report(&[]).bytes())
        );
        slices.add(40, &node(), report(&[1]), at(62));
        assert_eq!(slices.second(40).deltas().count(), 0, "too old on arrival");
    }

    #[test]
    fn what_was_judged_a_while_ago_is_kept_by_minutes_and_all_is_there_once() {
        let mut slices = Slices::new(Duration::from_secs(900));
        let total = |deltas: &[Delta<'_>]| deltas.iter().map(|delta| delta.requests()).sum::<u64>();
        for second in 600..1_000 {
            slices.add(second, &node(), report(&[1, 2, second]), UnixMicros::from_second(second + 1));
            slices.fold(second);
            let all: Vec<Delta<'_>> = slices.since(0).collect();
            assert_eq!(total(&all), 3 * (second - 599));
        }
        // Judged up to 999, so what is before 909 may be folded, by tens: the minutes from 600 to 840, one series each.
        assert_eq!((slices.second(899).deltas().count(), slices.second(900).deltas().count()), (0, 3));
        assert_eq!(slices.since(0).count(), 5 + 100 * 3);
        assert_eq!(total(&slices.since(850).collect::<Vec<_>>()), 3 * (1_000 - 840), "from the minute's beginning");
        // One minute of seconds, none of the minute that is folded in part, and the whole ones before it.
        let minutes: Vec<u64> = slices.minutes_before(1_000).map(|minute| total(&minute)).collect();
        assert_eq!(minutes, [180; 6]);
        let bytes = slices.seconds.values().map(Second::bytes).sum::<usize>()
            + slices.minutes.values().map(Deltas::bytes).sum::<usize>();
        assert_eq!(slices.bytes, bytes);
        slices.add(1_790, &node(), report(&[]), UnixMicros::from_second(1_791));
        assert_eq!(slices.since(0).map(|delta| delta.requests()).sum::<u64>(), 3 * (1_000 - 840), "the window is over");
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
            Waiting {
                at: UnixMicros(101_004_000),
                interval: Duration::from_secs(1),
                workload: "".into(),
                ages: vec![(key(), ages)],
            }
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
