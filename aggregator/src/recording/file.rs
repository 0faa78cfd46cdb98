//! A recording as bytes: the text `serin recording 1\n`, then parts, each after its length as a varint.

use prost::Message;
use serin_proto::v1::{RecordingPart, recording_part::Part};

use super::{Observed, Recording, RecordingError, Setup};

/// What a file begins with; the number goes up when an older serin could not read it any more.
pub const HEAD: &[u8] = b"serin recording 1\n";
/// One part, at most.
const PART_BYTES_MAX: usize = 64 << 20;

/// Why a file is no recording.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum FileError {
    #[error(
        "it does not begin with `serin recording 1`: it is no recording of this version; `serin record` writes one"
    )]
    Head,
    #[error("at byte {at}: {source}")]
    Part { at: usize, source: RecordingError },
    #[error("at byte {at}: what is there is no part of a recording: the file is damaged")]
    Damaged { at: usize },
}

/// Appends one part, which is encoded already.
pub fn write_part(to: &mut Vec<u8>, part: &[u8]) {
    // Writing to a `Vec` does not fail.
    prost::encoding::encode_varint(part.len() as u64, to);
    to.extend_from_slice(part);
}

/// Takes the next part off what follows the head; `None` where there is no whole one.
pub fn next_part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut after = *rest;
    let length = prost::decode_length_delimiter(&mut after).ok().filter(|length| *length <= PART_BYTES_MAX)?;
    let (part, next) = after.split_at_checked(length)?;
    *rest = next;
    Some(part)
}

/// Reads a whole file.
///
/// # Errors
/// When it is no recording, or is damaged. One that only ends too soon is not: what is whole of it counts.
pub fn read(bytes: &[u8]) -> Result<Recording, FileError> {
    let mut rest = bytes.strip_prefix(HEAD).ok_or(FileError::Head)?;
    let mut reader = Reader::default();
    loop {
        let at = bytes.len() - rest.len();
        let Some(part) = next_part(&mut rest) else { break };
        let part = RecordingPart::decode(part).map_err(|_| FileError::Damaged { at })?;
        reader.take(part).map_err(|source| FileError::Part { at, source })?;
    }
    let is_cut = !rest.is_empty();
    let Reader { setup, seconds, .. } = reader;
    let source = RecordingError::NoSetup;
    let setup = setup.ok_or(FileError::Part { at: HEAD.len(), source })?;
    Ok(Recording { setup, seconds, is_cut })
}

/// Puts the parts of a recording together.
#[derive(Debug, Default)]
pub struct Reader {
    setup: Option<Setup>,
    seconds: Vec<Observed>,
    pods: usize,
}

impl Reader {
    /// The next part.
    ///
    /// # Errors
    /// When it breaks a rule of `recording.proto`.
    pub fn take(&mut self, part: RecordingPart) -> Result<(), RecordingError> {
        match (part.part, &self.setup) {
            (Some(Part::Setup(setup)), None) => self.setup = Some(Setup::from_wire(setup)?),
            (Some(Part::Setup(_)), Some(_)) => return Err(RecordingError::SetupAgain),
            (_, None) => return Err(RecordingError::NoSetup),
            (Some(Part::Second(second)), Some(setup)) => {
                let observed = Observed::from_wire(second, self.pods)?;
                let (got, expected) = (observed.slices.len(), setup.routes.len());
                if got != expected {
                    return Err(RecordingError::Routes { second: observed.second, got, expected });
                }
                if let Some(before) = self.seconds.last().map(|last| last.second).filter(|s| *s >= observed.second) {
                    return Err(RecordingError::Order { before, second: observed.second });
                }
                self.pods += observed.new_pods.len();
                self.seconds.push(observed);
            }
            // Of a newer version: what it is said beside does not change.
            (None, Some(_)) => {}
        }
        Ok(())
    }

