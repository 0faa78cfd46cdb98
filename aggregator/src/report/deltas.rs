use std::sync::Arc;

use serin_history::{Buckets, Packed, Writer};
use serin_sketch::Counts;

use super::SeriesKey;
use crate::config::Timing;

/// What was added to one series, as counts that can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// To which series.
    pub series: Arc<SeriesKey>,
    /// Request sent to the upstream until its response.
    pub upstream: Counts,
    /// Request received until last byte sent: every request once.
    pub total: Counts,
    /// Attempts beyond the first.
    pub retries: u64,
}

/// What was added to several series, by a report for instance. It is judged and kept as it is, in the form that it has on disk: a tenth of
/// the memory of [`Counts`], and two allocations whatever comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deltas {
    of: Vec<Of>,
    forms: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Of {
    series: Arc<SeriesKey>,
    requests: u64,
    /// Where its form ends.
    end: usize,
}

/// What was added to one series.
#[derive(Clone, Copy, Debug)]
pub struct Delta<'a> {
    /// To which series.
    pub series: &'a Arc<SeriesKey>,
    requests: u64,
    form: &'a [u8],
}

impl Deltas {
    /// Room for so many.
    pub fn with_capacity(deltas: usize, bytes: usize) -> Self {
        Deltas { of: Vec::with_capacity(deltas), forms: Vec::with_capacity(bytes) }
    }

    /// Adds what was added to a series. `write` appends its form and says how many requests it counts.
    ///
    /// # Errors
    /// When `write` fails; nothing is added then.
    pub fn push<E>(
        &mut self,
        series: &Arc<SeriesKey>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<u64, E>,
    ) -> Result<(), E> {
        let start = self.forms.len();
        let written = write(&mut self.forms);
        match written {
            Ok(requests) => self.of.push(Of { series: Arc::clone(series), requests, end: self.forms.len() }),
            Err(_) => self.forms.truncate(start),
        }
        written.map(drop)
    }

    /// Adds what was added to a series.
    pub fn add(&mut self, series: &Arc<SeriesKey>, upstream: &Counts, total: &Counts, retries: u64) {
        Packed::begin(&mut self.forms, retries);
        for counts in [upstream, total] {
            let mut writer = Writer::new(&mut self.forms, counts.iter().len());
            counts.iter().for_each(|(bucket, count)| writer.push(bucket, count));
        }
        self.of.push(Of { series: Arc::clone(series), requests: total.total(), end: self.forms.len() });
    }

    /// One after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Delta<'_>> {
        let mut start = 0;
        self.of.iter().map(move |Of { series, requests, end }| {
            let form = self.forms.get(start..*end).unwrap_or_default();
            start = *end;
            Delta { series, requests: *requests, form }
        })
    }

    /// How many requests.
    pub fn requests(&self) -> u64 {
        self.of.iter().fold(0, |sum, of| sum.saturating_add(of.requests))
    }

    /// What it takes in memory, nearly.
    pub fn bytes(&self) -> usize {
        // Two vectors, and the counts of the `Arc` that it is shared by.
        64 + size_of::<Of>() * self.of.capacity() + self.forms.capacity()
    }

    /// Those of certain series.
    #[must_use]
    pub fn of(&self, is_of: impl Fn(&SeriesKey) -> bool) -> Self {
        self.iter().filter(|delta| is_of(delta.series)).collect()
    }

    /// Puts another key in the place of each, which must be equal.
    pub fn intern(&mut self, mut known: impl FnMut(&Arc<SeriesKey>) -> Arc<SeriesKey>) {
        self.of.iter_mut().for_each(|of| of.series = known(&of.series));
    }

    /// Gives back what was reserved and is not needed.
    #[must_use]
    pub fn shrunk(mut self) -> Self {
        self.of.shrink_to_fit();
        self.forms.shrink_to_fit();
        self
    }
}

impl<'a> FromIterator<Delta<'a>> for Deltas {
    fn from_iter<I: IntoIterator<Item = Delta<'a>>>(all: I) -> Self {
        let mut deltas = Deltas::default();
        for Delta { series, requests, form } in all {
            deltas.forms.extend(form);
            deltas.of.push(Of { series: Arc::clone(series), requests, end: deltas.forms.len() });
        }
        deltas
    }
}

impl FromIterator<Counted> for Deltas {
    fn from_iter<I: IntoIterator<Item = Counted>>(all: I) -> Self {
        let mut deltas = Deltas::default();
        for Counted { series, upstream, total, retries } in all {
            deltas.add(&series, &upstream, &total, retries);
        }
        deltas
    }
}

impl<'a> Delta<'a> {
    /// How many requests.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Attempts beyond the first.
    pub fn retries(&self) -> u64 {
        let (_, _, retries) = Buckets::of(self.form);
        retries
    }

    /// What was counted by the upstream timing, and by the total one.
    pub fn timings(&self) -> (Buckets<'a>, Buckets<'a>) {
        let (upstream, total, _) = Buckets::of(self.form);
        (upstream, total)
    }

    /// What was counted by one timing.
    pub fn timing(&self, timing: Timing) -> Buckets<'a> {
        match timing {
            Timing::Upstream => Buckets::upstream(self.form),
            Timing::Total => self.timings().1,
        }
    }

    /// As it is kept on disk.
    pub fn packed(&self) -> Packed<'a> {
        Packed::written(self.form)
    }
}

#[cfg(test)]
mod tests {
    use serin_proto::v1::{Outcome, Vantage};
    use serin_sketch::Micros;

    use super::*;

    fn counted(release: &str, us: u64, times: u64) -> Counted {
        let key = SeriesKey {
            service: "shop".into(),
            route: "all".into(),
            release: release.into(),
            pod: String::new(),
            outcome: Outcome::Success,
            vantage: Vantage::Gateway,
        };
        let total = Counts::from_iter([(serin_sketch::Bucket::of(Micros(us)), times)]);
        Counted { series: Arc::new(key), upstream: Counts::new(), total, retries: times }
    }

    fn read(deltas: &Deltas) -> Vec<Counted> {
        let all = deltas.iter().map(|delta| {
            let (upstream, total) = delta.timings();
            let (upstream, total) = (upstream.collect(), total.collect());
            Counted { series: Arc::clone(delta.series), upstream, total, retries: delta.retries() }
        });
        all.collect()
    }

    #[test]
    fn what_was_counted_is_there_by_series() {
        let all = [counted("v1", 5, 3), counted("v2", 50_000, 300), counted("v1", 7, 1)];
        let deltas: Deltas = all.iter().cloned().collect();
        assert_eq!((read(&deltas), deltas.requests()), (all.to_vec(), 304));
        let of_v1 = deltas.of(|series| series.release == "v1");
        assert_eq!(read(&of_v1), [all[0].clone(), all[2].clone()]);
        assert_eq!(deltas.iter().map(|delta| delta.timing(Timing::Total).count()).sum::<usize>(), 3);
        assert_eq!(deltas.iter().map(|delta| delta.timing(Timing::Upstream).count()).sum::<usize>(), 0);
    }

    #[test]
    fn nothing_is_left_of_what_cannot_be_written() {
        let mut deltas: Deltas = [counted("v1", 5, 3)].into_iter().collect();
        let before = deltas.clone();
        let failed = deltas.push(&counted("v2", 1, 1).series, |out| {
            out.extend([1, 2, 3]);
            Err("broken")
        });
        assert_eq!((failed, deltas), (Err("broken"), before));
    }
}
