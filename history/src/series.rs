//! What a histogram is kept for (pure).

use crate::{Damage, varint};

/// What a histogram is kept for. Outcome and vantage are the caller's codes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    /// What callers address.
    pub service: String,
    /// Envoy's route name.
    pub route: String,
    /// The label that tells versions apart.
    pub release: String,
    /// Who served it; empty when the vantage does not tell.
    pub pod: String,
    /// How the requests ended.
    pub outcome: u8,
    /// Where they were measured.
    pub vantage: u8,
}

impl Series {
    /// The same, borrowed.
    pub fn borrowed(&self) -> SeriesRef<'_> {
        let Series { service, route, release, pod, outcome, vantage } = self;
        SeriesRef { service, route, release, pod, outcome: *outcome, vantage: *vantage }
    }
}

/// A [`Series`] whose names belong to someone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesRef<'a> {
    /// What callers address.
    pub service: &'a str,
    /// Envoy's route name.
    pub route: &'a str,
    /// The label that tells versions apart.
    pub release: &'a str,
    /// Who served it; empty when the vantage does not tell.
    pub pod: &'a str,
    /// How the requests ended.
    pub outcome: u8,
    /// Where they were measured.
    pub vantage: u8,
}

/// Which series to read. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// What callers address.
    pub service: Option<String>,
    /// Envoy's route name.
    pub route: Option<String>,
    /// The label that tells versions apart.
    pub release: Option<String>,
    /// Who served it.
    pub pod: Option<String>,
    /// How the requests ended.
    pub outcome: Option<u8>,
    /// Where they were measured.
    pub vantage: Option<u8>,
}

impl Selector {
    /// Every pod, outcome and vantage of one release on one route.
    pub fn release(service: &str, route: &str, release: &str) -> Self {
        let [service, route, release] = [service, route, release].map(|name| Some(name.to_owned()));
        Selector { service, route, release, ..Selector::default() }
    }

    /// That series and no other.
    pub fn only(series: &Series) -> Self {
        Selector {
            pod: Some(series.pod.clone()),
            outcome: Some(series.outcome),
            vantage: Some(series.vantage),
            ..Selector::release(&series.service, &series.route, &series.release)
        }
    }

    /// Whether it selects this series.
    pub fn selects(&self, series: &Series) -> bool {
        let name = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        name(&self.service, &series.service)
            && name(&self.route, &series.route)
            && name(&self.release, &series.release)
            && name(&self.pod, &series.pod)
            && self.outcome.is_none_or(|wanted| wanted == series.outcome)
            && self.vantage.is_none_or(|wanted| wanted == series.vantage)
    }
}

/// Appends the form on disk: both codes, then each name with its length.
pub(crate) fn encode(out: &mut Vec<u8>, series: SeriesRef<'_>) {
    out.extend([series.outcome, series.vantage]);
    for name in [series.service, series.route, series.release, series.pod] {
        varint::put(out, name.len() as u64);
        out.extend(name.as_bytes());
    }
}

/// Reads the form on disk.
pub(crate) fn decode(bytes: &[u8]) -> Result<Series, Damage> {
    let (&[outcome, vantage], mut rest) = bytes.split_first_chunk().ok_or(Damage::Short)?;
    let mut name = || {
        let length = varint::take(&mut rest)?;
        let name = varint::take_bytes(&mut rest, length)?;
        std::str::from_utf8(name).map(str::to_owned).map_err(|_| Damage::Range)
    };
    let (service, route, release, pod) = (name()?, name()?, name()?, name()?);
    if rest.is_empty() { Ok(Series { service, route, release, pod, outcome, vantage }) } else { Err(Damage::Long) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(names in prop::array::uniform4(".{0,20}"), outcome: u8, vantage: u8) {
            let [service, route, release, pod] = names;
            let series = Series { service, route, release, pod, outcome, vantage };
            let mut bytes = Vec::new();
            encode(&mut bytes, series.borrowed());
            prop_assert_eq!(decode(&bytes), Ok(series.clone()));
            prop_assert!(Selector::only(&series).selects(&series));
        }

        #[test]
        fn any_bytes_are_a_series_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_selector_selects_by_what_it_names() {
        let series = |pod: &str, outcome| Series {
            service: "s".into(),
            route: "r".into(),
            release: "v1".into(),
            pod: pod.into(),
            outcome,
            vantage: 1,
        };
        assert!(Selector::default().selects(&series("a", 1)));
        assert!(Selector::release("s", "r", "v1").selects(&series("a", 1)));
        assert!(!Selector::release("s", "r", "v2").selects(&series("a", 1)));
        assert!(!Selector::only(&series("a", 1)).selects(&series("b", 1)));
        assert!(!Selector::only(&series("a", 1)).selects(&series("a", 2)));
    }
}
