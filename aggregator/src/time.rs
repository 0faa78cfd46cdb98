//! The one kind of clock reading in the pure parts: it is always an argument.

use std::time::Duration;

/// A point in time, in microseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// The start of a second.
    pub fn from_second(second: u64) -> Self {
        UnixMicros(second.saturating_mul(1_000_000))
    }

    /// The second this lies in.
    pub fn second(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This much earlier; 1970 at the earliest.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        UnixMicros(self.0.saturating_sub(micros(by)))
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        UnixMicros(self.0.saturating_add(micros(by)))
    }

    /// Time since `earlier`; zero when that is later.
    pub fn since(self, earlier: UnixMicros) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
