use proptest::prelude::*;
use serin_history::{Error, Histograms, History, Retention, Selector, Tier};

use crate::support::{Numbers, Sums, append, histograms, open, read, retention, series};

/// A Tuesday at noon.
const NOON: u64 = 1_764_072_000;

/// What was appended, merged to a resolution, from a second on.
fn expected(all: &[(u64, u64, Histograms)], stretch: (u64, u64), resolution_s: u64) -> Sums {
    let mut sums = Sums::new();
    for (second, number, histograms) in all.iter().filter(|(second, ..)| (stretch.0..stretch.1).contains(second)) {
        sums.entry((second / resolution_s * resolution_s, series(*number))).or_default().merge(histograms);
    }
    sums
}

#[derive(Clone, Debug)]
enum Step {
    Append { late_s: u64, series: u64 },
    Pass { seconds: u64 },
    RollUp,
    Expire,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop_oneof![4 => 0_u64..3, 1 => 0_u64..1_500], 0_u64..6).prop_map(|(late_s, series)| Step::Append { late_s, series }),
        3 => (1_u64..120).prop_map(|seconds| Step::Pass { seconds }),
        2 => Just(Step::RollUp),
        1 => Just(Step::Expire),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// The oracle: a list of all that was appended. Whatever came late and was merged, dropped from a finer tier or reopened, counts per
    /// bucket are those of the list, at each resolution that is still kept.
    #[test]
    fn counts_are_conserved_whatever_happens(steps in prop::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().unwrap();
        let mut history = Some(open(directory.path()));
        let (mut now, mut all, mut numbers, mut sequence) = (NOON, Vec::new(), Numbers(1), 0);
        for step in steps {
            let open_one = history.as_ref().unwrap();
            match step {
                Step::Append { late_s, series: number } => {
                    let counted = histograms(&mut numbers);
                    sequence += 1;
                    append(open_one, "r", sequence, now - late_s, &[(series(number), counted.clone())]).unwrap();
                    all.push((now - late_s, number, counted));
                }
                Step::Pass { seconds } => now += seconds,
                Step::RollUp => prop_assert_eq!(open_one.roll_up(now).unwrap().problems, []),
                Step::Expire => drop(open_one.expire(now).unwrap()),
                Step::Reopen => {
                    drop(history.take());
                    history = Some(open(directory.path()));
                }
            }
        }
        let history = history.unwrap();
        // Cutoffs are where ten minutes begin. What was due to go may still be there, or not.
        let kept = |keep_s: u64| (now - keep_s).div_ceil(600) * 600;
        for (keep_s, resolution_s) in [(120, 1), (1_200, 10), (3_600, 60), (3_600, 120)] {
            let stretch = (kept(keep_s).min(now), now + 60);
            prop_assert_eq!(read(&history, stretch, resolution_s).unwrap(), expected(&all, stretch, resolution_s));
        }
        let checked = history.check().unwrap();
        prop_assert!(checked.is_sound(), "{:?}", checked);
        prop_assert_eq!(history.applied_sequence(b"r").unwrap(), (sequence > 0).then_some(sequence));
    }
}

#[test]
fn a_report_that_is_sent_again_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let counted = [(series(1), histograms(&mut Numbers(1)))];
    {
        let history = open(directory.path());
        assert_eq!((history.applied_sequence(b"r").unwrap(), history.newest_second().unwrap()), (None, None));
        append(&history, "r", 7, NOON, &counted).unwrap();
    }
    let history = open(directory.path());
    let before = read(&history, (0, u64::MAX), 1).unwrap();
    assert_eq!(append(&history, "r", 7, NOON, &counted).unwrap().duplicates, 1);
    assert_eq!(append(&history, "other", 7, NOON + 5, &[]).unwrap().applied, 1);
    assert_eq!(read(&history, (0, u64::MAX), 1).unwrap(), before);
    assert_eq!(history.applied_sequences().unwrap(), [(b"other".to_vec(), 7), (b"r".to_vec(), 7)]);
    assert_eq!(history.newest_second().unwrap(), Some(NOON + 5));
}

