//! Requests under way, where the filter is attached as an HTTP filter.

use std::rc::Rc;

use hashbrown::HashTable;

use crate::measure::Stamps;

/// Requests under way in one worker, at most: 14,336 is 7/8 of 16,384 places of 49 B, 0.8 MB. Envoy's default circuit breakers let 1,024 through
/// to a cluster. Those beyond it are counted by Envoy's own duration when they end.
const ACTIVE_MAX: usize = 14_336;

/// Requests without a response that are this old are told of.
const WAITING_NS: u64 = 1_000_000_000;
/// Requests that are labelled in one tick, at most: at about 1 us a label, of which there are four, a millisecond. The others have their
/// turn in the next ones.
const LABELLED_MAX: usize = 256;

#[derive(Debug)]
struct Request {
    context: u32,
    stamps: Stamps,
    /// The key of its series but for the outcome, once it has waited.
    key: Option<Rc<[u8]>>,
}

/// The stamps of requests that have not ended, by their contexts.
#[derive(Debug, Default)]
pub struct Active(HashTable<Request>);

impl Active {
    /// A request's headers came.
    pub fn begin(&mut self, context: u32, now_ns: u64) {
        if self.0.len() < ACTIVE_MAX {
            let stamps = Stamps { request: Some(now_ns), response: None };
            let request = Request { context, stamps, key: None };
            self.0.insert_unique(hash(context), request, |request| hash(request.context));
        }
    }

    /// Its response's headers came: the last ones count, after informational ones.
    pub fn answered(&mut self, context: u32, now_ns: u64) {
        if let Some(request) = self.0.find_mut(hash(context), |request| request.context == context) {
            request.stamps.response = Some(now_ns);
        }
    }

    /// It ended. Without stamps when its headers never came.
    pub fn end(&mut self, context: u32) -> Stamps {
        let entry = self.0.find_entry(hash(context), |request| request.context == context);
        entry.map_or_else(|_| Stamps::default(), |entry| entry.remove().0.stamps)
    }

    /// The keys and the ages, in microseconds, of requests that have waited a second or longer for a response. `label` is asked once
    /// for a request; what it does not know is left out.
    pub fn waiting(&mut self, now_ns: u64, mut label: impl FnMut(u32) -> Option<Rc<[u8]>>) -> Vec<(Rc<[u8]>, u64)> {
        let age_ns = |stamps: &Stamps| now_ns.saturating_sub(stamps.request.unwrap_or(now_ns));
        let mut left = LABELLED_MAX;
        let waiting = self.0.iter_mut().filter(|r| r.stamps.response.is_none() && age_ns(&r.stamps) >= WAITING_NS);
        let known = waiting.filter_map(|request| {
            if request.key.is_none() && left > 0 {
                left -= 1;
                request.key = label(request.context);
            }
            Some((request.key.clone()?, age_ns(&request.stamps) / 1_000))
        });
        known.collect()
    }

    /// How many are under way, and the age of the oldest in milliseconds.
    pub fn oldest(&self, now_ns: u64) -> (usize, u64) {
        let begun = self.0.iter().filter_map(|request| request.stamps.request).min();
        (self.0.len(), begun.map_or(0, |begun| now_ns.saturating_sub(begun) / 1_000_000))
    }
}

/// Contexts are numbered one by one: Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4) spreads them.
fn hash(context: u32) -> u64 {
    u64::from(context).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_with_their_stamps() {
        let mut active = Active::default();
        active.begin(7, 1_000_000);
        active.begin(8, 3_000_000);
        active.answered(7, 5_000_000);
        active.answered(9, 5_000_000);
        assert_eq!(active.oldest(9_000_000), (2, 8));
        assert_eq!(active.end(7), Stamps { request: Some(1_000_000), response: Some(5_000_000) });
        assert_eq!(active.end(7), Stamps::default());
        assert_eq!(active.oldest(9_000_000), (1, 6));
        assert_eq!(active.end(8), Stamps { request: Some(3_000_000), response: None });
        assert_eq!(active.oldest(9_000_000), (0, 0));
    }

    #[test]
    fn what_waits_is_told_with_its_age() {
        const S: u64 = 1_000_000_000;
        let mut active = Active::default();
        (1..=4).for_each(|context| active.begin(context, u64::from(context) * S / 2));
        active.answered(2, 2 * S);
        let mut asked = Vec::new();
        let mut at = |now_ns| {
            let label = |context| {
                asked.push(context);
                (context != 3).then(|| Rc::from([context as u8]))
            };
            let mut waiting: Vec<(u8, u64)> =
                active.waiting(now_ns, label).iter().map(|(key, age_us)| (key[0], *age_us)).collect();
            waiting.sort_unstable();
            waiting
        };
        assert_eq!(at(S * 3 / 2), [(1, 1_000_000)]);
        assert_eq!(at(3 * S), [(1, 2_500_000), (4, 1_000_000)]);
        asked.sort_unstable();
        assert_eq!(asked, [1, 3, 4], "once each; what was answered is not asked");
    }

    #[test]
    fn labels_are_read_for_so_many_in_a_tick() {
        let mut active = Active::default();
        (0..LABELLED_MAX as u32 + 7).for_each(|context| active.begin(context, 0));
        let mut told = |now_ns| active.waiting(now_ns, |_| Some(Rc::from([1]))).len();
        assert_eq!((told(WAITING_NS), told(2 * WAITING_NS)), (LABELLED_MAX, LABELLED_MAX + 7));
    }

    #[test]
    fn there_is_a_limit() {
        let mut active = Active::default();
        (0..ACTIVE_MAX as u32 + 5).for_each(|context| active.begin(context, 1));
        assert_eq!(active.oldest(1).0, ACTIVE_MAX);
        assert_eq!(active.end(ACTIVE_MAX as u32), Stamps::default());
    }
}
