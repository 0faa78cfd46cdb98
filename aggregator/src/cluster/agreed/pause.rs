//! The pause of all aggregators, beside the decisions: who knows those knows it, and nobody judges before (IO).

use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation};
use serde_json::Value;

use super::Agreed;
use crate::{
    paused,
    safety::Pause,
    shell::{Handle, Stopped, now},
};

/// Decisions have numbers for keys.
pub(super) const KEY: &str = "pause";
/// How long it may take to be read back, which takes milliseconds unless NATS is being connected to.
const READ_BACK_WITHIN: Duration = Duration::from_secs(5);

impl Agreed {
    /// Keeps a pause, or that there is none any more: of several orders the last one holds. Every aggregator reads it, this one, too: whether it
    /// did when this returns.
    ///
    /// # Errors
    /// When NATS does not keep it.
    pub async fn pause(&self, pause: Option<&Pause>) -> Result<bool, String> {
        let value = pause.map_or(Value::Null, paused::encode).to_string();
        let put = self.nats.decisions.put(KEY, value.into()).await;
        let revision = put.map_err(|error| error.to_string())?;
        let mut followed = self.followed.subscribe();
        let read_back = followed.wait_for(|followed| *followed >= revision);
        Ok(tokio::time::timeout(READ_BACK_WITHIN, read_back).await.is_ok_and(|read_back| read_back.is_ok()))
    }

    /// Has the engine go by what is kept.
    pub(super) async fn follow_pause(&self, entry: &Entry, engine: &Handle) -> Result<(), Stopped> {
        let is_none = entry.operation != Operation::Put || entry.value.as_ref() == b"null";
        let place = "the pause that is kept in NATS";
        let pause = (!is_none).then(|| paused::decode(&entry.value, place, now()));
        paused::follow(engine, pause).await?;
        self.followed.send_replace(entry.revision);
        Ok(())
    }
}
