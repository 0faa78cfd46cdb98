//! Reading histograms (IO), each from the finest tier that still has its time.

mod plan;
mod snapshot;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Error, History, Selector, Series,
    histograms::{self, Histograms, Sum},
    read::snapshot::{Snapshot, Visit},
};

/// From this length on, sums are taken from the coarse tier: its minutes at both ends are less than 2% of it.
const LONG_S: u64 = 3_600;

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Of which series.
    pub selector: Selector,
    /// From this second on, since 1970. A coarser histogram that overlaps it is read, too.
    pub from_s: u64,
    /// Up to this second, without it.
    pub to_s: u64,
    /// Seconds to merge into one entry. A multiple of a tier's resolution is read from that tier, and so costs less.
    pub resolution_s: u64,
}

/// One series in one stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the stretch begins, in seconds since 1970: a multiple of the query's resolution where the tier that is left is
    /// as fine, and else of that tier's.
    pub start_s: u64,
    /// Which series.
    pub series: Arc<Series>,
    /// What was counted.
    pub histograms: Histograms,
}

impl History {
    /// Everything that a query selects, in the order of time.
    ///
    /// # Errors
    /// When it cannot be read or part of it is damaged.
    pub fn read(&self, query: &Query) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        self.for_each(query, |entry| entries.push(entry))?;
        Ok(entries)
    }

    /// Like [`History::read`], without keeping more in memory than one block of each series.
    ///
    /// # Errors
    /// When it cannot be read or part of it is damaged; what was before that has been handed out.
    pub fn for_each(&self, query: &Query, mut each: impl FnMut(Entry)) -> Result<(), Error> {
        let selected = self.catalogue().select(&query.selector);
        let resolution_s = query.resolution_s.max(1);
        let mut open: BTreeMap<(u64, u32), Histograms> = BTreeMap::new();
        let mut close = |open: &mut BTreeMap<(u64, u32), Histograms>| {
            for ((start_s, id), histograms) in std::mem::take(open) {
                if let Some(series) = selected.get(&id) {
                    each(Entry { start_s, series: Arc::clone(series), histograms });
                }
            }
        };
        self.with(|database| {
            let snapshot = Snapshot::new(database, self.retention.resolutions_s())?;
            snapshot.visit(&selected, (query.from_s, query.to_s), resolution_s, |visit| {
                match visit {
                    Visit::Piece { start_s, id, bytes } => {
                        let sum = open.entry((start_s / resolution_s * resolution_s, id)).or_default();
                        sum.merge(&histograms::decode(bytes)?);
                    }
                    Visit::Until(second) => {
                        let later = open.split_off(&(second.saturating_sub(resolution_s - 1), 0));
                        close(&mut open);
                        open = later;
                    }
                }
                Ok(())
            })?;
            close(&mut open);
            Ok(())
        })
    }

    /// All that a selector selects in a stretch of time, as one. Of an hour or more, whole minutes (of the coarse
    /// resolution) are read.
    ///
    /// # Errors
    /// When it cannot be read or part of it is damaged.
    pub fn merged(&self, selector: &Selector, from_s: u64, to_s: u64) -> Result<Histograms, Error> {
        let selected = self.catalogue().select(selector);
        let is_long = to_s.saturating_sub(from_s) >= LONG_S;
        let resolution_s = if is_long { self.retention.resolutions_s()[1] } else { 1 };
        let mut sum = Sum::new();
        self.with(|database| {
            let snapshot = Snapshot::new(database, self.retention.resolutions_s())?;
            snapshot.visit(&selected, (from_s, to_s), resolution_s, |visit| match visit {
                Visit::Piece { id, bytes, .. } if selected.contains_key(&id) => sum.add(bytes),
                _ => Ok(()),
            })
        })?;
        Ok(sum.histograms())
    }
}