#[test]
fn a_row_that_grows_large_is_read_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(directory.path());
    let mut numbers = Numbers(5);
    let counted: Vec<_> = (0..2_000).map(|number| (series(number), histograms(&mut numbers))).collect();
    append(&history, "r", 1, NOON, &counted).unwrap();
    let wanted: Sums = counted.into_iter().map(|(series, histograms)| ((NOON, series), histograms)).collect();
    for rolled_up_at in [0, NOON + 200] {
        history.roll_up(rolled_up_at).unwrap();
        assert_eq!(read(&history, (NOON, NOON + 1), 1).unwrap(), wanted);
        assert_eq!(read(&history, (NOON, NOON + 1), 60).unwrap(), wanted);
    }
}

#[test]
fn a_sum_over_weeks() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), Retention::default()).unwrap();
    let (mut numbers, mut sum) = (Numbers(9), Histograms::default());
    for day in (0..15_u64).rev() {
        // One in the five minutes before noon, one after.
        for (number, second) in [NOON - 100, NOON + 100].into_iter().enumerate() {
            let counted = histograms(&mut numbers);
            sum.merge(&counted);
            append(&history, "r", 100 - day * 2 + number as u64, second - day * 86_400, &[(series(1), counted)])
                .unwrap();
        }
        history.roll_up(NOON - day * 86_400 + 300).unwrap();
        history.expire(NOON - day * 86_400 + 300).unwrap();
    }
    let selector = Selector::only(&series(1));
    assert_eq!(history.merged(&selector, NOON - 15 * 86_400, NOON + 300).unwrap(), sum);
    assert_eq!(history.merged(&Selector::only(&series(2)), 0, u64::MAX).unwrap(), Histograms::default());
}

#[test]
fn what_is_too_old_goes_and_gives_its_space_back() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(directory.path());
    let mut numbers = Numbers(2);
    for second in 0..600 {
        let counted: Vec<_> = (0..40).map(|number| (series(number), histograms(&mut numbers))).collect();
        append(&history, "r", second + 1, NOON + second, &counted).unwrap();
    }
    history.roll_up(NOON + 700).unwrap();
    let full = history.size().unwrap();
    assert!(full.file_bytes > 2_000_000, "{full:?}");
    assert_eq!(history.expire(NOON).unwrap().values, 0);
    let expired = history.expire(NOON + 10_000).unwrap();
    assert!(expired.values > 600 && expired.bytes > 1_000_000, "{expired:?}");
    // Last used on the day that the oldest minute kept is on.
    assert_eq!((expired.series, expired.reporters), (0, 1));
    assert_eq!(history.expire(NOON + 2 * 86_400).unwrap().series, 40);
    assert_eq!(read(&history, (0, u64::MAX), 1).unwrap(), Sums::new());
    let left = history.reclaim().unwrap();
    assert!(left.file_bytes < full.file_bytes / 10, "{full:?} {left:?}");
    assert_eq!(std::fs::metadata(directory.path().join("histograms.redb")).unwrap().len(), left.file_bytes);
    append(&history, "r", 1, NOON + 2 * 86_400, &[(series(3), histograms(&mut numbers))]).unwrap();
    assert!(history.check().unwrap().is_sound());
}

#[test]
fn slices_that_are_not_rolled_up_are_not_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(directory.path());
    let counted = histograms(&mut Numbers(3));
    append(&history, "r", 1, NOON, &[(series(1), counted.clone())]).unwrap();
    history.expire(NOON + 1_500).unwrap();
    for _ in 0..2 {
        let sums = read(&history, (NOON, NOON + 60), 60).unwrap();
        assert_eq!(sums, Sums::from([((NOON, series(1)), counted.clone())]));
        history.roll_up(NOON + 1_500).unwrap();
    }
}

#[test]
fn resolutions_stay_what_they_are() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let [fine, coarse] = retention().tiers();
    let other = Retention::new(120, Tier { resolution_s: 20, ..fine }, coarse).unwrap();
    let error = History::open(directory.path(), other).err().unwrap();
    assert!(matches!(error, Error::Resolutions { stored: [10, 60], wanted: [20, 60] }), "{error}");
    let longer = Retention::new(600, fine, coarse).unwrap();
    assert!(History::open(directory.path(), longer).is_ok());
}

#[test]
fn names_that_are_too_long_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(directory.path());
    let long = serin_history::Series { route: "x".repeat(3_000), ..series(1) };
    let error = append(&history, "r", 1, NOON, &[(long, Histograms::default())]).err().unwrap();
    assert!(error.to_string().ends_with("more than 2048; shorten them"), "{error}");
    assert_eq!(history.applied_sequence(b"r").unwrap(), None, "nothing of the batch");
}
