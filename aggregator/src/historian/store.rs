//! The store behind the engine: opened, written, given up and opened again (IO).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serin_history::{Entry, Error, History, Query, Report, Retention, Selector, Series, SeriesRef};
use serin_proto::{
    convert,
    v1::{self, Outcome, Vantage},
};
use serin_sketch::Counts;
use tokio::sync::watch;

use super::{Entries, Past, learn};
use crate::{
    config::Service,
    engine::{Learned, Remembered, Stored},
    report::{Delta, Deltas, ReporterId, SeriesKey},
    shell::now,
};

const DAY_S: u64 = 86_400;
/// How long a store that failed is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Histograms on disk, as long as the disk takes them.
pub struct Store {
    directory: PathBuf,
    retention: Retention,
    state: Mutex<State>,
    /// The day on which the file was last made as small as what it holds.
    reclaimed_on: AtomicU64,
}

enum State {
    Open(Arc<History>),
    Failed(Instant),
}

impl Store {
    /// Opens it, or says in the log why it cannot be; it is tried again later then.
    pub fn open(directory: &Path, retention: Retention) -> Self {
        let state = Mutex::new(open(directory, retention));
        Store { directory: directory.to_owned(), retention, state, reclaimed_on: AtomicU64::new(0) }
    }

    /// What is open now, or after it was tried again.
    fn history(&self) -> Option<Arc<History>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Failed(at) = *state
            && at.elapsed() >= TRY_AGAIN
        {
            *state = open(&self.directory, self.retention);
        }
        if let State::Open(history) = &*state { Some(Arc::clone(history)) } else { None }
    }

    fn gave_up(&self, what: &str, error: &Error) {
        tracing::error!("{what}: {error}; serin goes on in memory, and reports are acknowledged without being kept");
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Failed(Instant::now());
    }

    /// Writes reports; whether they are on disk now.
    fn write(&self, batch: &[Stored]) -> bool {
        let Some(history) = self.history() else { return false };
        let ids: Vec<Vec<u8>> = batch.iter().map(|stored| to_bytes(&stored.reporter)).collect();
        let reports = batch.iter().zip(&ids).map(|(stored, reporter)| Report {
            reporter,
            sequence: stored.sequence,
            second: stored.second,
            deltas: stored.deltas.iter().map(delta).collect(),
        });
        let appended = history.append(&reports.collect::<Vec<_>>());
        if let Err(error) = &appended {
            self.gave_up("the history cannot be written", error);
        }
        appended.is_ok()
    }

    /// Rolls up seconds and drops what is too old.
    fn roll_up(&self, now_s: u64) {
        let Some(history) = self.history() else { return };
        match history.roll_up(now_s) {
            Ok(rolled) => {
                rolled.problems.iter().for_each(|problem| tracing::error!("the history is damaged: {problem}"))
            }
            Err(error) => return self.gave_up("the history cannot be rolled up", &error),
        }
        if let Err(error) = history.expire(now_s) {
            return self.gave_up("what is too old cannot be dropped from the history", &error);
        }
        // Reports wait meanwhile, some seconds for each gigabyte, so once a day is enough; and after a start, when the retention may be shorter.
        if self.reclaimed_on.swap(now_s / DAY_S, Ordering::Relaxed) != now_s / DAY_S
            && let Err(error) = history.reclaim()
        {
            self.gave_up("the space of what was dropped cannot be given back", &error);
        }
    }

    /// Sends what was counted, entry by entry, for as long as `send` takes it.
    fn send(&self, request: &v1::ReadHistoryRequest, mut send: impl FnMut(v1::HistoryEntry) -> bool) {
        let query = query(request);
        let mut is_wanted = true;
        let read = |history: &History| history.for_each(&query, |entry| is_wanted = is_wanted && send(to_wire(entry)));
        self.read_with(read);
    }

    /// Reads something of it.
    fn read_with<T>(&self, read: impl FnOnce(&History) -> Result<T, Error>) -> Option<T> {
        let history = self.history()?;
        read(&history).inspect_err(|error| tracing::error!("the history cannot be read: {error}")).ok()
    }
}

#[tonic::async_trait]
impl Past for Store {
    async fn append(self: Arc<Self>, batch: Vec<Stored>, keeping: &watch::Sender<bool>) {
        let written = tokio::task::spawn_blocking(move || self.write(&batch)).await;
        let is_kept = matches!(written, Ok(true));
        keeping.send_if_modified(|kept| std::mem::replace(kept, is_kept) != is_kept);
    }

