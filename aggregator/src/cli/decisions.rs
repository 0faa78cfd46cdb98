use std::fmt::Write;

use serin_proto::v1::{Decision, ListDecisionsRequest, query_client::QueryClient};

use super::{client, text};

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) async fn run(service: Option<String>, server: String) -> anyhow::Result<()> {
    let mut query = QueryClient::new(client::connect(&server).await?);
    let request = ListDecisionsRequest { service: service.unwrap_or_default(), limit: 0 };
    let decisions = query.list_decisions(request).await.map_err(client::told)?.into_inner().decisions;
    if decisions.is_empty() {
        println!("no decisions");
    }
    decisions.iter().for_each(|decision| print!("{}", show(decision)));
    Ok(())
}

fn show(decision: &Decision) -> String {
    let Decision { id, service, candidate, baseline, .. } = decision;
    let mut shown = format!("#{id} {service}: {candidate} against {baseline}\n");
    for event in &decision.events {
        let stage = event.stage().word().replace('_', " ");
        // Writing to a string does not fail.
        let _ = writeln!(shown, "  {}  {stage:<13}  {}", text::utc(event.unix_us), event.sentence);
    }
    for source in &decision.sources {
        let _ = writeln!(shown, "    {}", text::source(source));
    }
    shown
}

#[cfg(test)]
mod tests {
    use serin_proto::v1::{DecisionEvent, DecisionStage, Source, SourceState};

    use super::*;

    #[test]
    fn a_decision_reads_as_a_story() {
        let event = |unix_us, stage: DecisionStage, sentence: &str| DecisionEvent {
            unix_us,
            stage: stage.into(),
            sentence: sentence.into(),
        };
        let decision = Decision {
            id: 3,
            service: "shop".into(),
            candidate: "v2".into(),
            baseline: "v1".into(),
            events: vec![
                event(1_000_000, DecisionStage::Decided, "p99 slower: 1.50x"),
                event(2_300_000, DecisionStage::NotInEffect, "v2 still gets 40.0%"),
            ],
            sources: vec![
                Source {
                    node_id: "client-7".into(),
                    state: SourceState::Sends.into(),
                    share_before: 0.09,
                    share: 0.085,
                    stopped_after_ms: 0,
                    proxies: 1,
                    workload: String::new(),
                },
                Source {
                    state: SourceState::Sends.into(),
                    share_before: 0.1,
                    share: 0.001,
                    proxies: 13,
                    workload: "shop/client".into(),
                    ..Source::default()
                },
                Source {
                    node_id: "client-9".into(),
                    state: SourceState::Gone.into(),
                    share_before: 0.1,
                    stopped_after_ms: 1_000,
                    proxies: 1,
                    workload: "shop/mobile".into(),
                    ..Source::default()
                },
                Source {
                    state: SourceState::Stopped.into(),
                    share_before: 0.1,
                    stopped_after_ms: 2_100,
                    proxies: 12,
                    ..Source::default()
                },
            ],
            ..Default::default()
        };
        let want = "#3 shop: v2 against v1\n\
                    \x20 1970-01-01T00:00:01.000Z  decided        p99 slower: 1.50x\n\
                    \x20 1970-01-01T00:00:02.300Z  not in effect  v2 still gets 40.0%\n\
                    \x20   client-7: sends, 9.0% before, 8.5% now\n\
                    \x20   shop/client, 13 proxies: sends, 10.0% before, 0.1% now\n\
                    \x20   shop/mobile, client-9: gone after 1.0 s, 10.0% before, 0.0% now\n\
                    \x20   12 other proxies: stopped after 2.1 s, 10.0% before, 0.0% now\n";
        assert_eq!(show(&decision), want);
    }
}
