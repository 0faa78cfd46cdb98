//! `/healthz`: whether it works, or is to be started again. `/readyz`: whether reports are to be sent here, which is where they are acted on.

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use tokio::sync::watch;

use crate::{engine::Overload, kubernetes::leader::Leader, shell::Handle};

/// How long the engine may take to answer before it counts as stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

type Answer = (StatusCode, String);

/// Both paths. `storing`: whether the last decision could be kept. `keeping`: whether reports are.
pub fn routes(
    engine: Handle,
    storing: watch::Receiver<bool>,
    keeping: watch::Receiver<bool>,
    leader: Leader,
) -> Router {
    let health = Health { engine, storing, keeping, leader };
    let ready = health.clone();
    Router::new()
        .route("/healthz", get(async move || health.look().await.unwrap_or_else(|ill| ill)))
        .route("/readyz", get(async move || ready.ready().await))
}

#[derive(Clone)]
struct Health {
    engine: Handle,
    storing: watch::Receiver<bool>,
    keeping: watch::Receiver<bool>,
    leader: Leader,
}

impl Health {
    /// What is to be said of one who serves, or why it does not.
    async fn look(&self) -> Result<Answer, Answer> {
        let ill = |said: &str| Err((StatusCode::SERVICE_UNAVAILABLE, said.to_owned()));
        let asked = self.engine.ask(|engine, now| (engine.overload(), engine.safety().said(now)));
        let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
        let Ok(Ok((overload, safety))) = answer else { return ill("the engine does not answer: restart serin\n") };
        if !*self.storing.borrow() {
            return ill("the last decision could not be kept: check the disk of data_dir\n");
        }
        Ok((StatusCode::OK, said(overload, *self.keeping.borrow(), self.leader.is_leader(), &safety)))
    }

    async fn ready(&self) -> Answer {
        match self.look().await {
            Ok((_, said)) if !self.leader.is_leader() => (StatusCode::SERVICE_UNAVAILABLE, said),
            Ok(answer) | Err(answer) => answer,
        }
    }
}

/// Judging goes on from memory and for the services that are let in, so traffic is guarded; and a restart would mend neither a disk nor an
/// overload.
fn said(overload: Overload, keeping: bool, leads: bool, safety: &str) -> String {
    let Overload { lag, services, shed } = overload;
    let mut said = "ok".to_owned();
    if !leads {
        said += ", standby: another replica holds the Lease and acts";
    }
    if !keeping {
        said += ", but reports are not kept on disk: see the log";
    }
    if shed > 0 {
        let lag_ms = lag.as_millis();
        said += &format!(
            ", but overloaded: {shed} of {services} services are shed and their filters keep what they count, reports wait {lag_ms} ms; \
             give serin more CPU or a faster disk, or have filters report fewer series"
        );
    }
    said + safety + "\n"
}
