//! What is written to the log, and back (pure). Every message stands alone, so that one who begins in the middle can read it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use prost::Message;
use serin_proto::{
    convert, raw,
    v1::{self, Attachment, LoggedReports, ReportRequest, Vantage},
};

use crate::{
    engine::{Logged, Stored},
    ingest::validate::{Accepted, Refusal, Session},
    partition::{self, Partition},
    report::{Delta, Origin, ReporterId, SeriesKey, Waiting},
    store::Slices,
    time::UnixMicros,
};

/// A message is closed when it is this long. NATS takes 1 MiB unless told otherwise, and one report can be nearly as long by itself.
const FULL_BYTES: usize = 256 << 10;

/// One report from the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FromLog {
    pub(super) reporter: ReporterId,
    /// Below this sequence everything was acknowledged before it was written.
    pub(super) floor: u64,
    pub(super) sequence: u64,
    pub(super) counted: Logged,
}

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is no message of serin.v1: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("a report in it breaks a rule: {0}")]
    Refused(#[from] Refusal),
    #[error("a heartbeat is among the reports, or a report among what waits")]
    Misplaced,
}

/// The messages that say what these reports say, for each partition in order.
pub(super) fn encode(batch: &[Stored]) -> Vec<(Partition, Vec<u8>)> {
    let mut open: BTreeMap<Partition, LoggedReports> = BTreeMap::new();
    let mut bytes: BTreeMap<Partition, usize> = BTreeMap::new();
    let mut messages = Vec::new();
    for stored in batch {
        let mut parts: BTreeMap<Partition, Vec<Delta<'_>>> = BTreeMap::new();
        for delta in stored.deltas.iter() {
            parts.entry(partition::of(&delta.series.service)).or_default().push(delta);
        }
        for (partition, deltas) in parts {
            let report = report(stored, &deltas);
            let length = bytes.entry(partition).or_default();
            *length += report.encoded_len();
            let message = open.entry(partition).or_default();
            message.reports.push(report);
            if *length >= FULL_BYTES {
                messages.push((partition, std::mem::take(message).encode_to_vec()));
                *length = 0;
            }
        }
    }
    let rest = open.into_iter().filter(|(_, message)| !message.reports.is_empty());
    messages.extend(rest.map(|(partition, message)| (partition, message.encode_to_vec())));
    messages
}

/// What one message of the log says.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<FromLog>, Unreadable> {
    // Series repeat from report to report: they are kept once.
    let mut known: HashMap<Arc<SeriesKey>, Arc<SeriesKey>> = HashMap::new();
    let reports = raw::LoggedReports::decode(bytes)?.reports.into_iter().map(|mut message| {
        let (mut session, reporter) = Session::open(&mut message)?;
        let Accepted::Report(report) = session.accept(message)? else { return Err(Unreadable::Misplaced) };
        let second = Slices::second_of(report.interval_end, report.interval, UnixMicros(u64::MAX));
        let mut deltas = Arc::unwrap_or_clone(report.deltas);
        deltas.intern(|series| Arc::clone(known.entry(Arc::clone(series)).or_insert_with(|| Arc::clone(series))));
        let origin = Origin { node: Arc::clone(&reporter.id.node_id), workload: reporter.workload };
        let counted = Logged { second, origin, deltas: Arc::new(deltas) };
        Ok(FromLog { reporter: reporter.id, floor: reporter.first_sequence, sequence: report.sequence, counted })
    });
    reports.collect()
}

