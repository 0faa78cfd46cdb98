//! One partition that this aggregator has (IO): from the log to the engine, and to the roll-ups.

use std::{sync::Arc, time::Duration};

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use prost::Message;
use tokio_stream::StreamExt;

use super::{
    Agreed, Nats, message, names,
    past::{self, LastRollUp, Unread},
    roll_up::{Roller, Tier},
};
use crate::{
    engine::{Logged, Shared, Taken},
    partition::Partition,
    shell::{Handle, Stopped, now},
    store,
};

/// After something failed it is begun again from the log.
const BEGIN_AGAIN: Duration = Duration::from_secs(1);

/// What a partition needs.
#[derive(Clone)]
pub(super) struct Partitioned {
    pub(super) nats: Nats,
    pub(super) agreed: Arc<Agreed>,
    pub(super) engine: Handle,
    pub(super) live_window: Duration,
}

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error("it was rolled up by another aggregator")]
    RolledUpElsewhere,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Judges a partition until it is dropped or the engine is gone. Whatever fails, it begins again from the log.
pub(super) async fn run(partition: Partition, with: Partitioned) {
    loop {
        match judge(partition, &with).await {
            Err(Ended::Stopped(_)) => return,
            Err(ended) => tracing::warn!(partition, "begins again from the log: {ended}"),
            Ok(()) => tracing::warn!(partition, "begins again from the log, which ended"),
        }
        tokio::time::sleep(BEGIN_AGAIN).await;
    }
}

async fn judge(partition: Partition, with: &Partitioned) -> Result<(), Ended> {
    let Partitioned { nats, engine, .. } = with;
    let mut ahead = Ahead::read(nats, partition).await?;
    let mut waiting = nats.client.subscribe(names::waiting(partition)).await.map_err(Unread::nats)?;
    let (mut messages, mut pending) =
        past::from_time(&nats.reports, names::reports(partition), ahead.begin_s(with.live_window)).await?;
    let mut reports = Vec::new();
    let live_s = now().minus(with.live_window).second();
    while pending > 0
        && let Some(message) = messages.next().await
    {
        let message = message.map_err(Unread::nats)?;
        pending = message.info().map_err(Unread::nats)?.pending;
        reports.extend(ahead.take(&message)?.into_iter().filter(|report| report.second >= live_s));
        ahead.roll_up_if_full(nats).await?;
    }
    tracing::info!(partition, reports = reports.len(), "judging from the log");
    engine.event(Shared::Took(partition, Taken { reports, decisions: with.agreed.of(partition) }).into()).await?;
    let mut roll_up = tokio::time::interval(Duration::from_secs(past::ROLL_UP_EVERY_S));
    roll_up.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return Ok(()) };
                let reports = ahead.take(&message.map_err(Unread::nats)?)?;
                engine.event(Shared::Logged(partition, reports).into()).await?;
                ahead.roll_up_if_full(nats).await?;
            }
            Some(message) = waiting.next() => {
                let (reporter, waiting) = message::decode_waiting(&message.payload).map_err(Unread::damaged)?;
                engine.event(Shared::Waits(partition, reporter, waiting).into()).await?;
            }
            _ = roll_up.tick() => ahead.roll_up(nats).await?,
        }
    }
}

/// What was read of the log, and is not rolled up.
struct Ahead {
    partition: Partition,
    logged: store::Logged,
    tiers: Vec<Rolling>,
}

struct Rolling {
    tier: Tier,
    roller: Roller,
    last: Option<LastRollUp>,
}

impl Ahead {
    /// Goes on behind what is rolled up.
    async fn read(nats: &Nats, partition: Partition) -> Result<Self, Unread> {
        let mut tiers = Vec::new();
        for tier in Tier::ALL {
            let last = past::last_roll_up(nats, tier, partition).await?;
            let roller = Roller::new(tier, last.as_ref().map_or(0, |last| last.upto));
            tiers.push(Rolling { tier, roller, last });
        }
        Ok(Ahead { partition, logged: store::Logged::default(), tiers })
    }

    /// Where to begin: with what is judged again, what is to be rolled up, and what may come again.
    fn begin_s(&self, live_window: Duration) -> u64 {
        let before = past::ROLL_UP_EVERY_S + past::AGAIN_S;
        let rolled = self.tiers.iter().map(|tier| tier.last.as_ref().map_or(0, |last| last.written.second()));
        let rolled_s = rolled.min().unwrap_or_default().saturating_sub(before);
        now().minus(live_window).second().min(rolled_s)
    }

    fn take(&mut self, message: &async_nats::jetstream::Message) -> Result<Vec<Logged>, Unread> {
        let info = message.info().map_err(Unread::nats)?;
        let (sequence, written) = (info.stream_sequence, past::time_of(info.published));
        let reports = message::decode(&message.payload).map_err(Unread::damaged)?;
        let new: Vec<Logged> = past::new_ones(&mut self.logged, reports, written).collect();
        self.tiers.iter_mut().for_each(|tier| tier.roller.add(sequence, &new));
        Ok(new)
    }

    async fn roll_up_if_full(&mut self, nats: &Nats) -> Result<(), Ended> {
        for tier in self.tiers.iter_mut().filter(|tier| tier.roller.is_full()) {
            tier.roll_up(nats, self.partition).await?;
        }
        Ok(())
    }

    async fn roll_up(&mut self, nats: &Nats) -> Result<(), Ended> {
        self.logged.forget(now());
        for tier in &mut self.tiers {
            tier.roll_up(nats, self.partition).await?;
        }
        Ok(())
    }
}

impl Rolling {
    /// Writes the roll-up behind the last one, if no other was written meanwhile.
    async fn roll_up(&mut self, nats: &Nats, partition: Partition) -> Result<(), Ended> {
        let Some(rolled) = self.roller.close() else { return Ok(()) };
        let after = self.last.as_ref().map_or(0, |last| last.sequence);
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, after.to_string().as_str());
        let subject = names::rolled_up(self.tier, partition);
        let sent = nats.jetstream.publish_with_headers(subject, headers, rolled.encode_to_vec().into()).await;
        let written = match sent {
            Ok(written) => written.await,
            Err(error) => Err(error),
        };
        match written {
            Ok(written) => {
                self.last = Some(LastRollUp { upto: rolled.upto, sequence: written.sequence, written: now() });
                Ok(())
            }
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(Ended::RolledUpElsewhere),
            Err(error) => Err(Unread::nats(error).into()),
        }
    }
}