    async fn tend(self: Arc<Self>) {
        if let Err(error) = tokio::task::spawn_blocking(move || self.roll_up(now().second())).await {
            tracing::error!("rolling up the history failed: {error}");
        }
    }

    async fn learn(self: Arc<Self>, service: Service) -> Option<Learned> {
        let learn = move || {
            self.read_with(|kept| learn::learn(&service, now().second(), |query, each| kept.for_each(query, each)))
        };
        tokio::task::spawn_blocking(learn).await.ok().flatten()
    }

    async fn read(self: Arc<Self>, request: v1::ReadHistoryRequest, entries: Entries) {
        // One who reads no further ends it; a failure is in the log, and the stream just ends.
        let read = move || self.send(&request, |entry| entries.blocking_send(Ok(entry)).is_ok());
        drop(tokio::task::spawn_blocking(read).await);
    }

    fn is_open(&self) -> bool {
        matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Open(_))
    }
}

fn open(directory: &Path, retention: Retention) -> State {
    match History::open(directory, retention) {
        Ok(history) => State::Open(Arc::new(history)),
        Err(error) => {
            tracing::error!("there is no history: {error}; serin judges from memory and tries again");
            State::Failed(Instant::now())
        }
    }
}

/// The newest second that an earlier run kept.
pub fn newest_second(store: &Store) -> Option<u64> {
    store.read_with(History::newest_second).flatten()
}

/// What an earlier run left: who had reported what, and the seconds since `from_s`.
pub fn remembered(store: &Store, from_s: u64, to_s: u64) -> Remembered {
    let read = |history: &History| {
        let mut remembered = Remembered::default();
        for (bytes, sequence) in history.applied_sequences()? {
            remembered.applied.extend(from_bytes(&bytes).map(|reporter| (reporter, sequence)));
        }
        let mut keys: BTreeMap<usize, Arc<SeriesKey>> = BTreeMap::new();
        let mut seconds: BTreeMap<u64, Deltas> = BTreeMap::new();
        let query = Query { selector: Selector::default(), from_s, to_s, resolution_s: 1 };
        history.for_each(&query, |entry| {
            let key = keys.entry(Arc::as_ptr(&entry.series) as usize).or_insert_with(|| Arc::new(key(&entry.series)));
            let serin_history::Histograms { upstream, total, retries } = entry.histograms;
            seconds.entry(entry.start_s).or_default().add(key, &upstream, &total, retries);
        })?;
        remembered.seconds = seconds.into_iter().map(|(second, all)| (second, vec![Arc::new(all.shrunk())])).collect();
        Ok(remembered)
    };
    store.read_with(read).unwrap_or_default()
}

/// What is asked for.
pub(crate) fn query(request: &v1::ReadHistoryRequest) -> Query {
    let name = |name: &String| (!name.is_empty()).then(|| name.clone());
    let selector = Selector {
        service: name(&request.service),
        route: name(&request.route),
        release: name(&request.release),
        ..Selector::default()
    };
    let resolution_s = if request.resolution_s == 0 { 60 } else { u64::from(request.resolution_s) };
    Query { selector, from_s: request.from_s, to_s: request.to_s, resolution_s }
}

/// An entry as it is asked for.
pub(crate) fn to_wire(entry: Entry) -> v1::HistoryEntry {
    let SeriesKey { service, route, release, pod, outcome, vantage } = key(&entry.series);
    let some = |counts: &Counts| (!counts.is_empty()).then(|| convert::to_wire(counts));
    v1::HistoryEntry {
        start_s: entry.start_s,
        service,
        route,
        release,
        pod,
        outcome: outcome.into(),
        vantage: vantage.into(),
        upstream: some(&entry.histograms.upstream),
        total: some(&entry.histograms.total),
        retries: entry.histograms.retries,
    }
}

/// The series that a key of the store stands for.
pub fn key(series: &Series) -> SeriesKey {
    SeriesKey {
        service: series.service.clone(),
        route: series.route.clone(),
        release: series.release.clone(),
        pod: series.pod.clone(),
        outcome: Outcome::try_from(i32::from(series.outcome)).unwrap_or_default(),
        vantage: Vantage::try_from(i32::from(series.vantage)).unwrap_or_default(),
    }
}

