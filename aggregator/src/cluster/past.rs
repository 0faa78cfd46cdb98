//! Reads what was counted back from NATS (IO): minutes from the roll-ups and, of what is not rolled up yet, from the log.

use std::{collections::BTreeMap, sync::Arc};

use async_nats::jetstream::{
    consumer::{DeliverPolicy, pull},
    stream::{LastRawMessageErrorKind, Stream},
};
use prost::Message;
use serin_history::{Entry, Histograms, Query, Series};
use serin_proto::v1::RolledUp;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

use super::{
    Nats, message, names,
    roll_up::{self, Tier},
};
use crate::{
    engine::Logged,
    partition::{self, PARTITIONS, Partition},
    report::SeriesKey,
    shell::now,
    store,
    time::UnixMicros,
};

/// What comes later than this after its time is not looked for: filters keep counts for less.
const LATE_S: u64 = 3_600;
/// How far clocks may be ahead of NATS's.
const AHEAD_S: u64 = 10;
/// How often the log is rolled up, at least.
pub(super) const ROLL_UP_EVERY_S: u64 = 60;
/// How much of the log before a stretch is read to know what comes in it again.
pub(super) const AGAIN_S: u64 = 300;

/// Why something cannot be read from NATS.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("NATS does not answer: {0}")]
    Nats(String),
    #[error("a message in the log is damaged, or of a newer serin: {0}")]
    Damaged(String),
}

impl Unread {
    pub(super) fn nats(error: impl std::fmt::Display) -> Self {
        Unread::Nats(error.to_string())
    }

    pub(super) fn damaged(error: impl std::fmt::Display) -> Self {
        Unread::Damaged(error.to_string())
    }
}

/// The last roll-up of a partition.
pub(super) struct LastRollUp {
    /// The log's sequence up to which all is rolled up.
    pub(super) upto: u64,
    /// Its own sequence.
    pub(super) sequence: u64,
    /// When it was written.
    pub(super) written: UnixMicros,
}

/// The last roll-up of a partition; `None` before the first.
pub(super) async fn last_roll_up(nats: &Nats, tier: Tier, partition: Partition) -> Result<Option<LastRollUp>, Unread> {
    match nats.rolled_up(tier).get_last_raw_message_by_subject(&names::rolled_up(tier, partition)).await {
        Ok(message) => {
            let rolled = RolledUp::decode(message.payload).map_err(Unread::damaged)?;
            let written = time_of(message.time);
            Ok(Some(LastRollUp { upto: rolled.upto, sequence: message.sequence, written }))
        }
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(Unread::nats(error)),
    }
}

pub(super) fn time_of(time: time::OffsetDateTime) -> UnixMicros {
    UnixMicros(u64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or_default())
}

/// Messages of a subject in their order, from a time on, and how many there are now.
pub(super) async fn from_time(stream: &Stream, subject: String, from_s: u64) -> Result<(pull::Ordered, u64), Unread> {
    let seconds = i64::try_from(from_s).unwrap_or(i64::MAX);
    let start_time = time::OffsetDateTime::from_unix_timestamp(seconds).map_err(Unread::nats)?;
    let config = pull::OrderedConfig {
        filter_subject: subject,
        deliver_policy: DeliverPolicy::ByStartTime { start_time },
        ..pull::OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(Unread::nats)?;
    let pending = consumer.cached_info().num_pending;
    Ok((consumer.messages().await.map_err(Unread::nats)?, pending))
}

/// Everything that a query selects, in the order of time for each service, as long as somebody takes it. What came in late may be an entry
/// of its own.
pub(super) async fn read(nats: &Nats, query: &Query, entries: mpsc::Sender<Entry>) -> Result<(), Unread> {
    let partitions = match &query.selector.service {
        Some(service) => partition::of(service)..partition::of(service) + 1,
        None => 0..PARTITIONS,
    };
    let tier = tier(nats, query, now().second());
    for partition in partitions {
        let mut open = Open { query, sums: BTreeMap::new(), entries: &entries };
        let rolled = match tier {
            Some(tier) => read_tier(nats, tier, partition, &mut open).await?,
            None => None,
        };
        read_log(nats, partition, rolled, &mut open).await?;
        open.close(u64::MAX).await;
    }
    Ok(())
}

/// The coarsest that is as fine as wanted, or the finest that still has all of the time. `None` is the log itself.
fn tier(nats: &Nats, query: &Query, now_s: u64) -> Option<Tier> {
    let wanted = Tier::ALL.into_iter().rfind(|tier| query.resolution_s.max(1).is_multiple_of(tier.seconds()));
    let age_s = now_s.saturating_sub(query.from_s);
    let is_kept = |stream: &Stream| age_s <= stream.cached_info().config.max_age.as_secs();
    match wanted {
        None if is_kept(&nats.reports) => None,
        None | Some(Tier::Tens) if is_kept(nats.rolled_up(Tier::Tens)) => Some(Tier::Tens),
        _ => Some(Tier::Minutes),
    }
}

/// Entries that more may come for.
struct Open<'a> {
    query: &'a Query,
    sums: BTreeMap<(u64, Arc<SeriesKey>), Histograms>,
    entries: &'a mpsc::Sender<Entry>,
}

