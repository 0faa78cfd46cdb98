//! What do Argo Rollouts and Flagger get when they ask `serin serve`, before and after a release is found to be bad?

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use support::{feed::Feed, poll, serin, serin::Serin};

const DECIDED_WITHIN: Duration = Duration::from_secs(60);

/// What Flagger posts.
pub(crate) async fn flagger(address: SocketAddr, hook: &str, body: &'static str) -> Result<(StatusCode, String)> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{address}/flagger/{hook}")).header("content-type", "application/json");
    let answer = client.request(request.body(Full::from(body))?).await?;
    let status = answer.status();
    Ok((status, String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?))
}

#[tokio::test(flavor = "multi_thread")]
async fn other_controllers_ask_for_the_verdict() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let serin = Serin::start(&config, &dir.path().join("serin.log")).await?;
    let verdict = async || -> Result<Value> {
        let text = poll::get(serin.metrics, "/v1/verdict/shop").await.context("no verdict")?;
        Ok(serde_json::from_str(&text)?)
    };
    let canary =
        r#"{"name": "a-canary", "namespace": "test", "phase": "Progressing", "metadata": {"service": "shop"}}"#;
    let hooks = async || -> Result<[StatusCode; 3]> {
        let mut got = [StatusCode::OK; 3];
        for (at, hook) in ["rollout", "promotion", "rollback"].into_iter().enumerate() {
            got[at] = flagger(serin.metrics, hook, canary).await?.0;
        }
        Ok(got)
    };
    let before = verdict().await?;
    assert_eq!((&before["verdict"], &before["condemned"]), (&"gathering".into(), &false.into()), "{before}");
    assert_eq!(before["sentence"], "no requests to v2 yet");
    assert_eq!(hooks().await?, [StatusCode::OK, StatusCode::CONFLICT, StatusCode::CONFLICT]);

    assert_eq!(poll::get(serin.metrics, "/v1/verdict/shoe").await, None);
    let (status, said) = flagger(serin.metrics, "rollback", r#"{"name": "shoe"}"#).await?;
    assert_eq!((status, said.contains("`shoe` is not in the configuration")), (StatusCode::NOT_FOUND, true), "{said}");
    assert_eq!(flagger(serin.metrics, "rollback", "shop").await?.0, StatusCode::BAD_REQUEST);

    let _feed = Feed::start(serin.grpc);
    let condemned = async || Ok((verdict().await?["condemned"] == true).then_some(()));
    poll::until("v2 to be condemned", DECIDED_WITHIN, condemned).await?;
    assert_eq!(hooks().await?, [StatusCode::CONFLICT, StatusCode::CONFLICT, StatusCode::OK]);
    Ok(())
}
