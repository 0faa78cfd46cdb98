//! Does `serin gate` let a pipeline go on, or stop it, by its exit code? Verdicts that take long to reach come from a server that says
//! what a test wants; the rest from a real `serin serve`.

use std::{net::SocketAddr, pin::Pin};

use anyhow::{Context, Result};
use serin_proto::v1::{
    self, CompareRequest, CompareResponse, HistoryEntry, ListDecisionsRequest, ListDecisionsResponse,
    ListProxiesRequest, ListProxiesResponse, ReadHistoryRequest, ReadRecordingRequest, RecordingPart, Verdict,
    VerdictState, WatchVerdictsRequest,
    query_server::{Query, QueryServer},
};
use support::{artifacts, feed::Feed, serin, serin::Serin};
use tokio::{net::TcpListener, process::Command, task::JoinHandle};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, transport::Server};

/// Sends these, and then nothing or the end.
struct Says {
    verdicts: Vec<Verdict>,
    ends: bool,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Query for Says {
    type WatchVerdictsStream = Answers<Verdict>;
    type ReadRecordingStream = Answers<RecordingPart>;
    type ReadHistoryStream = Answers<HistoryEntry>;

    async fn compare(&self, _: Request<CompareRequest>) -> Result<Response<CompareResponse>, Status> {
        Ok(Response::new(CompareResponse::default()))
    }
    async fn list_decisions(
        &self,
        _: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list_proxies(&self, _: Request<ListProxiesRequest>) -> Result<Response<ListProxiesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn read_recording(
        &self,
        _: Request<ReadRecordingRequest>,
    ) -> Result<Response<Answers<RecordingPart>>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn read_history(&self, _: Request<ReadHistoryRequest>) -> Result<Response<Answers<HistoryEntry>>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn watch_verdicts(&self, _: Request<WatchVerdictsRequest>) -> Result<Response<Answers<Verdict>>, Status> {
        let said = tokio_stream::iter(self.verdicts.clone()).map(Ok);
        let answers: Answers<Verdict> =
            if self.ends { Box::pin(said) } else { Box::pin(said.chain(tokio_stream::pending())) };
        Ok(Response::new(answers))
    }
}

async fn server(verdicts: Vec<Verdict>, ends: bool) -> Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::builder().add_service(QueryServer::new(Says { verdicts, ends }));
    let serving = tokio::spawn(async move {
        let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
    });
    Ok((address, serving))
}

fn verdict(state: VerdictState, sentence: &str) -> Verdict {
    let [service, baseline, candidate, sentence] = ["shop", "v1", "v2", sentence].map(str::to_owned);
    Verdict { service, baseline, candidate, state: state.into(), sentence, ..v1::Verdict::default() }
}

async fn gate(service: &str, timeout: &str, server: SocketAddr) -> Result<(i32, String)> {
    gate_with(&[service, "--timeout", timeout], server).await
}

async fn gate_with(arguments: &[&str], server: SocketAddr) -> Result<(i32, String)> {
    let mut command = Command::new(artifacts::serin()?);
    command.arg("gate").args(arguments).args(["--server", &server.to_string()]).kill_on_drop(true);
    let output = command.output().await?;
    let said = String::from_utf8([output.stdout, output.stderr].concat())?;
    Ok((output.status.code().context("it was killed")?, said))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_release_passes() -> Result<()> {
    let gathering = verdict(VerdictState::Gathering, "no requests to v2 yet");
    let (address, serving) = server(vec![gathering, verdict(VerdictState::Healthy, "no slower")], false).await?;
    let (code, said) = gate("shop", "1m", address).await?;
    assert_eq!((code, said.as_str()), (0, "shop is healthy: v2 against v1: healthy: no slower\n"));
    serving.abort();
    Ok(())
}

/// v2 is healthy when the pipeline begins, and then v3 is on trial.
#[tokio::test(flavor = "multi_thread")]
async fn the_release_that_was_deployed_is_waited_for() -> Result<()> {
    let v2 = verdict(VerdictState::Healthy, "no slower");
    let v3 = Verdict { candidate: "v3".to_owned(), ..verdict(VerdictState::Regressed, "p99 slower: 1.44x") };
    let (address, serving) = server(vec![v2, v3], false).await?;
    let (code, said) = gate_with(&["shop", "--candidate", "v3", "--timeout", "1m"], address).await?;
    assert_eq!((code, said.as_str()), (1, "shop is regressed: v3 against v1: regressed: p99 slower: 1.44x\n"));
    let (code, said) = gate_with(&["shop", "--candidate", "v4", "--timeout", "300ms"], address).await?;
    assert_eq!((code, said.contains("undecided: v4 is not on trial yet: v3 against")), (2, true), "{said}");
    let (code, said) = gate_with(&["shop", "--since", "yesterday"], address).await?;
    assert_eq!((code, said.contains("or a time such as 2026-")), (2, true), "{said}");
    serving.abort();
    Ok(())
}

/// A trial of `canary` goes on when other pods get its label.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_of_before_is_not_enough() -> Result<()> {
    let healthy = |unix_s: u64, trial_s| {
        let unix_us = unix_s * 1_000_000;
        Verdict { unix_us, trial_s, ..verdict(VerdictState::Healthy, &format!("after {trial_s} s")) }
    };
    let (address, serving) = server(vec![healthy(1_700_000_300, 301), healthy(1_700_000_900, 60)], false).await?;
    let since = ["shop", "--since", "2023-11-14T22:13:20Z", "--timeout", "1m"];
    let (code, said) = gate_with(&since, address).await?;
    assert_eq!((code, said.as_str()), (0, "shop is healthy: v2 against v1: healthy: after 60 s\n"));
    serving.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_for_good_is_undecided() -> Result<()> {
    let (address, serving) = server(vec![verdict(VerdictState::Gathering, "no requests to v2 yet")], true).await?;
    let (code, said) = gate("shop", "500ms", address).await?;
    let want =
        format!("shop is undecided: v2 against v1: gathering: no requests to v2 yet: serin at {address} has stopped\n");
    assert_eq!((code, said), (2, want));
    serving.abort();
    let nobody = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let (code, said) = gate("shop", "200ms", nobody).await?;
    assert_eq!((code, said.contains("is `serin serve` running there?")), (2, true), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_release_is_stopped_and_stays_stopped() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let serin = Serin::start(&config, &dir.path().join("serin.log")).await?;
    let (code, said) = gate("shop", "300ms", serin.grpc).await?;
    assert_eq!((code, said.as_str()), (2, "shop is undecided: v2 against v1: gathering: no requests to v2 yet\n"));
    // At once, however long it would wait.
    let (code, said) = gate("shoe", "10m", serin.grpc).await?;
    assert_eq!((code, said.contains("`shoe` is not in the configuration")), (2, true), "{said}");

    let feed = Feed::start(serin.grpc);
    let (code, said) = gate("shop", "1m", serin.grpc).await?;
    assert_eq!((code, said.contains("regressed: errors: ")), (1, true), "{said}");
    drop(feed);
    let (code, said) = gate("shop", "1m", serin.grpc).await?;
    assert_eq!((code, said.contains("condemned, ")), (1, true), "{said}");
    Ok(())
}
