//! A real Prometheus scrapes `/metrics`: are the counts exact, and the quantiles Serin's own? Every query of `docs/prometheus.md` is asked.

use std::time::Duration;

use anyhow::{Context, Result};
use serin_proto::v1::Quantile;
use support::{
    artifacts,
    gateway::{ACCESS_LOG, Shop},
    load::{self, Plan, Protocol},
    poll,
    prometheus::{self, Prometheus},
    rig::Rig,
};

const SOON: Duration = Duration::from_secs(30);
const REQUESTS: u64 = 3_000;
/// Half a bucket of Serin's, once for what it says itself and once for the middle that the native bucket was chosen by, and a native bucket.
const BUCKETS: f64 = 1.0 + 2.0 * 0.004 + 0.0219;

/// The queries that the documentation has, between ```promql and ```.
fn documented() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(artifacts::root().join("docs/prometheus.md"))?;
    let blocks = text.split("```promql\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let lines = blocks.flat_map(|(block, _)| block.lines());
    Ok(lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn as_text_and_with_native_histograms() -> Result<()> {
    let (Some(program), Some(promtool)) = (prometheus::program("prometheus")?, prometheus::program("promtool")?) else {
        eprintln!("skipped: prometheus and promtool are not installed");
        return Ok(());
    };
    let rig = Rig::start(Shop::open(2, 0.3).await?, ACCESS_LOG).await?;
    let serin = rig.serin().await?;
    let scraped = [serin.metrics];
    let native = ["--enable-feature=native-histograms"];
    let native = Prometheus::start(&program, &scraped, &native, &rig.shop.dir().join("native")).await?;
    let classic = Prometheus::start(&program, &scraped, &[], &rig.shop.dir().join("classic")).await?;
    let tally = load::run(Plan { requests: REQUESTS, ..Plan::new(rig.envoy.address, Protocol::Http1) }).await?;
    assert_eq!((rig.agree(&serin).await?, tally.ok), (REQUESTS, REQUESTS));

    for (name, prometheus) in [("native", &native), ("classic", &classic)] {
        let counted =
            async || Ok(prometheus.value("sum(serin_requests_total)").await?.filter(|n| *n == REQUESTS as f64));
        poll::until("the last scrape", SOON, counted).await.with_context(|| name.to_owned())?;
        assert_eq!(prometheus.value("min(up)").await?, Some(1.0), "{name}");
    }
    let both = serin.compare(0).await?;
    for release in [both.baseline.context("no baseline")?, both.candidate.context("no candidate")?] {
        let of = format!("serin_request_duration_seconds{{release=\"{}\"}}", release.release);
        let count = native.value(&format!("histogram_count({of})")).await?;
        assert_eq!(count, Some(release.requests as f64), "{of}");
        let below = of.replace("_seconds{", "_seconds_bucket{le=\"+Inf\",");
        assert_eq!(classic.value(&below).await?, Some(release.requests as f64), "{below}");
        for Quantile { quantile, latency_us } in release.quantiles {
            let own = latency_us as f64 / 1e6;
            let query = format!("histogram_quantile({quantile}, {of})");
            let theirs = native.value(&query).await?.with_context(|| query.clone())?;
            assert!((own / BUCKETS..own * BUCKETS).contains(&theirs), "{query}: {theirs} s, and Serin's own {own} s");
            let shown = native
                .value(
                    &of.replace("serin_request_duration", "serin_latency")
                        .replace('}', &format!(",percentile=\"p{}\"}}", (quantile * 1e5).round() / 1e3)),
                )
                .await?;
            assert_eq!(shown, Some(own), "within two minutes of the start all of it is recent");
        }
    }
    let text = poll::get(serin.metrics, "/metrics").await.context("no /metrics")?;
    assert_eq!(prometheus::promtool(&promtool, &["check", "metrics"], &text)?, "");
    let queries = documented()?;
    assert!(queries.len() >= 8, "{queries:?}");
    for query in queries {
        let values = native.query(&query).await?;
        assert!(!values.is_empty() || query.contains("increase") || query.contains(['<', '>']), "{query} has no value");
    }
    Ok(())
}