impl Open<'_> {
    fn entry(&mut self, second: u64, key: &Arc<SeriesKey>) -> Option<&mut Histograms> {
        let Query { from_s, to_s, resolution_s, .. } = *self.query;
        let is_selected = (from_s..to_s).contains(&second) && self.query.selector.selects(&series(key));
        let start = second / resolution_s.max(1) * resolution_s.max(1);
        is_selected.then(|| self.sums.entry((start, Arc::clone(key))).or_default())
    }

    /// Hands out those that begin before a time.
    async fn close(&mut self, before_s: u64) {
        while let Some(first) = self.sums.first_entry()
            && first.key().0 < before_s
        {
            let ((start_s, key), histograms) = first.remove_entry();
            // Whether it is still taken is asked before the next message.
            drop(self.entries.send(Entry { start_s, series: Arc::new(series(&key)), histograms }).await);
        }
    }

    /// Whether a message of this time is the last that can have something.
    fn is_over(&self, written: UnixMicros) -> bool {
        self.entries.is_closed() || written.second() > self.query.to_s.saturating_add(LATE_S)
    }
}

/// Up to which sequence of the log all is read.
async fn read_tier(
    nats: &Nats,
    tier: Tier,
    partition: Partition,
    open: &mut Open<'_>,
) -> Result<Option<LastRollUp>, Unread> {
    let Some(last) = last_roll_up(nats, tier, partition).await? else { return Ok(None) };
    let from_s = open.query.from_s.saturating_sub(AHEAD_S);
    let (mut messages, pending) = from_time(nats.rolled_up(tier), names::rolled_up(tier, partition), from_s).await?;
    if pending == 0 {
        return Ok(Some(last));
    }
    while let Some(message) = messages.next().await {
        let message = message.map_err(Unread::nats)?;
        let info = message.info().map_err(Unread::nats)?;
        let written = time_of(info.published);
        if info.stream_sequence > last.sequence || open.is_over(written) {
            break;
        }
        let rolled = RolledUp::decode(message.payload.clone()).map_err(Unread::damaged)?;
        for (key, start_s, sum) in roll_up::read(rolled).map_err(Unread::damaged)? {
            // What the span begins in is read whole.
            let within = start_s.max(open.query.from_s.min(start_s + tier.seconds() - 1));
            if let Some(entry) = open.entry(within, &key) {
                entry.merge(&sum);
            }
        }
        open.close(written.second().saturating_sub(LATE_S)).await;
        if info.stream_sequence == last.sequence {
            break;
        }
    }
    Ok(Some(last))
}

/// The log, after what is rolled up.
async fn read_log(
    nats: &Nats,
    partition: Partition,
    rolled: Option<LastRollUp>,
    open: &mut Open<'_>,
) -> Result<(), Unread> {
    let after = rolled.as_ref().map_or(0, |rolled| rolled.upto);
    // The end of a roll-up was written at most this long before it.
    let rolled_s = rolled.map_or(0, |rolled| rolled.written.second().saturating_sub(ROLL_UP_EVERY_S));
    let from_s = open.query.from_s.max(rolled_s).saturating_sub(AHEAD_S + AGAIN_S);
    let (mut messages, mut pending) = from_time(&nats.reports, names::reports(partition), from_s).await?;
    let mut logged = store::Logged::default();
    while pending > 0
        && let Some(message) = messages.next().await
    {
        let message = message.map_err(Unread::nats)?;
        let info = message.info().map_err(Unread::nats)?;
        let (written, sequence) = (time_of(info.published), info.stream_sequence);
        pending = info.pending;
        if open.is_over(written) {
            break;
        }
        let reports = message::decode(&message.payload).map_err(Unread::damaged)?;
        for Logged { second, deltas, .. } in new_ones(&mut logged, reports, written) {
            for delta in deltas.iter().filter(|_| sequence > after) {
                if let Some(entry) = open.entry(second, delta.series) {
                    roll_up::add(entry, delta);
                }
            }
        }
        open.close(written.second().saturating_sub(LATE_S)).await;
    }
    Ok(())
}

/// What was not counted yet.
pub(super) fn new_ones(
    logged: &mut store::Logged,
    reports: Vec<message::FromLog>,
    now: UnixMicros,
) -> impl Iterator<Item = Logged> {
    let is_new = move |report: &message::FromLog| logged.is_new(&report.reporter, report.floor, report.sequence, now);
    reports.into_iter().filter(is_new).map(|report| report.counted)
}

fn series(key: &SeriesKey) -> Series {
    let SeriesKey { service, route, release, pod, outcome, vantage } = key.clone();
    // The codes of `ingest.proto` are below 16.
    Series { service, route, release, pod, outcome: outcome as u8, vantage: vantage as u8 }
}
