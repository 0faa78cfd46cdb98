//! Rolls the log up to coarser time (pure): each roll-up sums one stretch of it, so that none is counted twice, whoever goes on with it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serin_history::Histograms;
use serin_proto::{
    convert::{self, COUNT_MAX, DistributionError},
    v1,
};
use serin_sketch::Counts;

use crate::{
    engine::Logged,
    report::{Delta, SeriesKey},
};

/// What the log is rolled up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// 10 s.
    Tens,
    /// 60 s.
    Minutes,
}

impl Tier {
    /// Both, the finer first.
    pub(super) const ALL: [Tier; 2] = [Tier::Tens, Tier::Minutes];

    /// Seconds in one histogram.
    pub(super) fn seconds(self) -> u64 {
        match self {
            Tier::Tens => 10,
            Tier::Minutes => 60,
        }
    }
}

/// A roll-up is closed when about this much is in it, so that it stays a message of less than 1 MiB with one more report of the log.
const FULL_BYTES: usize = 384 << 10;
/// What a bucket takes in a message, at most: its gap and a count of up to four bytes.
const BUCKET_BYTES: usize = 6;
/// What a series and a stretch of it take besides.
const SERIES_BYTES: usize = 160;
const SLOT_BYTES: usize = 24;

/// Adds what was counted.
pub(super) fn add(sum: &mut Histograms, delta: Delta<'_>) {
    let (upstream, total) = delta.timings();
    sum.upstream.add_all(upstream);
    sum.total.add_all(total);
    sum.retries = sum.retries.saturating_add(delta.retries());
}

/// The stretch of the log that is being rolled up.
#[derive(Debug)]
pub(super) struct Roller {
    tier: Tier,
    /// The log's sequence up to which everything is in earlier roll-ups.
    after: u64,
    upto: u64,
    series: HashMap<Arc<SeriesKey>, BTreeMap<u64, Histograms>>,
    bytes: usize,
}

impl Roller {
    /// Goes on behind an earlier roll-up.
    pub(super) fn new(tier: Tier, after: u64) -> Self {
        Roller { tier, after, upto: after, series: HashMap::new(), bytes: 0 }
    }

    /// Takes what one message of the log counted, of which everything that was counted before is left out.
    pub(super) fn add(&mut self, sequence: u64, reports: &[Logged]) {
        if sequence <= self.upto {
            return;
        }
        self.upto = sequence;
        for report in reports {
            let start_s = report.second / self.tier.seconds() * self.tier.seconds();
            for delta in report.deltas.iter() {
                let slots = self.series.entry(Arc::clone(delta.series)).or_insert_with(|| {
                    self.bytes += SERIES_BYTES;
                    BTreeMap::new()
                });
                let sum = slots.entry(start_s).or_insert_with(|| {
                    self.bytes += SLOT_BYTES;
                    Histograms::default()
                });
                let before = sum.upstream.iter().len() + sum.total.iter().len();
                add(sum, delta);
                self.bytes += BUCKET_BYTES * (sum.upstream.iter().len() + sum.total.iter().len() - before);
            }
        }
    }

    /// Whether it is as long as one may be.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    /// Closes the stretch and begins the next one; `None` where nothing came.
    pub(super) fn close(&mut self) -> Option<v1::RolledUp> {
        let Roller { after, upto, series, .. } = std::mem::replace(self, Roller::new(self.tier, self.upto));
        let wire = |(key, slots): (Arc<SeriesKey>, BTreeMap<u64, Histograms>)| {
            let SeriesKey { service, route, release, pod, outcome, vantage } = (*key).clone();
            v1::RolledUpSeries {
                series: Some(v1::Series { id: 0, service, route, release, pod, outcome: outcome.into() }),
                vantage: vantage.into(),
                slots: slots.into_iter().map(|(start_s, sum)| slot(start_s, &sum)).collect(),
            }
        };
        (upto > after).then(|| v1::RolledUp { after, upto, series: series.into_iter().map(wire).collect() })
    }
}

fn slot(start_s: u64, sum: &Histograms) -> v1::RolledUpSlot {
    let some = |counts: &Counts| (!counts.is_empty()).then(|| convert::to_wire(counts));
    v1::RolledUpSlot { start_s, upstream: some(&sum.upstream), total: some(&sum.total), retries: sum.retries }
}

/// What one roll-up has of each series and stretch of time.
///
/// # Errors
/// When a distribution in it breaks a rule.
pub(super) fn read(rolled: v1::RolledUp) -> Result<Vec<(Arc<SeriesKey>, u64, Histograms)>, DistributionError> {
    let mut all = Vec::new();
    for of in rolled.series {
        let vantage = of.vantage();
        let series = of.series.unwrap_or_default();
        let outcome = series.outcome();
        let v1::Series { service, route, release, pod, .. } = series;
        let key = Arc::new(SeriesKey { service, route, release, pod, outcome, vantage });
        for slot in of.slots {
            let counts = |wire: Option<v1::Distribution>| convert::from_wire(&wire.unwrap_or_default());
            let (upstream, total) = (counts(slot.upstream)?, counts(slot.total)?);
            let sum = Histograms { upstream, total, retries: slot.retries.min(COUNT_MAX) };
            all.push((Arc::clone(&key), slot.start_s, sum));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use serin_proto::v1::{Outcome, Vantage};
    use serin_sketch::{Bucket, Micros};

    use super::*;
    use crate::report::{Counted, Origin};

    fn logged(second: u64, route: &str, us: u64) -> Logged {
        let series = SeriesKey {
            service: "shop".into(),
            route: route.into(),
            release: "v1".into(),
            pod: String::new(),
            outcome: Outcome::Timeout,
            vantage: Vantage::Gateway,
        };
        let total = Counts::from_iter([(Bucket::of(Micros(us)), 2)]);
        let counted = Counted { series: Arc::new(series), upstream: Counts::new(), total, retries: 1 };
        Logged { second, origin: Origin::unknown(), deltas: Arc::new([counted].into_iter().collect()) }
    }

    #[test]
    fn a_stretch_is_summed_by_minute_and_series() {
        let mut roller = Roller::new(Tier::Minutes, 40);
        roller.add(39, &[logged(61, "a", 5)]);
        roller.add(41, &[logged(61, "a", 5), logged(119, "a", 5)]);
        roller.add(44, &[logged(120, "a", 5), logged(60, "b", 9)]);
        roller.add(44, &[logged(120, "a", 5)]);
        let rolled = roller.close().unwrap();
        assert_eq!((rolled.after, rolled.upto), (40, 44));
        let sums = read(v1::RolledUp::decode(rolled.encode_to_vec().as_slice()).unwrap()).unwrap();
        let mut found: Vec<_> = sums
            .iter()
            .map(|(key, minute, sum)| (key.route.as_str(), *minute, sum.total.total(), sum.retries))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [("a", 60, 4, 2), ("a", 120, 2, 1), ("b", 60, 2, 1)]);
        assert_eq!(roller.close(), None, "nothing came since");
    }

    #[test]
    fn it_is_full_before_the_message_is_too_long() {
        let mut roller = Roller::new(Tier::Tens, 0);
        let mut sequence = 0;
        while !roller.is_full() {
            sequence += 1;
            let reports: Vec<_> =
                (0..50).map(|i| logged(sequence * 7, &format!("{:060}", (i * sequence) % 997), i * sequence)).collect();
            roller.add(sequence, &reports);
        }
        let length = roller.close().unwrap().encoded_len();
        assert!((FULL_BYTES / 8..(1 << 20) / 2).contains(&length), "{length}");
    }
}
