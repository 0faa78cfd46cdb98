//! Which tier a stretch of time is read from (pure).

/// Part of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The tier of blocks, or `None` for slices.
    pub(super) tier: Option<usize>,
    /// Histograms that begin here or later.
    pub(super) from_s: u64,
    /// Histograms that begin before.
    pub(super) to_s: u64,
    /// Seconds in one histogram.
    pub(super) resolution_s: u64,
}

/// The parts of a stretch of time in order, each from the finest tier that still has it, or from a coarser one whose
/// resolution divides the wanted one. `kept_from_s`: since when slices, fine and coarse blocks are kept.
pub(super) fn plan(
    kept_from_s: [u64; 3],
    resolutions_s: [u64; 2],
    (from_s, to_s): (u64, u64),
    wanted_s: u64,
) -> impl Iterator<Item = Part> {
    let [slices_s, fine_s, coarse_s] = kept_from_s;
    let [fine, coarse] = resolutions_s;
    let is_multiple = |resolution_s| wanted_s.is_multiple_of(resolution_s);
    let coarsest = if is_multiple(coarse) {
        2
    } else if is_multiple(fine) {
        1
    } else {
        0
    };
    let held = [(2, coarse_s, fine_s), (1, fine_s, slices_s), (0, slices_s, u64::MAX)];
    held.into_iter().filter_map(move |(rank, since_s, until_s)| {
        let (tier, resolution_s) = match rank.max(coarsest) {
            0 => (None, 1),
            1 => (Some(0), fine),
            _ => (Some(1), coarse),
        };
        let from_s = (from_s / resolution_s * resolution_s).max(since_s);
        let to_s = to_s.min(until_s);
        (from_s < to_s).then_some(Part { tier, from_s, to_s, resolution_s })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(stretch: (u64, u64), wanted_s: u64) -> Vec<(Option<usize>, u64, u64)> {
        let parts = plan([6_000, 3_000, 600], [10, 60], stretch, wanted_s);
        parts.map(|part| (part.tier, part.from_s, part.to_s)).collect()
    }

    #[test]
    fn each_part_is_from_the_finest_that_has_it_and_is_not_finer_than_needed() {
        assert_eq!(parts((0, 7_005), 1), [(Some(1), 600, 3_000), (Some(0), 3_000, 6_000), (None, 6_000, 7_005)]);
        assert_eq!(parts((6_005, 6_009), 1), [(None, 6_005, 6_009)]);
        assert_eq!(parts((6_005, 6_009), 20), [(Some(0), 6_000, 6_009)]);
        assert_eq!(
            parts((2_990, 6_030), 120),
            [(Some(1), 2_940, 3_000), (Some(1), 3_000, 6_000), (Some(1), 6_000, 6_030)]
        );
        assert_eq!(parts((0, 600), 1), []);
        assert_eq!(parts((700, 700), 7), [(Some(1), 660, 700)]);
    }

    proptest! {
        #[test]
        fn no_second_is_read_twice(from in 0_u64..8_000, length in 0_u64..8_000, wanted in 1_u64..200) {
            let parts = parts((from, from + length), wanted);
            prop_assert!(parts.iter().is_sorted_by(|a, b| a.2 <= b.1));
        }
    }
}
