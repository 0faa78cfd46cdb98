//! Latencies from elsewhere as CSV: `second,release,pod,bucket_low_us,count`, with that header.
//!
//! A row says that so many requests of a pod in a second (Unix time, or any count of seconds) took `bucket_low_us` microseconds or a little
//! more. Rows may come in any order; those of releases that are not compared are left out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serin_judge::{Arm, PodId, PodSlice, Slice, Stratum};
use serin_sketch::{Bucket, Counts, Micros};

use super::{Observed, Recording, Setup};

/// Why rows are no recording.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CsvError {
    #[error("{0}; the header must be `second,release,pod,bucket_low_us,count`")]
    Row(#[from] csv::Error),
    #[error("no row is of release `{release}`; the releases are {there:?}")]
    NoRow { release: String, there: Vec<String> },
}

#[derive(Debug, Deserialize)]
struct Row {
    second: u64,
    release: String,
    pod: String,
    bucket_low_us: u64,
    count: u64,
}

/// Reads rows into a recording that begins like this one, except for its first second.
///
/// # Errors
/// When a row cannot be read, or a release has none.
pub fn read(text: &[u8], setup: Setup) -> Result<Recording, CsvError> {
    let mut by_second: BTreeMap<u64, BTreeMap<(Arm, String), Counts>> = BTreeMap::new();
    let mut there: BTreeMap<String, usize> = BTreeMap::new();
    for row in csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text).deserialize() {
        let Row { second, release, pod, bucket_low_us, count } = row?;
        let arm = [(&setup.baseline, Arm::Baseline), (&setup.candidate, Arm::Candidate)];
        let arm = arm.into_iter().find(|(name, _)| **name == release).map(|(_, arm)| arm);
        *there.entry(release).or_default() += 1;
        let Some(arm) = arm else { continue };
        let counts = by_second.entry(second).or_default().entry((arm, pod)).or_default();
        counts.add(Bucket::of(Micros(bucket_low_us)), count);
    }
    for release in [&setup.baseline, &setup.candidate] {
        if !there.contains_key(release) {
            return Err(CsvError::NoRow { release: release.clone(), there: there.into_keys().collect() });
        }
    }
    let first_second = by_second.first_key_value().map_or(0, |(second, _)| *second);
    let mut numbers = BTreeMap::new();
    let seconds = by_second.into_iter().map(|(second, pods)| observed(second, pods, &mut numbers)).collect();
    Ok(Recording { setup: Setup { first_second, ..setup }, seconds, is_cut: false })
}

fn observed(
    second: u64,
    pods: BTreeMap<(Arm, String), Counts>,
    numbers: &mut BTreeMap<(Arm, String), u32>,
) -> Observed {
    let mut new_pods = Vec::new();
    let pods = pods.into_iter().map(|((arm, name), latency)| {
        let next = numbers.len() as u32;
        let number = *numbers.entry((arm, name.clone())).or_insert(next);
        if number == next {
            new_pods.push(name);
        }
        let requests = latency.total();
        PodSlice { latency, requests, ..PodSlice::new(arm, PodId(number), Stratum(0)) }
    });
    let pods = pods.collect();
    Observed { second, slices: vec![Slice { pods, ..Slice::new(second) }], new_pods }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        Setup::plain("shop", "v1", "v2")
    }

    #[test]
    fn rows_in_any_order_are_seconds() {
        let text = b"second,release,pod,bucket_low_us,count\n8,v2,b,500,1\n7,v1,a,40000,3\n7, v1, a, 41000, 2\n8,v3,c,1,1\n7,v2,b,90000,5\n";
        let recording = read(text, setup()).unwrap();
        assert_eq!((recording.setup.first_second, recording.seconds.len()), (7, 2));
        let first = &recording.seconds[0];
        assert_eq!((first.second, first.new_pods.clone()), (7, vec!["a".to_owned(), "b".to_owned()]));
        let requests: Vec<u64> = first.slices[0].pods.iter().map(|pod| pod.requests).collect();
        assert_eq!((requests, first.slices[0].pods[1].arm), (vec![5, 5], Arm::Candidate));
        assert!(recording.seconds[1].new_pods.is_empty(), "b is known");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let wrong = |text: &str| read(text.as_bytes(), setup()).unwrap_err().to_string();
        let head = "second,release,pod,bucket_low_us,count\n";
        assert!(
            wrong(&format!("{head}7,v1,a,fast,1\n")).contains("line: 2"),
            "{}",
            wrong(&format!("{head}7,v1,a,fast,1\n"))
        );
        assert!(wrong("second,release\n7,v1\n").contains("the header must be"));
        assert_eq!(
            wrong(&format!("{head}7,v1,a,1,1\n7,v3,a,1,1\n")),
            "no row is of release `v2`; the releases are [\"v1\", \"v3\"]"
        );
    }
}
