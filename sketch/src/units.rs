use std::fmt;

/// A duration in whole microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// The longest duration a [`crate::Bucket`] tells apart: 10 minutes. Longer ones count as this.
    pub const MAX: Micros = Micros(600_000_000);

    /// From nanoseconds, rounded down. Negative durations (a clock that stepped back) count as zero.
    pub fn from_nanos(nanos: i64) -> Self {
        Micros(u64::try_from(nanos).unwrap_or(0) / 1_000)
    }

    /// In milliseconds, for people.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
}

impl From<Micros> for std::time::Duration {
    fn from(micros: Micros) -> Self {
        std::time::Duration::from_micros(micros.0)
    }
}

impl fmt::Display for Micros {
    /// Three significant digits in the unit that fits: `870us`, `41.2ms`, `1.20s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0 as f64;
        let (value, unit) = match self.0 {
            0..1_000 => return write!(f, "{}us", self.0),
            1_000..1_000_000 => (us / 1e3, "ms"),
            _ => (us / 1e6, "s"),
        };
        let decimals = if value < 10.0 {
            2
        } else if value < 100.0 {
            1
        } else {
            0
        };
        write!(f, "{value:.decimals$}{unit}")
    }
}

/// A number for people: `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    // The same tests under Node.
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn thousands_are_set_apart() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(n), text);
        }
    }

    #[test]
    fn displays_three_significant_digits() {
        let cases = [
            (0, "0us"),
            (999, "999us"),
            (1_000, "1.00ms"),
            (41_234, "41.2ms"),
            (156_000, "156ms"),
            (1_200_000, "1.20s"),
        ];
        for (us, want) in cases {
            assert_eq!(Micros(us).to_string(), want);
        }
    }

    #[test]
    fn a_clock_that_stepped_back_is_zero() {
        assert_eq!(Micros::from_nanos(-5), Micros(0));
        assert_eq!(Micros::from_nanos(1_999), Micros(1));
    }
}
