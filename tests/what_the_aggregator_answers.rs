//! What does a client of the query API get: health, reflection, verdicts as they are, and errors that say why?

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use serin_proto::v1::{
    ClearRequest, CompareRequest, VerdictState, WatchVerdictsRequest, control_client::ControlClient,
};
use support::{artifacts, poll, serin, serin::Serin};
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const SOON: Duration = Duration::from_secs(10);

async fn serin() -> Result<(TempDir, Serin, String)> {
    let dir = tempfile::tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let serin = Serin::start(&config, &dir.path().join("serin.log")).await?;
    let address = format!("http://{}", serin.grpc);
    Ok((dir, serin, address))
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection() -> Result<()> {
    let (_dir, serin, address) = serin().await?;
    let channel = tonic::transport::Channel::from_shared(address)?.connect().await?;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "serin.v1.Ingest", "serin.v1.Query", "serin.v1.Control"] {
        let serving = async || {
            let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await;
            Ok(answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving).then_some(()))
        };
        poll::until("the service to be healthy", SOON, serving).await.context(service)?;
    }
    assert_eq!(poll::get(serin.metrics, "/healthz").await.as_deref(), Some("ok\n"));

    let mut reflection = ServerReflectionClient::new(channel);
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut answers = reflection.server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
    let answer = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    for service in ["serin.v1.Ingest", "serin.v1.Query", "serin.v1.Control", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_and_errors() -> Result<()> {
    let (_dir, serin, address) = serin().await?;
    let watch = WatchVerdictsRequest { service: "shop".into() };
    let mut verdicts = serin.query().watch_verdicts(watch).await?.into_inner();
    let first = tokio::time::timeout(SOON, verdicts.message()).await??.context("no verdict at once")?;
    assert_eq!((first.state(), first.sentence.as_str()), (VerdictState::Gathering, "no requests to v2 yet"));

    let unknown = CompareRequest { service: "shoe".into(), window_s: 0 };
    let error = serin.query().compare(unknown).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("service `shoe` is not in the configuration"), "{}", error.message());

    let clear = ClearRequest { service: "shop".into(), release: "v2".into() };
    let error = ControlClient::connect(address).await?.clear(clear).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("release `v2` of service `shop`: it is not condemned"), "{}", error.message());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line() -> Result<()> {
    let (dir, serin, _) = serin().await?;
    let run = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = Command::new(artifacts::serin()?).args(arguments).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8(said)?))
    };
    let server = serin.grpc.to_string();
    let (code, said) = run(&["compare", "shop", "--server", &server])?;
    assert_eq!(code, Some(0));
    assert!(said.starts_with("shop ") && said.ends_with("gathering: no requests to v2 yet\n"), "{said}");
    let (code, said) = run(&["compare", "shoe", "--server", &server])?;
    assert_eq!((code, said.contains("`shoe` is not in the configuration")), (Some(1), true), "{said}");
    let (code, said) = run(&["decisions", "--server", "127.0.0.1:1"])?;
    assert_eq!((code, said.contains("is `serin serve` running there?")), (Some(1), true), "{said}");

    let wrong = dir.path().join("wrong.yaml");
    std::fs::write(
        &wrong,
        "services:\n- name: shop\n  vantage: gatewy\n  baseline: v1\n  candidate: v2\n  colour: red\n",
    )?;
    for command in [&["check", wrong.to_str().unwrap()][..], &["serve", "--config", wrong.to_str().unwrap()][..]] {
        let (code, said) = run(command)?;
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("services[0].vantage: `gatewy`") && said.contains("services[0].colour"), "{said}");
    }
    Ok(())
}
