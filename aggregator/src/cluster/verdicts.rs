//! What is shown and not kept (IO): verdicts, and what waits for a response, between aggregators.

use prost::Message;
use serin_proto::v1::Verdict;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

use super::{Nats, message, names};
use crate::{
    engine::Shared,
    shell::{Abroad, Handle},
};

/// Passes on what others are to know, until the engine is gone.
pub(super) async fn tell(nats: Nats, mut abroad: mpsc::Receiver<Abroad>) {
    while let Some(told) = abroad.recv().await {
        let messages = match told {
            Abroad::Verdict(verdict) => vec![(names::VERDICTS.to_owned(), verdict.encode_to_vec())],
            Abroad::Waiting(reporter, waiting) => {
                let messages = message::encode_waiting(&reporter, &waiting).into_iter();
                messages.map(|(partition, bytes)| (names::waiting(partition), bytes)).collect()
            }
        };
        for (subject, bytes) in messages {
            // It is said again within seconds.
            drop(nats.client.publish(subject, bytes.into()).await);
        }
    }
}

/// Takes the verdicts of others, until the engine is gone.
pub(super) async fn listen(nats: Nats, engine: Handle) {
    let Ok(mut shown) = nats.client.subscribe(names::VERDICTS).await else { return };
    while let Some(message) = shown.next().await {
        let Ok(verdict) = Verdict::decode(message.payload) else { continue };
        if engine.event(Shared::Shown(Box::new(verdict)).into()).await.is_err() {
            return;
        }
    }
}