/// The messages that say what waits, for each partition.
pub(super) fn encode_waiting(reporter: &ReporterId, waiting: &Waiting) -> Vec<(Partition, Vec<u8>)> {
    let mut parts: BTreeMap<Partition, (Vantage, Vec<v1::InFlight>)> = BTreeMap::new();
    for (series, ages) in &waiting.ages {
        let SeriesKey { service, route, release, pod, vantage, .. } = series.clone();
        let ages = Some(convert::to_wire(ages));
        let (_, part) = parts.entry(partition::of(&service)).or_insert((vantage, Vec::new()));
        part.push(v1::InFlight { service, route, release, pod, ages });
    }
    let message = |(partition, (vantage, in_flight))| {
        let heartbeat = ReportRequest {
            reporter: Some(hello(reporter, &waiting.workload, vantage, 1)),
            interval_ms: u32::try_from(waiting.interval.as_millis()).unwrap_or(u32::MAX),
            in_flight,
            in_flight_unix_us: waiting.at.0,
            ..ReportRequest::default()
        };
        (partition, heartbeat.encode_to_vec())
    };
    parts.into_iter().map(message).collect()
}

/// What waits, as one such message says.
pub(super) fn decode_waiting(bytes: &[u8]) -> Result<(ReporterId, Waiting), Unreadable> {
    let mut message = raw::ReportRequest::decode(bytes)?;
    let (mut session, reporter) = Session::open(&mut message)?;
    match session.accept(message)? {
        Accepted::Heartbeat(heartbeat) => {
            let waiting = heartbeat.waiting.ok_or(Unreadable::Misplaced)?;
            Ok((reporter.id, waiting))
        }
        Accepted::Report(_) => Err(Unreadable::Misplaced),
    }
}

