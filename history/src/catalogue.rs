//! Every series that the history knows, in memory, with its number on disk: 1 kB at most for each, and usually 200 bytes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{Damage, Error, Selector, Series, SeriesRef, series, varint};

/// Series, at most: with 200 bytes each, 200 MB.
const SERIES_MAX: usize = 1_000_000;
/// What the names of one series take, at most.
const NAMES_BYTES_MAX: usize = 2_048;

/// A series and when it was last used.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) series: Arc<Series>,
    /// Days since 1970: written again once a day, not with each use.
    pub(crate) last_day: u64,
}

/// Series by number and by name.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    ids: HashMap<Box<[u8]>, u32>,
    known: BTreeMap<u32, Known>,
}

impl Catalogue {
    pub(crate) fn insert(&mut self, id: u32, known: Known) {
        let mut name = Vec::new();
        series::encode(&mut name, known.series.borrowed());
        self.ids.insert(name.into(), id);
        self.known.insert(id, known);
    }

    pub(crate) fn remove(&mut self, id: u32) {
        if let Some(known) = self.known.remove(&id) {
            let mut name = Vec::new();
            series::encode(&mut name, known.series.borrowed());
            self.ids.remove(name.as_slice());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Those that nothing newer than this day is known of.
    pub(crate) fn unused_since(&self, day: u64) -> Vec<u32> {
        self.known.iter().filter(|(_, known)| known.last_day < day).map(|(id, _)| *id).collect()
    }

    /// Those that are selected, by ascending number.
    pub(crate) fn select(&self, selector: &Selector) -> BTreeMap<u32, Arc<Series>> {
        let selected = self.known.iter().filter(|(_, known)| selector.selects(&known.series));
        selected.map(|(id, known)| (*id, Arc::clone(&known.series))).collect()
    }
}

/// What a transaction adds to the catalogue: it becomes part of it once it is on disk.
pub(crate) struct Staged<'a> {
    catalogue: &'a Catalogue,
    next_id: u32,
    ids: HashMap<Box<[u8]>, u32>,
    changed: BTreeMap<u32, Known>,
    name: Vec<u8>,
}

impl<'a> Staged<'a> {
    pub(crate) fn new(catalogue: &'a Catalogue, next_id: u32) -> Self {
        Staged { catalogue, next_id, ids: HashMap::new(), changed: BTreeMap::new(), name: Vec::new() }
    }

    /// The number of a series that is used on a day. Does not allocate for one that is known and was used on that day.
    pub(crate) fn id(&mut self, series: SeriesRef<'_>, day: u64) -> Result<u32, Error> {
        self.name.clear();
        series::encode(&mut self.name, series);
        let name = self.name.as_slice();
        let id = match self.catalogue.ids.get(name).or_else(|| self.ids.get(name)) {
            Some(id) => *id,
            None => return self.add(day),
        };
        let known = self.changed.get(&id).or_else(|| self.catalogue.known.get(&id));
        if let Some(known) = known.filter(|known| known.last_day < day) {
            let known = Known { series: Arc::clone(&known.series), last_day: day };
            self.changed.insert(id, known);
        }
        Ok(id)
    }

    fn add(&mut self, day: u64) -> Result<u32, Error> {
        if self.name.len() > NAMES_BYTES_MAX {
            return Err(Error::SeriesTooLong { bytes: self.name.len(), max: NAMES_BYTES_MAX });
        }
        if self.catalogue.len() + self.ids.len() >= SERIES_MAX || self.next_id == u32::MAX {
            return Err(Error::TooManySeries { max: SERIES_MAX });
        }
        let id = self.next_id;
        self.next_id += 1;
        // Just encoded, so it can be decoded.
        if let Ok(series) = series::decode(&self.name) {
            self.changed.insert(id, Known { series: Arc::new(series), last_day: day });
            self.ids.insert(self.name.as_slice().into(), id);
        }
        Ok(id)
    }

    /// The next number, and what is new or used on a later day.
    pub(crate) fn finish(self) -> (u32, BTreeMap<u32, Known>) {
        (self.next_id, self.changed)
    }
}

/// The form on disk: the day, then the series.
pub(crate) fn encode(known: &Known) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::put(&mut bytes, known.last_day);
    series::encode(&mut bytes, known.series.borrowed());
    bytes
}

pub(crate) fn decode(mut bytes: &[u8]) -> Result<Known, Damage> {
    let last_day = varint::take(&mut bytes)?;
    Ok(Known { series: Arc::new(series::decode(bytes)?), last_day })
}
