//! Does a real Prometheus take the histograms by remote write, and are they what was counted?

use std::{fs, sync::Arc, sync::atomic::Ordering, time::Duration};

use anyhow::Result;
use support::{
    poll,
    prometheus::{self, Prometheus},
    reporter::{self, Says, Told},
    serin::{self, Serin},
};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn as_native_ones() -> Result<()> {
    let Some(program) = prometheus::program("prometheus")? else {
        eprintln!("skipped: prometheus is not installed");
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let arguments = ["--enable-feature=native-histograms", "--web.enable-remote-write-receiver"];
    let prometheus = Prometheus::start(&program, &[], &arguments, &dir.path().join("prometheus")).await?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let export =
        format!("export: {{ remote_write: {{ url: \"http://{}/api/v1/write\", every: 1s }} }}\n", prometheus.address);
    // `shop` is judged by the upstream's timing, which the reporter does not have.
    let text = fs::read_to_string(&config)?.replace("  vantage: gateway\n", "  vantage: gateway\n  timing: total\n");
    fs::write(&config, text + &export)?;
    let serin = Serin::start(&config, &dir.path().join("serin.log")).await?;
    let told = Arc::new(Told::default());
    let says = Says { node: "node".to_owned(), service: "shop".to_owned(), series: 4 };
    let reporting = tokio::spawn(reporter::run(serin.grpc, says, Arc::clone(&told)));
    let some = async || Ok((told.requests.load(Ordering::Relaxed) > 1_000).then_some(()));
    poll::until("some requests to be counted", SOON, some).await?;
    told.is_enough.store(true, Ordering::Relaxed);
    reporting.await??;
    let sent = told.requests.load(Ordering::Relaxed) as f64;
    let of = "serin_request_duration_seconds{service=\"shop\",release=\"v1\",timing=\"total\"}";
    let all = async || Ok(prometheus.value(&format!("histogram_count({of})")).await?.filter(|count| *count == sent));
    poll::until("all to be written", SOON, all).await?;
    // Requests take 20 to 65 ms in steps of 5 ms: a tenth of them each, so half of them took up to 40 ms.
    let median = prometheus.value(&format!("histogram_quantile(0.5, {of})")).await?;
    assert!(median.is_some_and(|median| (0.039..0.046).contains(&median)), "{median:?}");
    assert!(serin.metric("serin_exports_total", &[("to", "remote_write")]).await? > 0);
    assert_eq!(serin.metric("serin_export_failures_total", &[]).await?, 0);
    // One that is away is said once, and the next one has everything again.
    drop(prometheus);
    let failed = async || Ok((serin.metric("serin_export_failures_total", &[]).await? > 1).then_some(()));
    poll::until("it to fail", SOON, failed).await?;
    assert_eq!(serin.process.log().matches("does not take histograms").count(), 1, "{}", serin.process.log());
    Ok(())
}