    /// What was taken.
    ///
    /// # Errors
    /// When there was no setup.
    pub fn end(self) -> Result<Recording, RecordingError> {
        let setup = self.setup.ok_or(RecordingError::NoSetup)?;
        Ok(Recording { setup, seconds: self.seconds, is_cut: false })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serin_judge::{Arm, History, Metric, PodId, PodSlice, PodSpread, Policy, Slice, Stratum};
    use serin_sketch::{Bucket, Counts, Micros};

    use super::*;
    use crate::recording::Kept;

    fn setup() -> Setup {
        let policy = Policy::new(0.2, 1e-4, 0.01, 600).and_then(|p| p.with_pass(0.07)).and_then(|p| p.with_guard(60));
        let policy = policy.and_then(|p| p.with_thresholds(Metric::P50, 0.01, 0.03));
        let pods = PodSpread::known([Some(0.25), None, Some(0.0), None]);
        let windows = vec![Counts::from_iter([(Bucket::of(Micros(40_000)), 7)]), Counts::new()];
        Setup {
            version: "0.1.0".into(),
            service: "shop".into(),
            baseline: "v1".into(),
            candidate: "v2".into(),
            routes: vec!["a".into(), "b".into()],
            policy: policy.and_then(|p| p.with_limit(Metric::P999, Micros(2_000_000))).unwrap(),
            histories: vec![History { pods, windows }, History::default()],
            first_second: 99,
        }
    }

    fn counts() -> impl Strategy<Value = Counts> {
        let bucket = (0u32..2_960).prop_filter_map("in range", Bucket::from_index);
        prop::collection::vec((bucket, 1u64..1 << 30), 0..5).prop_map(Counts::from_iter)
    }

    fn pod() -> impl Strategy<Value = PodSlice> {
        let who = (any::<bool>(), 0u32..3, any::<u16>());
        (who, counts(), counts(), any::<u64>(), any::<u64>()).prop_map(
            |((candidate, pod, stratum), latency, in_flight, requests, errors)| {
                let arm = if candidate { Arm::Candidate } else { Arm::Baseline };
                PodSlice { latency, in_flight, requests, errors, ..PodSlice::new(arm, PodId(pod), Stratum(stratum)) }
            },
        )
    }

    fn bytes(seconds: &[Observed]) -> Vec<u8> {
        let mut kept = Kept::new(&setup());
        seconds.iter().for_each(|second| kept.add(second));
        let mut bytes = HEAD.to_vec();
        kept.from(0).unwrap().iter().for_each(|part| write_part(&mut bytes, part));
        bytes
    }

    prop_compose! {
        fn seconds()(all in prop::collection::vec((prop::collection::vec(pod(), 0..4), prop::collection::vec(pod(), 0..4), any::<bool>(), prop::option::of(0.001f64..1.0)), 0..6)) -> Vec<Observed> {
            all.into_iter().zip(100..).map(|((a, b, pods_known, weight), second)| {
                let slice = |pods| Slice { second, pods, pods_known, weight };
                let new_pods = if second == 100 { ["x", "y", "x"].map(str::to_owned).to_vec() } else { Vec::new() };
                Observed { second, new_pods, slices: vec![slice(a), slice(b)] }
            }).collect()
        }
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(seconds in seconds()) {
            let want = Recording { setup: setup(), seconds: seconds.clone(), is_cut: false };
            prop_assert_eq!(read(&bytes(&seconds)), Ok(want));
        }

        /// Wherever a file ends, what is whole of it counts, and no bytes make it panic.
        #[test]
        fn a_cut_file_has_its_whole_seconds(seconds in seconds(), at in 0.0f64..1.0, flip in any::<u8>()) {
            let mut all = bytes(&seconds);
            let cut = (all.len() as f64 * at) as usize;
            if let Ok(part) = read(&all[..cut]) {
                prop_assert!(part.seconds.len() <= seconds.len());
                prop_assert_eq!(&part.seconds[..], &seconds[..part.seconds.len()]);
            }
            all[cut] ^= flip;
            let _ = read(&all);
        }
    }

    #[test]
    fn what_is_no_recording_is_said() {
        assert_eq!(read(b"second,release,pod"), Err(FileError::Head));
        let source = RecordingError::NoSetup;
        assert_eq!(read(HEAD), Err(FileError::Part { at: HEAD.len(), source }));
        let second = |second, pod| Observed {
            second,
            new_pods: Vec::new(),
            slices: vec![
                Slice {
                    pods: vec![PodSlice::new(Arm::Baseline, PodId(pod), Stratum(0))],
                    ..Slice::new(second)
                };
                2
            ],
        };
        assert!(matches!(read(&bytes(&[second(7, 0)])), Err(FileError::Part { source: RecordingError::Pod(0), .. })));
        let named = |at| Observed { new_pods: vec!["x".into()], ..second(at, 0) };
        let twice = read(&bytes(&[named(7), named(7)]));
        assert!(matches!(twice, Err(FileError::Part { source: RecordingError::Order { before: 7, second: 7 }, .. })));
        let one_route = Observed { slices: vec![Slice::new(9)], ..second(9, 0) };
        let routes = read(&bytes(&[one_route]));
        assert!(matches!(
            routes,
            Err(FileError::Part { source: RecordingError::Routes { got: 1, expected: 2, .. }, .. })
        ));
    }

    /// Worked out by hand from `recording.proto`: setup with service, baseline, candidate and one empty route.
    #[test]
    fn golden_bytes() {
        #[rustfmt::skip]
        let bytes = [
            HEAD,
            &[15, 0x0a, 13, 0x12, 1, b's', 0x1a, 1, b'a', 0x22, 1, b'b', 0x2a, 0, 0x40, 5],
        ].concat();
        // Without a policy there is no judging it.
        assert!(matches!(read(&bytes), Err(FileError::Part { source: RecordingError::Policy(_), .. })));
        let part = RecordingPart::decode(&bytes[HEAD.len() + 1..]).unwrap();
        let Some(Part::Setup(setup)) = part.part else { panic!("no setup") };
        assert_eq!((setup.service.as_str(), setup.routes.len(), setup.first_second), ("s", 1, 5));
    }
}
