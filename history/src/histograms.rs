//! What is kept of one series for one stretch of time, and its form on disk (pure).
//!
//! Form: the retries, then both histograms: the number of non-empty buckets, and for each the empty buckets before it and its
//! count less one. All are varints: where neighbours are near and counts small, a bucket takes two bytes.

use std::borrow::Cow;

use serin_sketch::{BUCKETS, Bucket, Counts};

use crate::{Damage, varint};

/// Both timings of one series for one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histograms {
    /// Request sent to the upstream until its response, in microseconds.
    pub upstream: Counts,
    /// Request received until last byte sent, in microseconds: every request once.
    pub total: Counts,
    /// Attempts beyond the first.
    pub retries: u64,
}

impl Histograms {
    /// Adds all of `other`. Counts saturate.
    pub fn merge(&mut self, other: &Histograms) {
        self.upstream.merge(&other.upstream);
        self.total.merge(&other.total);
        self.retries = self.retries.saturating_add(other.retries);
    }

    /// Adds a form on disk that was [`check`]ed.
    pub(crate) fn add(&mut self, form: &[u8]) {
        let (upstream, total, retries) = Buckets::of(form);
        self.upstream.add_all(upstream);
        self.total.add_all(total);
        self.retries = self.retries.saturating_add(retries);
    }
}

/// Appends the form on disk.
pub(crate) fn encode(out: &mut Vec<u8>, upstream: &Counts, total: &Counts, retries: u64) {
    varint::put(out, retries);
    for counts in [upstream, total] {
        let mut writer = Writer::new(out, counts.iter().len());
        counts.iter().for_each(|(bucket, count)| writer.push(bucket, count));
    }
}

/// [`Histograms`] in their form on disk, a tenth of the size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed<'a>(Cow<'a, [u8]>);

impl<'a> Packed<'a> {
    /// What [`Packed::begin`] and two [`Writer`]s wrote.
    pub fn written(bytes: &'a [u8]) -> Self {
        Packed(Cow::Borrowed(bytes))
    }

    /// Begins to write a form: the upstream timing and then the total one are to follow, each by a [`Writer`].
    pub fn begin(out: &mut Vec<u8>, retries: u64) {
        varint::put(out, retries);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&Histograms> for Packed<'_> {
    fn from(histograms: &Histograms) -> Self {
        let mut bytes = Vec::new();
        encode(&mut bytes, &histograms.upstream, &histograms.total, histograms.retries);
        Packed(Cow::Owned(bytes))
    }
}

/// Writes the buckets of one timing.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    next: u64,
}

impl<'a> Writer<'a> {
    /// So many non-empty buckets are to follow.
    pub fn new(out: &'a mut Vec<u8>, buckets: usize) -> Self {
        varint::put(out, buckets as u64);
        Writer { out, next: 0 }
    }

    /// The next bucket, in ascending order, and its count of at least 1.
    pub fn push(&mut self, bucket: Bucket, count: u64) {
        let index = bucket.index() as u64;
        varint::put(self.out, index.saturating_sub(self.next));
        varint::put(self.out, count.saturating_sub(1));
        self.next = index + 1;
    }
}

/// The non-empty buckets of one timing, in ascending order, read from the form on disk. Where that is damaged they end.
#[derive(Clone, Debug)]
pub struct Buckets<'a> {
    rest: &'a [u8],
    left: u64,
    next: u64,
}

impl<'a> Buckets<'a> {
    /// What was counted by the upstream timing in a form, and then what by the total one, and its retries.
    pub fn of(form: &'a [u8]) -> (Buckets<'a>, Buckets<'a>, u64) {
        let mut rest = form;
        let retries = varint::take(&mut rest).unwrap_or_default();
        let upstream = Buckets::new(rest);
        let mut after = upstream.clone();
        after.skip_all();
        (upstream, Buckets::new(after.rest), retries)
    }

    fn new(mut rest: &'a [u8]) -> Self {
        let left = varint::take(&mut rest).unwrap_or_default();
        Buckets { rest, left, next: 0 }
    }

    /// Of what was counted by the upstream timing.
    pub fn upstream(form: &'a [u8]) -> Self {
        let mut rest = form;
        let _retries = varint::take(&mut rest);
        Buckets::new(rest)
    }

    /// Goes behind the last bucket: each is two numbers, and each number has one byte below 128.
    fn skip_all(&mut self) {
        let mut numbers = self.left.saturating_mul(2);
        let end = self.rest.iter().position(|byte| {
            numbers -= u64::from(*byte < 0x80 && numbers > 0);
            numbers == 0
        });
        self.rest = match end {
            _ if self.left == 0 => self.rest,
            Some(end) => self.rest.get(end + 1..).unwrap_or_default(),
            None => &[],
        };
        self.left = 0;
    }

    fn read(&mut self) -> Result<(Bucket, u64), Damage> {
        let index = self.next.checked_add(varint::take(&mut self.rest)?).ok_or(Damage::Range)?;
        let bucket = u32::try_from(index).ok().and_then(Bucket::from_index).ok_or(Damage::Range)?;
        self.next = index + 1;
        Ok((bucket, varint::take(&mut self.rest)?.saturating_add(1)))
    }
}

impl Iterator for Buckets<'_> {
    type Item = (Bucket, u64);

    fn next(&mut self) -> Option<(Bucket, u64)> {
        self.left = self.left.checked_sub(1)?;
        let read = self.read();
        if read.is_err() {
            self.left = 0;
        }
        read.ok()
    }

    /// At least none and at most as many as there are said to be: damage ends it.
    fn size_hint(&self) -> (usize, Option<usize>) {
        // Each takes two bytes at least, whatever the form says.
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.rest.len() / 2);
        (most, Some(most))
    }
}

