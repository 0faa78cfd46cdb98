//! Does a decision reach those whom `notify` names: a webhook, and a real Alertmanager where there is one?

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use http::Response;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{rt::TokioExecutor, rt::TokioIo, server::conn::auto};
use serde_json::Value;
use serin_proto::v1::{ClearRequest, control_client::ControlClient};
use support::{feed::Feed, poll, process::Process, serin, serin::Serin};
use tokio::net::TcpListener;

const SOON: Duration = Duration::from_secs(20);
const DECIDED_WITHIN: Duration = Duration::from_secs(60);

type Bodies = Arc<Mutex<Vec<Value>>>;

/// Takes whatever is posted.
async fn webhook() -> Result<(SocketAddr, Bodies)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let bodies = Bodies::default();
    let taken = Arc::clone(&bodies);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let taken = Arc::clone(&taken);
            let take = service_fn(move |request: Request<Incoming>| {
                let taken = Arc::clone(&taken);
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    taken.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                    Ok::<_, hyper::Error>(Response::new(Empty::<bytes::Bytes>::new()))
                }
            });
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), take).await;
            });
        }
    });
    Ok((address, bodies))
}

async fn start(dir: &Path, notify: &str) -> Result<Serin> {
    let config = serin::configure(dir, &dir.join("rds.yaml"))?;
    let text = fs::read_to_string(&config)?;
    fs::write(&config, format!("{text}notify:\n{notify}"))?;
    Serin::start(&config, &dir.join("serin.log")).await
}

async fn clear(serin: &Serin) -> Result<()> {
    let mut control = ControlClient::connect(format!("http://{}", serin.grpc)).await?;
    let request = || ClearRequest { service: "shop".into(), release: "v2".into() };
    // Not while its rollback is being written.
    poll::until("v2 to be cleared", SOON, async || Ok(control.clear(request()).await.is_ok().then_some(()))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_every_stage() -> Result<()> {
    let (address, bodies) = webhook().await?;
    let nobody = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let dir = tempfile::tempdir()?;
    let notify = format!("- slack: {{ url: 'http://{nobody}/secret' }}\n- webhook: {{ url: 'http://{address}' }}\n");
    let serin = start(dir.path(), &notify).await?;
    let feed = Feed::start(serin.grpc);
    let stages = || -> Vec<String> {
        bodies.lock().unwrap().iter().map(|body| body["stage"].as_str().unwrap().to_owned()).collect()
    };
    // The file to write is not there.
    let told = async || Ok((stages().len() >= 2).then_some(()));
    poll::until("the webhook to be told", DECIDED_WITHIN, told).await?;
    drop(feed);
    assert_eq!(stages()[..2], ["decided", "failed"]);
    clear(&serin).await?;
    poll::until("to be told that it is cleared", SOON, async || {
        Ok((stages().last().is_some_and(|last| last == "cleared")).then_some(()))
    })
    .await?;
    let first = bodies.lock().unwrap()[0].clone();
    assert_eq!((&first["service"], &first["candidate"], &first["decision"]), (&"shop".into(), &"v2".into(), &1.into()));
    assert!(first["sentence"].as_str().unwrap().starts_with("errors: "), "{first}");
    let sent = serin.metric("serin_notifications_total", &[("receiver", "1-webhook"), ("result", "sent")]).await?;
    assert!(sent >= 3, "{sent}");
    assert!(!serin.process.log().contains("secret"), "{}", serin.process.log());
    Ok(())
}

/// A port that was free a moment ago: Alertmanager does not say which one it got.
async fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_takes_the_alerts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("alertmanager.yml");
    fs::write(&config, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n")?;
    let address = free().await?;
    let program = std::env::var("ALERTMANAGER").unwrap_or_else(|_| "prometheus-alertmanager".to_owned());
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config.display())).arg(format!("--web.listen-address={address}"));
    command.arg(format!("--storage.path={}", dir.path().join("data").display())).arg("--cluster.listen-address=");
    let Ok(mut alertmanager) = Process::start("alertmanager", command, dir.path().join("alertmanager.log")) else {
        eprintln!(
            "skipped: there is no alertmanager (Debian: apt-get install prometheus-alertmanager, or set ALERTMANAGER)"
        );
        return Ok(());
    };
    poll::until("alertmanager to be ready", SOON, async || {
        alertmanager.must_be_running()?;
        Ok(poll::get(address, "/-/ready").await.map(|_| ()))
    })
    .await?;

    let serin = start(dir.path(), &format!("- alertmanager: {{ url: 'http://{address}' }}\n")).await?;
    let feed = Feed::start(serin.grpc);
    let names = async || -> Result<Vec<String>> {
        let text = poll::get(address, "/api/v2/alerts").await.context("no alerts")?;
        let alerts: Vec<Value> = serde_json::from_str(&text)?;
        let mut names: Vec<_> =
            alerts.iter().map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned()).collect();
        names.sort();
        Ok(names)
    };
    let both = ["SerinReleaseCondemned", "SerinRollbackFailed"];
    poll::until("both alerts to fire", DECIDED_WITHIN, async || Ok((names().await? == both).then_some(()))).await?;
    drop(feed);
    clear(&serin).await?;
    poll::until("both alerts to be resolved", SOON, async || Ok(names().await?.is_empty().then_some(()))).await
}
