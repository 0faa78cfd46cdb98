//! What does a report that breaks the rules do? It is refused with a status that says why, and counted; its stream
//! ends; nothing of it is kept, and nobody else notices.

use std::time::Duration;

use anyhow::{Context, Result};
use serin_proto::v1::{
    Distribution, Outcome, ReportRequest, ReportResponse, Series, SeriesDelta, ingest_client::IngestClient,
};
use support::{poll, serin, serin::Serin};
use tempfile::TempDir;
use tonic::{Code, Status, Streaming};

const SOON: Duration = Duration::from_secs(20);

async fn serin() -> Result<(TempDir, Serin)> {
    let dir = tempfile::tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let serin = Serin::start(&config, &dir.path().join("serin.log")).await?;
    Ok((dir, serin))
}

fn hello(node_id: &str) -> ReportRequest {
    let reporter = support::reporter::gateway(node_id, 1);
    ReportRequest { reporter: Some(reporter), interval_ms: 1_000, ..Default::default() }
}

/// Three requests to v1.
fn report(sequence: u64) -> ReportRequest {
    let series = Series {
        id: u32::try_from(sequence).unwrap_or(0),
        service: "shop".into(),
        route: "all".into(),
        release: "v1".into(),
        pod: String::new(),
        outcome: Outcome::Success.into(),
    };
    let total = Some(Distribution { bucket_gaps: vec![500], counts: vec![3] });
    let deltas = vec![SeriesDelta { series: series.id, upstream: None, total, retries: 0 }];
    ReportRequest { sequence, interval_ms: 1_000, new_series: vec![series], deltas, ..Default::default() }
}

async fn send(serin: &Serin, messages: Vec<ReportRequest>) -> Result<Streaming<ReportResponse>> {
    let mut client = IngestClient::connect(format!("http://{}", serin.grpc)).await?;
    let stream = tokio_stream::StreamExt::chain(tokio_stream::iter(messages), tokio_stream::pending());
    Ok(client.report(stream).await?.into_inner())
}

/// The highest acknowledgement, and how the stream ended.
async fn end(mut answers: Streaming<ReportResponse>) -> Result<(u64, Status)> {
    let mut acked = 0;
    loop {
        match tokio::time::timeout(SOON, answers.message()).await.context("the stream did not end")? {
            Ok(Some(answer)) => acked = answer.acked_sequence,
            Ok(None) => return Ok((acked, Status::ok("ended"))),
            Err(status) => return Ok((acked, status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn is_refused_and_counted_and_disturbs_nobody() -> Result<()> {
    let (_dir, serin) = serin().await?;
    let mut bystander = send(&serin, vec![hello("bystander"), report(1)]).await?;
    assert_eq!(bystander.message().await?.map(|answer| answer.acked_sequence), Some(1));

    let huge = || {
        let mut message = report(2);
        message.deltas[0].total = Some(Distribution { bucket_gaps: vec![1; 700_000], counts: vec![1; 700_000] });
        message
    };
    let mut out_of_range = report(2);
    out_of_range.deltas[0].total = Some(Distribution { bucket_gaps: vec![2_960], counts: vec![1] });
    let cases = [
        ("nobody", vec![report(1)], 0, Code::InvalidArgument, "who reports"),
        ("jumps", vec![hello("jumps"), report(1), report(3)], 1, Code::InvalidArgument, "does not follow 1"),
        (
            "range",
            vec![hello("range"), report(1), out_of_range],
            1,
            Code::InvalidArgument,
            "bucket 2960 does not exist",
        ),
        ("huge", vec![hello("huge"), report(1), huge()], 1, Code::OutOfRange, "too large"),
    ];
    let refused = cases.len() as u64;
    for (name, messages, acked, code, says) in cases {
        let (got, status) = end(send(&serin, messages).await?).await?;
        // What was good before may not be on disk yet, and is not acknowledged then.
        assert!(got <= acked && status.code() == code, "{name}: {got} acknowledged, {status}");
        assert!(status.message().contains(says), "{name}: {}", status.message());
    }

    let metrics = poll::get(serin.metrics, "/metrics").await.context("no metrics")?;
    assert!(metrics.contains(&format!("serin_reports_total{{result=\"refused\"}} {refused}\n")), "{metrics}");
    // The bystander's report, and the good first one of the three that went wrong later.
    assert_eq!(serin.requests(&[]).await?, 4 * 3);
    let still_open = tokio::time::timeout(Duration::ZERO, bystander.message()).await;
    assert!(still_open.is_err(), "the bystander's stream ended: {still_open:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_is_acknowledged_and_changes_nothing() -> Result<()> {
    let (_dir, serin) = serin().await?;
    for _ in 0..3 {
        let mut answers = send(&serin, vec![hello("again"), report(1), report(2)]).await?;
        let mut acked = 0;
        while acked < 2 {
            let answer = tokio::time::timeout(SOON, answers.message()).await.context("not acknowledged")??;
            acked = answer.context("the stream ended")?.acked_sequence;
        }
    }
    assert_eq!(serin.requests(&[]).await?, 2 * 3);
    Ok(())
}