/// Adds up forms on disk without a `Counts` for each of them: 47 kB, whatever goes in.
pub(crate) struct Sum {
    upstream: Box<[u64]>,
    total: Box<[u64]>,
    retries: u64,
}

impl Sum {
    pub(crate) fn new() -> Self {
        Sum { upstream: vec![0; BUCKETS].into(), total: vec![0; BUCKETS].into(), retries: 0 }
    }

    /// Adds a form on disk. Where it is damaged, part of it may have been added.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let mut rest = bytes;
        self.retries = self.retries.saturating_add(varint::take(&mut rest)?);
        for sums in [&mut self.upstream, &mut self.total] {
            take_buckets(&mut rest, |bucket, count| {
                if let Some(sum) = sums.get_mut(bucket.index()) {
                    *sum = sum.saturating_add(count);
                }
            })?;
        }
        if rest.is_empty() { Ok(()) } else { Err(Damage::Long) }
    }

    pub(crate) fn histograms(&self) -> Histograms {
        let counts = |sums: &[u64]| {
            let buckets = (0..).map_while(Bucket::from_index).zip(sums.iter().copied());
            buckets.filter(|(_, count)| *count > 0).collect()
        };
        Histograms { upstream: counts(&self.upstream), total: counts(&self.total), retries: self.retries }
    }
}

/// Reads the form on disk.
pub(crate) fn decode(bytes: &[u8]) -> Result<Histograms, Damage> {
    let mut rest = bytes;
    let mut histograms = Histograms { retries: varint::take(&mut rest)?, ..Histograms::default() };
    for counts in [&mut histograms.upstream, &mut histograms.total] {
        take_buckets(&mut rest, |bucket, count| counts.add(bucket, count))?;
    }
    if rest.is_empty() { Ok(histograms) } else { Err(Damage::Long) }
}

/// Whether a form on disk can be read.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Damage> {
    let mut rest = bytes;
    varint::take(&mut rest)?;
    take_buckets(&mut rest, |_, _| {})?;
    take_buckets(&mut rest, |_, _| {})?;
    if rest.is_empty() { Ok(()) } else { Err(Damage::Long) }
}

fn take_buckets(rest: &mut &[u8], mut each: impl FnMut(Bucket, u64)) -> Result<(), Damage> {
    let mut buckets = Buckets { left: varint::take(rest)?, rest, next: 0 };
    while buckets.left > 0 {
        buckets.left -= 1;
        let (bucket, count) = buckets.read()?;
        each(bucket, count);
    }
    *rest = buckets.rest;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts() -> impl Strategy<Value = Counts> {
        let bucket = (0..BUCKETS as u32).prop_filter_map("in range", Bucket::from_index);
        let count = prop_oneof![1_u64..5, any::<u64>()];
        prop::collection::vec((bucket, count), 0..40).prop_map(Counts::from_iter)
    }

    /// Any, with large counts and empty timings.
    pub(crate) fn histograms() -> impl Strategy<Value = Histograms> {
        (counts(), counts(), any::<u64>()).prop_map(|(upstream, total, retries)| Histograms {
            upstream,
            total,
            retries,
        })
    }

    fn encoded(histograms: &Histograms) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, &histograms.upstream, &histograms.total, histograms.retries);
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(histograms in histograms()) {
            prop_assert_eq!(decode(&encoded(&histograms)), Ok(histograms));
        }

        #[test]
        fn a_sum_of_forms_is_the_form_of_a_sum(all in prop::collection::vec(histograms(), 0..5)) {
            let (mut sum, mut added, mut merged) = (Sum::new(), Histograms::default(), Histograms::default());
            for histograms in &all {
                sum.add(&encoded(histograms)).unwrap();
                added.add(&encoded(histograms));
                merged.merge(histograms);
            }
            prop_assert_eq!(&sum.histograms(), &merged);
            prop_assert_eq!(added, merged);
        }

        #[test]
        fn any_bytes_are_histograms_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let sum = Sum::new().add(&bytes);
            prop_assert_eq!(&check(&bytes), &sum);
            prop_assert_eq!(decode(&bytes).map(|_| ()), sum);
            // What cannot be read ends, and is nothing to panic about.
            let (upstream, total, _) = Buckets::of(&bytes);
            prop_assert!(upstream.count() + total.count() <= bytes.len());
        }
    }

    proptest! {
        #[test]
        fn a_form_is_read_from_where_it_was_written(histograms in histograms()) {
            let form = encoded(&histograms);
            let (upstream, total, retries) = Buckets::of(&form);
            let read = Histograms { upstream: upstream.collect(), total: total.collect(), retries };
            prop_assert_eq!(&read, &histograms);
            prop_assert_eq!(Buckets::upstream(&form).collect::<Counts>(), histograms.upstream);
        }
    }

    #[test]
    fn a_usual_bucket_takes_two_bytes() {
        let counts: Counts = (500..540).filter_map(Bucket::from_index).map(|bucket| (bucket, 100)).collect();
        let histograms = Histograms { upstream: counts.clone(), total: counts, retries: 0 };
        // Retries, and for each timing the number of buckets and a first bucket of two bytes.
        assert_eq!(encoded(&histograms).len(), 1 + 2 * (1 + 1 + 40 * 2));
    }
}
