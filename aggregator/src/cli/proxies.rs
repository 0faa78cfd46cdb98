use std::fmt::Write;

use serin_proto::v1::{ListProxiesRequest, Proxy, query_client::QueryClient};
use serin_sketch::thousands;

use super::{client, text};

const REMEDY: &str = "Missing requests were served and never reported: the proxy was ended (up to a second of its requests), or its \
                      filter trapped. Look for `serin:` and `Uncaught RuntimeError` in its log.";

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) async fn run(server: String) -> anyhow::Result<()> {
    let mut query = QueryClient::new(client::connect(&server).await?);
    let answer = query.list_proxies(ListProxiesRequest {}).await.map_err(client::told)?.into_inner();
    print!("{}", show(&answer.proxies));
    for address in answer.unanswered {
        println!("{}", silent(&address));
    }
    Ok(())
}

fn silent(address: &str) -> String {
    format!(
        "The aggregator at {address} does not answer: proxies that report to it are missing here, or shown with less than they have."
    )
}

/// A line for each, and what to do where something is missing. Writing to a string does not fail.
fn show(proxies: &[Proxy]) -> String {
    if proxies.is_empty() {
        return "no proxy has reported\n".to_owned();
    }
    let width = |of: fn(&Proxy) -> &str, title: &str| {
        proxies.iter().map(|proxy| of(proxy).len()).max().unwrap_or_default().max(title.len())
    };
    let (id, of) = (width(|proxy| &proxy.node_id, "proxy"), width(|proxy| &proxy.workload, "workload"));
    let mut shown = format!(
        "{:<id$}  {:<of$}  {:>7}  {:>13}  {:>13}  {:>9}  {:>7}  {:>7}  last seen\n",
        "proxy", "workload", "workers", "counted", "Envoy's", "missing", "backlog", "tick"
    );
    for proxy in proxies {
        let ended = proxy.ended.map_or_else(|| "?".to_owned(), thousands);
        let missing = if proxy.ended.is_some() { thousands(proxy.missing) } else { "?".to_owned() };
        let state = proxy.state.unwrap_or_default();
        let _ = writeln!(
            shown,
            "{:<id$}  {:<of$}  {:>7}  {:>13}  {ended:>13}  {missing:>9}  {:>7}  {:>5}us  {}",
            proxy.node_id,
            if proxy.workload.is_empty() { "-" } else { &proxy.workload },
            proxy.reporters_alive,
            thousands(proxy.counted),
            state.backlog_reports,
            state.tick_us,
            text::utc(proxy.last_seen_unix_us)
        );
    }
    if proxies.iter().any(|proxy| proxy.missing > 0) {
        let _ = writeln!(shown, "{REMEDY}");
    }
    if proxies.iter().any(|proxy| proxy.ended.is_none()) {
        shown.push_str(
            "?: Envoy pushes no metrics here; add the stats sink of envoy-configs/local to see what is missing.\n",
        );
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_stands_out() {
        let proxy = |node_id: &str, workload: &str, ended, missing| Proxy {
            node_id: node_id.into(),
            reporters_alive: 3,
            counted: 1_200,
            ended,
            missing,
            last_seen_unix_us: 1_000_000,
            state: None,
            reporters: Vec::new(),
            workload: workload.into(),
        };
        let shown = show(&[proxy("gateway-1", "shop/gateway", Some(1_234), 34), proxy("gateway-2", "", None, 0)]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "proxy      workload      workers        counted        Envoy's    missing  backlog     tick  last seen",
                "gateway-1  shop/gateway        3          1,200          1,234         34        0      0us  1970-01-01T00:00:01.000Z",
                "gateway-2  -                   3          1,200              ?          ?        0      0us  1970-01-01T00:00:01.000Z",
            ]
        );
        assert!(lines[3].starts_with("Missing requests were served") && lines[4].starts_with("?: Envoy pushes no"));
    }
}