fn delta(delta: Delta<'_>) -> serin_history::Delta<'_> {
    let SeriesKey { service, route, release, pod, outcome, vantage } = &**delta.series;
    // The codes of `ingest.proto` are below 16.
    let series = SeriesRef { service, route, release, pod, outcome: *outcome as u8, vantage: *vantage as u8 };
    serin_history::Delta { series, histograms: delta.packed() }
}

fn to_bytes(reporter: &ReporterId) -> Vec<u8> {
    let ReporterId { node_id, boot_nonce, context_id } = reporter;
    [&boot_nonce.to_le_bytes()[..], &context_id.to_le_bytes(), node_id.as_bytes()].concat()
}

fn from_bytes(bytes: &[u8]) -> Option<ReporterId> {
    let (boot_nonce, rest) = bytes.split_first_chunk::<8>()?;
    let (context_id, node_id) = rest.split_first_chunk::<4>()?;
    let node_id = std::str::from_utf8(node_id).ok()?.into();
    Some(ReporterId {
        node_id,
        boot_nonce: u64::from_le_bytes(*boot_nonce),
        context_id: u32::from_le_bytes(*context_id),
    })
}

#[cfg(test)]
mod tests {
    use serin_sketch::Micros;

    use super::*;
    use crate::{engine::StreamId, report::Counted};

    fn stored(sequence: u64, second: u64) -> Stored {
        let series = SeriesKey {
            service: "shop".into(),
            route: "all".into(),
            release: "v1".into(),
            pod: "p".into(),
            outcome: Outcome::Timeout,
            vantage: Vantage::Outbound,
        };
        let total = Counts::from_iter([(serin_sketch::Bucket::of(Micros(40_000)), 3)]);
        let counted = Counted { series: Arc::new(series), upstream: Counts::new(), total, retries: 1 };
        let reporter = ReporterId { node_id: "node/ü".into(), boot_nonce: u64::MAX - 1, context_id: 7 };
        Stored {
            stream: StreamId(1),
            reporter,
            workload: "shop/w".into(),
            sequence,
            floor: 1,
            second,
            deltas: Arc::new([counted].into_iter().collect()),
        }
    }

    #[test]
    fn what_was_kept_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let batch = [stored(1, 1_000), stored(2, 1_001)];
        {
            let store = Store::open(dir.path(), Retention::default());
            assert!(store.write(&batch) && store.write(&batch), "the same again changes nothing");
        }
        let store = Store::open(dir.path(), Retention::default());
        let remembered = remembered(&store, 1_001, 2_000);
        assert_eq!(remembered.applied, [(batch[1].reporter.clone(), 2)]);
        assert_eq!(remembered.seconds, BTreeMap::from([(1_001, vec![Arc::clone(&batch[1].deltas)])]));
    }

    #[test]
    fn what_is_dropped_is_given_back_to_the_disk_once_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Retention::default());
        let file_bytes = || std::fs::metadata(dir.path().join("histograms.redb")).unwrap().len();
        let noon = 20_000 * DAY_S + DAY_S / 2;
        store.roll_up(noon);
        let batch: Vec<Stored> = (0..4_000).map(|n| stored(n + 1, noon + n / 4)).collect();
        let batch = batch.into_iter().enumerate().map(|(n, mut stored)| {
            Arc::make_mut(&mut stored.deltas)
                .intern(|series| Arc::new(SeriesKey { pod: format!("pod-{n}"), ..(**series).clone() }));
            stored
        });
        assert!(store.write(&batch.collect::<Vec<_>>()));
        store.roll_up(noon + 2_000);
        let full = file_bytes();
        store.roll_up(noon + DAY_S / 2 - 1);
        assert_eq!(file_bytes(), full, "on the same day");
        store.roll_up(noon + 20 * DAY_S);
        assert!(file_bytes() < full / 2, "{} of {full} bytes are left", file_bytes());
    }

    #[test]
    fn without_a_store_nothing_is_kept_and_nothing_stops() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "in the way").unwrap();
        let store = Store::open(&file, Retention::default());
        assert!(!store.is_open() && !store.write(&[stored(1, 1_000)]));
        assert_eq!(remembered(&store, 0, 10), Remembered::default());
        store.roll_up(5_000);
    }
}
