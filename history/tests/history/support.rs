use std::{collections::BTreeMap, path::Path};

use serin_history::{
    Appended, Delta, Error, Histograms, History, Packed, Query, Report, Retention, Selector, Series, Tier,
};
use serin_sketch::{Bucket, Counts};

/// A small one, so that tests reach every tier: slices for 2 min, 10 s for 20 min, minutes for an hour.
pub(crate) fn retention() -> Retention {
    Retention::new(120, Tier { resolution_s: 10, keep_s: 1_200 }, Tier { resolution_s: 60, keep_s: 3_600 }).unwrap()
}

pub(crate) fn open(directory: &Path) -> History {
    History::open(directory, retention()).unwrap()
}

/// One of as many series as you like.
pub(crate) fn series(number: u64) -> Series {
    Series {
        service: "shop".into(),
        route: format!("route-{}", number / 4),
        release: format!("v{}", number % 2),
        pod: format!("pod-{number}"),
        outcome: 1 + (number % 4 / 2) as u8,
        vantage: 1,
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // Knuth's MMIX generator; its high bits are good enough for tests.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Histograms with up to 40 non-empty buckets.
pub(crate) fn histograms(numbers: &mut Numbers) -> Histograms {
    let mut counts = || {
        let mut index = 600 + numbers.below(600) as u32;
        let buckets = (0..1 + numbers.below(40)).filter_map(|_| {
            index += 1 + numbers.below(8) as u32;
            Some((Bucket::from_index(index)?, 1 + numbers.below(30)))
        });
        buckets.collect::<Counts>()
    };
    Histograms { upstream: counts(), total: counts(), retries: numbers.below(3) }
}

/// Appends one report.
pub(crate) fn append(
    history: &History,
    reporter: &str,
    sequence: u64,
    second: u64,
    counted: &[(Series, Histograms)],
) -> Result<Appended, Error> {
    let deltas = counted
        .iter()
        .map(|(series, histograms)| Delta { series: series.borrowed(), histograms: Packed::from(histograms) });
    history.append(&[Report { reporter: reporter.as_bytes(), sequence, second, deltas: deltas.collect() }])
}

pub(crate) type Sums = BTreeMap<(u64, Series), Histograms>;

/// What a query gives, by start and series; checks that it is in order.
pub(crate) fn read(history: &History, stretch: (u64, u64), resolution_s: u64) -> Result<Sums, Error> {
    let query = Query { selector: Selector::default(), from_s: stretch.0, to_s: stretch.1, resolution_s };
    let entries = history.read(&query)?;
    assert!(entries.is_sorted_by_key(|entry| entry.start_s), "in the order of time");
    let mut sums = Sums::new();
    for entry in entries {
        let before = sums.insert((entry.start_s, (*entry.series).clone()), entry.histograms);
        assert_eq!(before, None, "each series once in each stretch");
    }
    Ok(sums)
}
