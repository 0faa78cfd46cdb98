//! What a reporter may cost: ticks that take too long make it report less often.

/// What a tick may take, in microseconds: the worker serves no request meanwhile, and at one tick a second this is half a
/// percent of its time.
const TICK_US: u32 = 5_000;
/// Ticks in a row beyond that before the interval is lengthened: one alone may be the machine's doing.
const OVER: u32 = 3;
/// Ticks in a row of less than a quarter of it before the interval is shortened again.
const UNDER: u32 = 30;
/// The longest interval, in milliseconds.
pub const INTERVAL_MS_MAX: u64 = 10_000;

/// The interval between reports, and what the last tick took.
#[derive(Clone, Debug)]
pub struct Budget {
    configured_ms: u64,
    interval_ms: u64,
    tick_us: u32,
    over: u32,
    under: u32,
}

impl Budget {
    /// Starts with the configured interval.
    pub fn new(interval_ms: u64) -> Self {
        Budget { configured_ms: interval_ms, interval_ms, tick_us: 0, over: 0, under: 0 }
    }

    /// How often to report, in milliseconds.
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// What the last tick took, in microseconds.
    pub fn tick_us(&self) -> u32 {
        self.tick_us
    }

    /// Takes what a tick took, and says whether the interval is another one now.
    pub fn took(&mut self, us: u64) -> bool {
        self.tick_us = u32::try_from(us).unwrap_or(u32::MAX);
        self.over = if self.tick_us > TICK_US { self.over + 1 } else { 0 };
        self.under = if self.tick_us < TICK_US / 4 { self.under + 1 } else { 0 };
        let before = self.interval_ms;
        if self.over >= OVER {
            self.interval_ms = (before * 2).min(INTERVAL_MS_MAX.max(self.configured_ms));
            self.over = 0;
        } else if self.under >= UNDER {
            self.interval_ms = (before / 2).max(self.configured_ms);
            self.under = 0;
        }
        self.interval_ms != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(budget: &mut Budget, ticks: u32, us: u64) -> u64 {
        (0..ticks).for_each(|_| {
            budget.took(us);
        });
        budget.interval_ms()
    }

    #[test]
    fn slow_ticks_lengthen_the_interval_and_quick_ones_shorten_it_again() {
        let mut budget = Budget::new(1_000);
        assert_eq!(after(&mut budget, 2, 6_000), 1_000);
        assert!(budget.took(6_000));
        assert_eq!(budget.interval_ms(), 2_000);
        assert_eq!(after(&mut budget, 60, 6_000), 10_000);
        assert_eq!(after(&mut budget, 300, 4_000), 10_000, "neither too long nor short");
        assert_eq!(after(&mut budget, 29, 1_000), 10_000);
        assert_eq!(after(&mut budget, 1, 1_000), 5_000);
        assert_eq!(after(&mut budget, 300, 1_000), 1_000, "never shorter than configured");
    }

    #[test]
    fn one_slow_tick_now_and_then_changes_nothing() {
        let mut budget = Budget::new(3_000);
        for _ in 0..100 {
            assert!(!budget.took(u64::MAX) && !budget.took(9_000) && !budget.took(100));
        }
        assert_eq!(budget.interval_ms(), 3_000);
    }
}
