//! Where the pause is kept (IO), and that the engine goes by it: in a small file where one `serin serve` is alone, in the Lease where replicas
//! share one, in NATS where several aggregators share the work (docs/adr/0024-where-a-pause-lives.md).

mod file;

use std::sync::Arc;

use serde_json::{Value, json};
use serin_kubernetes::lease;

use crate::{
    cluster::Agreed,
    kubernetes::leader::Leader,
    safety::Pause,
    shell::{Handle, Stopped},
    time::UnixMicros,
};

pub use file::PauseFile;

/// Where it is kept.
#[derive(Clone)]
pub enum Keeper {
    /// On this machine.
    File(PauseFile),
    /// In the Lease of the replicas.
    Lease(Leader),
    /// In NATS.
    Shared(Arc<Agreed>),
}

/// Why it is not changed.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// The disk is full, for instance.
    #[error("it cannot be kept in data_dir: {0}")]
    File(#[from] std::io::Error),
    /// The API server does not take it.
    #[error("it cannot be kept in the Lease: {0}")]
    Lease(#[from] lease::NotKept),
    /// NATS does not take it.
    #[error("it cannot be kept in NATS: {0}")]
    Shared(String),
    /// The process is ending.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Keeper {
    /// Keeps a pause, or that there is none any more. When this returns it is kept, and the engine here goes by it.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn keep(&self, pause: Option<Pause>, engine: &Handle) -> Result<(), NotKept> {
        match self {
            Keeper::File(file) => {
                let (file, kept) = (file.clone(), pause.clone());
                let written = tokio::task::spawn_blocking(move || file.write(kept.as_ref())).await;
                written.map_err(std::io::Error::other)??;
                Ok(follow(engine, pause).await?)
            }
            Keeper::Lease(leader) => Ok(leader.pause(pause).await?),
            Keeper::Shared(agreed) => match agreed.pause(pause.as_ref()).await.map_err(NotKept::Shared)? {
                true => Ok(()),
                false => Ok(follow(engine, pause).await?),
            },
        }
    }
}

/// Has the engine go by a pause, or by there being none.
///
/// # Errors
/// When the process is ending.
pub async fn follow(engine: &Handle, pause: Option<Pause>) -> Result<(), Stopped> {
    let said = pause.as_ref().map(ToString::to_string);
    let is_new = engine.order(move |engine, _| (engine.pause(pause), Vec::new())).await?;
    match said.filter(|_| is_new) {
        Some(pause) => tracing::warn!("{pause}: decisions are made, nothing is written"),
        None if is_new => tracing::warn!("resumed: what was held back is written"),
        None => {}
    }
    Ok(())
}

/// As it is kept.
pub(crate) fn encode(pause: &Pause) -> Value {
    json!({
        "since_unix_us": pause.since.0,
        "until_unix_us": pause.until.map(|until| until.0),
        "reason": pause.reason,
    })
}

/// Back. What is not as serin writes it is a pause without an end: somebody wanted one. `place`: where it is.
pub(crate) fn decode(bytes: &[u8], place: &str, now: UnixMicros) -> Pause {
    let read = || {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let until = match value.get("until_unix_us")? {
            Value::Null => None,
            until => Some(UnixMicros(until.as_u64()?)),
        };
        let since = UnixMicros(value.get("since_unix_us")?.as_u64()?);
        Some(Pause { since, until, reason: value.get("reason")?.as_str()?.to_owned() })
    };
    read().unwrap_or_else(|| unreadable(place, &"it is not what serin writes", now))
}

fn unreadable(place: &str, error: &dyn std::fmt::Display, now: UnixMicros) -> Pause {
    Pause { since: now, until: None, reason: format!("{place} cannot be read: {error}") }
}
