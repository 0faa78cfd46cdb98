//! Requests under way, where the filter is attached as an HTTP filter.

use hashbrown::HashTable;

use crate::measure::Stamps;

/// Requests under way in one worker, at most: 14,336 is 7/8 of 16,384 places of 41 B, 0.7 MB. Envoy's default circuit breakers let 1,024 through
/// to a cluster. Those beyond it are counted by Envoy's own duration when they end.
const ACTIVE_MAX: usize = 14_336;

/// The stamps of requests that have not ended, by their contexts.
#[derive(Debug, Default)]
pub struct Active(HashTable<(u32, Stamps)>);

impl Active {
    /// A request's headers came.
    pub fn begin(&mut self, context: u32, now_ns: u64) {
        if self.0.len() < ACTIVE_MAX {
            let stamps = Stamps { request: Some(now_ns), response: None };
            self.0.insert_unique(hash(context), (context, stamps), |(context, _)| hash(*context));
        }
    }

    /// Its response's headers came: the last ones count, after informational ones.
    pub fn answered(&mut self, context: u32, now_ns: u64) {
        if let Some((_, stamps)) = self.0.find_mut(hash(context), |(of, _)| *of == context) {
            stamps.response = Some(now_ns);
        }
    }

    /// It ended. Without stamps when its headers never came.
    pub fn end(&mut self, context: u32) -> Stamps {
        let entry = self.0.find_entry(hash(context), |(of, _)| *of == context);
        entry.map_or_else(|_| Stamps::default(), |entry| entry.remove().0.1)
    }

    /// How many are under way, and the age of the oldest in milliseconds.
    pub fn oldest(&self, now_ns: u64) -> (usize, u64) {
        let begun = self.0.iter().filter_map(|(_, stamps)| stamps.request).min();
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
    fn there_is_a_limit() {
        let mut active = Active::default();
        (0..ACTIVE_MAX as u32 + 5).for_each(|context| active.begin(context, 1));
        assert_eq!(active.oldest(1).0, ACTIVE_MAX);
        assert_eq!(active.end(ACTIVE_MAX as u32), Stamps::default());
    }
}