fn report(stored: &Stored, deltas: &[Delta<'_>]) -> ReportRequest {
    let vantage = deltas.first().map_or(Vantage::Unspecified, |delta| delta.series.vantage);
    let some = |wire: v1::Distribution| (!wire.counts.is_empty()).then_some(wire);
    let ids = 0..deltas.len() as u32;
    ReportRequest {
        reporter: Some(hello(&stored.reporter, &stored.workload, vantage, stored.floor)),
        sequence: stored.sequence,
        interval_start_unix_us: UnixMicros::from_second(stored.second).0,
        interval_ms: 1_000,
        new_series: ids.clone().zip(deltas).map(|(id, delta)| series(id, delta.series)).collect(),
        deltas: ids
            .zip(deltas)
            .map(|(series, delta)| {
                let (upstream, total) = delta.timings();
                let [upstream, total] = [upstream, total].map(|buckets| some(convert::buckets_to_wire(buckets)));
                v1::SeriesDelta { series, upstream, total, retries: delta.retries() }
            })
            .collect(),
        ..ReportRequest::default()
    }
}

fn series(id: u32, key: &SeriesKey) -> v1::Series {
    let SeriesKey { service, route, release, pod, outcome, .. } = key.clone();
    v1::Series { id, service, route, release, pod, outcome: outcome.into() }
}

fn hello(reporter: &ReporterId, workload: &str, vantage: Vantage, floor: u64) -> v1::Reporter {
    v1::Reporter {
        node_id: reporter.node_id.to_string(),
        boot_nonce: reporter.boot_nonce,
        context_id: reporter.context_id,
        vantage: vantage.into(),
        // How it measured is not passed on; any will do.
        attachment: Attachment::AccessLog.into(),
        filter_version: String::new(),
        first_sequence: floor,
        workload: workload.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serin_proto::v1::Outcome;
    use serin_sketch::{Bucket, Counts, Micros};

    use super::*;
    use crate::{
        engine::StreamId,
        report::{Counted, Deltas},
    };

    fn deltas(counted: &[&Counted]) -> Arc<Deltas> {
        Arc::new(counted.iter().map(|&counted| counted.clone()).collect())
    }

    fn counted(service: &str, us: u64, requests: u64) -> Counted {
        let series = SeriesKey {
            service: service.into(),
            route: "r".into(),
            release: "v1".into(),
            pod: String::new(),
            outcome: Outcome::Success,
            vantage: Vantage::Outbound,
        };
        let total = Counts::from_iter([(Bucket::of(Micros(us)), requests)]);
        Counted { series: Arc::new(series), upstream: Counts::new(), total, retries: 2 }
    }

    fn stored(sequence: u64, counted: &[&Counted]) -> Stored {
        let deltas = deltas(counted);
        let reporter = ReporterId { node_id: "n".into(), boot_nonce: 7, context_id: 2 };
        Stored { stream: StreamId(1), reporter, workload: "shop/w".into(), sequence, floor: 4, second: 1_000, deltas }
    }

    #[test]
    fn a_report_is_split_by_partition_and_comes_back() {
        let (shop, cart) = (counted("shop", 40_000, 3), counted("cart", 9, 1));
        assert_ne!(partition::of("shop"), partition::of("cart"));
        let batch = [stored(5, &[&shop, &cart]), stored(6, &[&shop])];
        let messages: BTreeMap<Partition, Vec<u8>> = encode(&batch).into_iter().collect();
        let read = |service| decode(&messages[&partition::of(service)]).unwrap();
        let from_log = |sequence, counted: &Counted| FromLog {
            reporter: batch[0].reporter.clone(),
            floor: 4,
            sequence,
            counted: Logged { second: 1_000, origin: origin("shop/w"), deltas: deltas(&[counted]) },
        };
        assert_eq!(read("shop"), [from_log(5, &shop), from_log(6, &shop)]);
        assert_eq!(read("cart"), [from_log(5, &cart)]);
    }

    fn origin(workload: &str) -> Origin {
        Origin { node: "n".into(), workload: workload.into() }
    }

    /// As an aggregator of an earlier version wrote it.
    #[test]
    fn what_does_not_say_its_workload_is_read_all_the_same() {
        let stored = Stored { workload: "".into(), ..stored(5, &[&counted("shop", 40_000, 3)]) };
        let [(_, bytes)] = &encode(&[stored])[..] else { panic!("one message") };
        let told = LoggedReports::decode(bytes.as_slice()).unwrap().reports.remove(0).reporter.unwrap();
        assert_eq!(told.encoded_len(), 20, "node_id 3, boot_nonce 9, and 2 each for four numbers");
        assert_eq!(decode(bytes).unwrap()[0].counted.origin, origin(""));
    }

    #[test]
    fn messages_stay_short() {
        let many: Vec<_> = (0..200).map(|us| counted("shop", us * 100, 1)).collect();
        let many: Vec<_> = many.iter().collect();
        let batch: Vec<_> = (5..205).map(|sequence| stored(sequence, &many)).collect();
        let messages = encode(&batch);
        assert!(messages.iter().all(|(_, bytes)| bytes.len() < 2 * FULL_BYTES), "at most one report more");
        let sequences = messages.iter().flat_map(|(_, bytes)| decode(bytes).unwrap()).map(|report| report.sequence);
        assert_eq!(sequences.collect::<Vec<_>>(), (5..205).collect::<Vec<_>>());
    }

    #[test]
    fn what_waits_comes_back() {
        let stored = stored(1, &[]);
        let key = SeriesKey { outcome: Outcome::Unspecified, ..(*counted("shop", 1, 1).series).clone() };
        let waiting = Waiting {
            at: UnixMicros(77),
            interval: std::time::Duration::from_secs(4),
            workload: "shop/w".into(),
            ages: vec![(key, Counts::from_iter([(Bucket::of(Micros(2_000_000)), 4)]))],
        };
        let messages = encode_waiting(&stored.reporter, &waiting);
        assert_eq!(messages.len(), 1);
        assert_eq!(decode_waiting(&messages[0].1).unwrap(), (stored.reporter, waiting));
    }

    #[test]
    fn garbage_is_refused() {
        assert!(matches!(decode(&[0xff]), Err(Unreadable::Decode(_))));
        let no_reporter = LoggedReports { reports: vec![ReportRequest::default()] };
        assert!(matches!(decode(&no_reporter.encode_to_vec()), Err(Unreadable::Refused(Refusal::NoReporter))));
    }
}
