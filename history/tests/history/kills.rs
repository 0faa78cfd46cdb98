//! `kill -9` at any moment loses nothing that was acknowledged, and counts nothing twice. The child is this test binary again.
//!
//! What the kernel was given survives the death of a process, so this does not show that a loss of power loses nothing: that
//! rests on the fsync of each commit.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use serin_history::{Delta, Histograms, History, Packed, Report, Retention, Selector, Series, Tier};

use crate::support::{Numbers, histograms, series};

const DIRECTORY: &str = "SERIN_HISTORY_KILLED_DIRECTORY";
const REPORTERS: u64 = 3;
const START_S: u64 = 1_764_072_000;

fn open(directory: &Path) -> History {
    let (fine, coarse) = (Tier { resolution_s: 10, keep_s: 1_200 }, Tier { resolution_s: 60, keep_s: 90 * 86_400 });
    History::open(directory, Retention::new(120, fine, coarse).unwrap()).unwrap()
}

/// A report is the same each time it is made: its second, a late one now and then, and what was counted.
fn report(reporter: u64, sequence: u64) -> (u64, Vec<(Series, Histograms)>) {
    let mut numbers = Numbers(reporter << 32 | sequence);
    let late_s = if numbers.below(10) == 0 { numbers.below(300) } else { 0 };
    let counted = (0..5).map(|number| (series(number), histograms(&mut numbers))).collect();
    (START_S + sequence * 3 - late_s.min(sequence * 3), counted)
}

/// Appends, merges and drops until it is killed; prints what is acknowledged.
#[test]
fn the_child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let history = open(Path::new(&directory));
    // Where a filter goes on: with the last one acknowledged, which it may not have heard of.
    let first = history.applied_sequence(b"0").unwrap().unwrap_or(0).max(1);
    for sequence in first.. {
        let made: Vec<_> = (0..REPORTERS).map(|reporter| (reporter.to_string(), report(reporter, sequence))).collect();
        let batch = made.iter().map(|(reporter, (second, counted))| {
            let deltas = counted
                .iter()
                .map(|(series, histograms)| Delta { series: series.borrowed(), histograms: Packed::from(histograms) });
            Report { reporter: reporter.as_bytes(), sequence, second: *second, deltas: deltas.collect() }
        });
        history.append(&batch.collect::<Vec<_>>()).unwrap();
        println!("ack {sequence}");
        let now = START_S + sequence * 3;
        match sequence % 100 {
            7 | 27 | 47 | 67 | 87 => assert_eq!(history.roll_up(now).unwrap().problems, []),
            50 => drop(history.expire(now).unwrap()),
            99 => drop(history.reclaim().unwrap()),
            _ => {}
        }
    }
}

/// The numbers in the lines that a child printed after the first one, as long as there are any.
fn acks(child: &mut Child) -> impl Iterator<Item = u64> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The test's own first line has no end of line.
    lines.map_while(Result::ok).filter_map(|line| line.split("ack ").nth(1)?.parse().ok())
}

#[test]
fn nothing_that_was_acknowledged_is_lost_or_counted_twice() {
    let rounds = std::env::var("ROUNDS").map_or(100, |rounds| rounds.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap()));
    let (mut summed, mut acknowledged) = (0, 0);
    let mut sums: BTreeMap<Series, Histograms> = BTreeMap::new();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kills::the_child", "--exact", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acks = acks(&mut child);
        acknowledged = acks.next().unwrap().max(acknowledged);
        sleep(Duration::from_micros(numbers.below(100_000)));
        child.kill().unwrap();
        acknowledged = acks.last().unwrap_or(0).max(acknowledged);
        child.wait().unwrap();

        let history = open(directory.path());
        let applied = history.applied_sequence(b"0").unwrap().unwrap();
        assert!(applied == acknowledged || applied == acknowledged + 1, "round {round}: {applied} {acknowledged}");
        for reporter in 1..REPORTERS {
            let other = history.applied_sequence(reporter.to_string().as_bytes()).unwrap();
            assert_eq!(other, Some(applied), "round {round}: a batch is applied as a whole");
        }
        for sequence in summed + 1..=applied {
            for (series, counted) in (0..REPORTERS).flat_map(|reporter| report(reporter, sequence).1) {
                sums.entry(series).or_default().merge(&counted);
            }
        }
        summed = applied;
        for (series, sum) in &sums {
            let stored = history.merged(&Selector::only(series), 0, u64::MAX).unwrap();
            assert_eq!(stored, *sum, "round {round}: {series:?} after {applied}");
        }
        let checked = history.check().unwrap();
        assert!(checked.problem_count == 0, "round {round}: {checked:?}");
    }
    println!("{rounds} kills, {acknowledged} batches acknowledged");
}
