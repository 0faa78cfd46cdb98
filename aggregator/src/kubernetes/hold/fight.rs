//! What is said of those who write the old weights back: pure.

use std::{collections::BTreeMap, time::Duration};

use serin_kubernetes::{
    apply::Look,
    writers::{FIELD_MANAGER, Writer, WriterKind},
};

/// Writers told apart; further ones are counted together.
const WRITERS_MAX: usize = 8;
const OTHERS: &str = "others";

/// Who did it, and how often.
#[derive(Clone, Debug)]
pub(super) struct Fight {
    service: String,
    /// The condemned release.
    release: String,
    by: BTreeMap<String, u32>,
    /// How often it was when it was said last.
    said: u32,
    /// What was advised last: once is enough as long as it stays the same.
    advised: String,
}

impl Fight {
    /// About this service's condemned release.
    pub(super) fn new(service: &str, release: &str) -> Self {
        let (service, release) = (service.to_owned(), release.to_owned());
        Fight { service, release, by: BTreeMap::new(), said: 0, advised: String::new() }
    }

    /// What is to be said of a look at an object that is not as it was written; `None` where nobody wrote it since the last one.
    pub(super) fn back(&mut self, seen: &Look, times: u32) -> Option<String> {
        if times <= self.said {
            return None;
        }
        self.count(seen, times);
        let advice = self.advice(seen);
        let said =
            format!("{}: the old weights were written back by {}; writing the rollback again", seen.object, self.who());
        let is_new = self.advised != advice;
        let said = if is_new { format!("{said}{advice}") } else { said };
        self.advised = advice;
        Some(said)
    }

    /// What is to be said when the time is over.
    pub(super) fn over(&mut self, seen: &Look, times: u32, hold: Duration) -> String {
        self.count(seen, times);
        let hold = jiff::SignedDuration::try_from(hold).unwrap_or_default();
        format!(
            "{}: held for {hold:#} (rollback.hold) while the old weights were written back by {}; from now on the weights are left to \
             others{}",
            seen.object,
            self.who(),
            self.advice(seen)
        )
    }

    fn count(&mut self, seen: &Look, times: u32) {
        let new = times.saturating_sub(self.said);
        self.said = self.said.max(times);
        if new == 0 {
            return;
        }
        let latest = seen.writers.first().filter(|writer| writer.manager != FIELD_MANAGER).map(Writer::to_string);
        let who = latest.unwrap_or_else(|| "someone whom managedFields do not name".to_owned());
        let is_known = self.by.contains_key(&who) || self.by.len() < WRITERS_MAX;
        *self.by.entry(if is_known { who } else { OTHERS.to_owned() }).or_default() += new;
    }

    /// The one who did it most often first.
    fn who(&self) -> String {
        let mut by: Vec<_> = self.by.iter().collect();
        by.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        let one = |(who, times): &(&String, &u32)| match times {
            1 => format!("{who} once"),
            times => format!("{who} {times} times"),
        };
        by.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Each with what to paste, on lines of its own.
    fn advice(&self, seen: &Look) -> String {
        let one = |advice: &serin_kubernetes::gitops::Advice| match &advice.snippet {
            Some(snippet) => format!("\n{}\n{}", advice.sentence, snippet.trim_end()),
            None => format!("\n{}", advice.sentence),
        };
        seen.advice.iter().map(one).chain(self.for_people(seen)).collect()
    }

    /// Where the last one to write may be a person, or a pipeline at a person's word.
    fn for_people(&self, seen: &Look) -> Option<String> {
        use WriterKind::{Kubectl, Other, Serin};
        let Fight { service, release, .. } = self;
        let may_be = seen.writers.first().is_none_or(|writer| matches!(writer.kind, Kubectl | Other | Serin));
        may_be.then(|| {
            format!(
                "\nWhoever wants {release} to get requests again runs `serin clear {service} {release}`: it lifts the condemnation, so that the \
                 weights are left as they are and {release} is judged anew."
            )
        })
    }
}

#[cfg(test)]
mod tests;
