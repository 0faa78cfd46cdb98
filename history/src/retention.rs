//! How long what is kept at which resolution (pure).

/// Slots of time in one stored block. Ten slots of a series with 40 non-empty buckets are 1.6 kB, of which two fit into a page of
/// the store; larger values would waste a part of a page each.
pub(crate) const SLOTS: u64 = 10;
/// Live slices, at least: the minute that is rolled up, what reporters are late, and another minute.
const LIVE_MIN_S: u64 = 120;
/// Live slices, at most. They are for reading what just happened, and cost sixty times what minutes do.
const LIVE_MAX_S: u64 = 86_400;
/// What is kept longest, at most: 400 days.
const KEEP_MAX_S: u64 = 400 * 86_400;

/// One resolution, and for how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Seconds in one histogram.
    pub resolution_s: u64,
    /// Seconds for which these histograms are kept.
    pub keep_s: u64,
}

/// How long what is kept at which resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    live_s: u64,
    tiers: [Tier; 2],
}

/// Why a retention cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// The live window is too short or too long.
    #[error("one-second slices cannot be kept for {live_s} s; choose from 120 s to 86400 s")]
    Live {
        /// What was asked for.
        live_s: u64,
    },
    /// The fine resolution is out of range.
    #[error("the fine resolution cannot be {resolution_s} s; choose from 2 s to 60 s")]
    Fine {
        /// What was asked for.
        resolution_s: u64,
    },
    /// The coarse resolution does not fit.
    #[error(
        "the coarse resolution cannot be {resolution_s} s; choose a multiple of the fine one, larger than it and at most 3600 s"
    )]
    Coarse {
        /// What was asked for.
        resolution_s: u64,
    },
    /// The times do not grow.
    #[error(
        "the finer must be kept for less time than the coarser, and the coarsest for at most 400 days; shorten or lengthen one"
    )]
    Keep,
}

impl Default for Retention {
    /// Slices for 15 min, 10 s for a day, minutes for 15 days.
    fn default() -> Self {
        let fine = Tier { resolution_s: 10, keep_s: 86_400 };
        let coarse = Tier { resolution_s: 60, keep_s: 15 * 86_400 };
        Retention { live_s: 900, tiers: [fine, coarse] }
    }
}

impl Retention {
    /// One-second slices for `live_s` seconds, then two tiers. A tier may be kept for up to ten of the coarse tier's histograms
    /// longer than asked for, because it goes by the block.
    ///
    /// # Errors
    /// When something is out of range.
    pub fn new(live_s: u64, fine: Tier, coarse: Tier) -> Result<Self, RetentionError> {
        if !(LIVE_MIN_S..=LIVE_MAX_S).contains(&live_s) {
            return Err(RetentionError::Live { live_s });
        }
        if !(2..=60).contains(&fine.resolution_s) {
            return Err(RetentionError::Fine { resolution_s: fine.resolution_s });
        }
        let resolution_s = coarse.resolution_s;
        let is_multiple = resolution_s.is_multiple_of(fine.resolution_s) && resolution_s > fine.resolution_s;
        if !is_multiple || resolution_s > 3_600 {
            return Err(RetentionError::Coarse { resolution_s });
        }
        if live_s >= fine.keep_s || fine.keep_s >= coarse.keep_s || coarse.keep_s > KEEP_MAX_S {
            return Err(RetentionError::Keep);
        }
        Ok(Retention { live_s, tiers: [fine, coarse] })
    }

    /// The fine tier, then the coarse one.
    pub fn tiers(&self) -> [Tier; 2] {
        self.tiers
    }

    /// Seconds for which slices are kept.
    pub fn live_s(&self) -> u64 {
        self.live_s
    }

    pub(crate) fn resolutions_s(&self) -> [u64; 2] {
        self.tiers.map(|tier| tier.resolution_s)
    }

    /// From which second on slices, fine and coarse histograms are kept. Each is where a block of either tier begins, so that a
    /// stretch of time is either wholly in a tier or not at all.
    pub(crate) fn cutoffs_s(&self, now_s: u64) -> [u64; 3] {
        let [fine, coarse] = self.tiers;
        let span = coarse.resolution_s * SLOTS;
        [self.live_s, fine.keep_s, coarse.keep_s].map(|keep_s| now_s.saturating_sub(keep_s) / span * span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_is_taken() {
        let tier = |resolution_s, keep_s| Tier { resolution_s, keep_s };
        let make = Retention::new;
        assert_eq!(make(900, tier(10, 86_400), tier(60, 15 * 86_400)), Ok(Retention::default()));
        assert_eq!(make(10, tier(10, 86_400), tier(60, 90_000)), Err(RetentionError::Live { live_s: 10 }));
        assert_eq!(make(900, tier(1, 86_400), tier(60, 90_000)), Err(RetentionError::Fine { resolution_s: 1 }));
        for coarse in [10, 65, 7_200] {
            let error = RetentionError::Coarse { resolution_s: coarse };
            assert_eq!(make(900, tier(10, 86_400), tier(coarse, 90_000)), Err(error));
        }
        for (live, fine, coarse) in [(900, 900, 1_000), (900, 1_000, 1_000), (900, 1_000, 401 * 86_400)] {
            assert_eq!(make(live, tier(10, fine), tier(60, coarse)), Err(RetentionError::Keep));
        }
    }

    #[test]
    fn cutoffs_are_where_blocks_of_both_tiers_begin() {
        let cutoffs = Retention::default().cutoffs_s(20 * 86_400 + 17);
        assert_eq!(cutoffs, [20 * 86_400 - 1_200, 19 * 86_400, 5 * 86_400]);
        assert_eq!(Retention::default().cutoffs_s(5), [0, 0, 0]);
    }
}
