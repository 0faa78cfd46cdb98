//! The run from beginning to end: watch both releases, let it happen, watch on, count.

use std::time::Duration;

use anyhow::{Context, Result};
use serin_proto::v1::{CompareResponse, Decision};
use serin_sketch::thousands;
use support::{artifacts, service::unix_us};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::{outcome::Outcome, scenario::Scenario, screen, stage::Stage, timeline::Timeline};

/// How far back the shown quantiles look.
const WINDOW_S: u32 = 10;
/// A line is printed every so many seconds.
const LINE_EVERY_S: u64 = 5;
/// The judge warms up for at least 40 s; a judge that still does after this is not waited for.
const ONSET_AFTER: Duration = Duration::from_secs(20);
const ONSET_BEFORE: Duration = Duration::from_secs(90);
/// How long `serin` may take to confirm what it decided, or give up: its `confirm_within` is 15 s.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(20);
/// Lines after the rollback was confirmed, to see the split.
const AFTERMATH: Duration = Duration::from_secs(5);
/// How long the last requests and reports may take.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// Runs a scenario. Whether the right thing happened.
pub(crate) async fn run(scenario: Scenario, rate_per_s: f64) -> Result<bool> {
    screen::line(&format!("serin demo: {}\n", scenario.title()));
    let stage = Stage::set(rate_per_s).await?;
    let result = watch(scenario, &stage).await;
    if result.is_err() {
        screen::line(&format!("\nserin's last words:\n{}", stage.serin.process.last_words()));
        screen::line(&format!("\nEnvoy's last words:\n{}", stage.envoy.process.last_words()));
    }
    let (timeline, onset) = result?;
    let outcome = settle(scenario, timeline, stage).await?;
    if outcome.timeline.decided.is_some() {
        outcome.timeline.print(onset);
    }
    let file = outcome.write()?;
    let (passed, reason) = outcome.judge();
    screen::ending(passed, &reason);
    screen::line(&format!("     {}", file.strip_prefix(artifacts::root()).unwrap_or(&file).display()));
    Ok(passed)
}

/// What is known so far.
struct Watch<'a> {
    stage: &'a Stage,
    seconds: Interval,
    second: u64,
    timeline: Timeline,
    began: Instant,
    decided: Option<Instant>,
    confirmed: Option<Instant>,
    /// Events of the decision that were shown.
    shown: usize,
}

/// Up to the end of the interesting part; and what the onset was.
async fn watch(scenario: Scenario, stage: &Stage) -> Result<(Timeline, &'static str)> {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (timeline, began) = (Timeline::default(), Instant::now());
    let mut watch = Watch { stage, seconds, second: 0, timeline, began, decided: None, confirmed: None, shown: 0 };
    screen::heading();
    while !is_ready(&watch.look().await?, watch.began.elapsed()) && watch.decided.is_none() {}
    let onset = scenario.begin(&stage.shop.v1, &stage.shop.v2);
    (watch.timeline.onset, watch.began) = (unix_us(), Instant::now());
    screen::moment(&format!("onset    {onset}"));
    while !watch.is_over(scenario) {
        watch.look().await?;
    }
    Ok((watch.timeline, onset))
}

/// Whether the judge has warmed up, or will not be waited for any longer.
fn is_ready(compared: &CompareResponse, running: Duration) -> bool {
    let warm = compared.verdict.as_ref().is_some_and(|verdict| !verdict.warming_up && verdict.candidate_requests > 0);
    running > ONSET_BEFORE || (running > ONSET_AFTER && warm)
}

impl Watch<'_> {
    /// Looks once, at the next full second, and shows what is new.
    async fn look(&mut self) -> Result<CompareResponse> {
        self.seconds.tick().await;
        let compared = self.stage.serin.compare(WINDOW_S).await?;
        if self.second > 0 && self.second.is_multiple_of(LINE_EVERY_S) {
            let time = Duration::from_secs(self.second);
            screen::comparison(time, self.stage.serin.requests(&[]).await?, &compared);
        }
        self.second += 1;
        self.show_evidence(&compared);
        if let Some(decision) = self.stage.serin.decisions().await?.into_iter().next() {
            self.show_decision(&decision);
        }
        Ok(compared)
    }

    fn show_evidence(&mut self, compared: &CompareResponse) {
        let since = compared.verdict.as_ref().map(|verdict| verdict.evidence_since_unix_us);
        if let (Some(since @ 1..), None, true) = (since, self.timeline.first_evidence, self.timeline.onset > 0) {
            self.timeline.first_evidence = Some(since);
            self.show_moment(since, "evidence against v2 is above 20 to 1");
        }
    }

    fn show_decision(&mut self, decision: &Decision) {
        for event in decision.events.iter().skip(self.shown) {
            self.show_moment(event.unix_us, &event.sentence);
        }
        self.shown = decision.events.len();
        self.timeline.read(decision);
        self.decided.get_or_insert_with(Instant::now);
        if self.timeline.confirmed.is_some() {
            self.confirmed.get_or_insert_with(Instant::now);
        }
    }

    fn show_moment(&self, unix_us: u64, text: &str) {
        screen::moment(&format!("{:+.1} s  {text}", self.timeline.since_onset_s(unix_us)));
    }

    fn is_over(&self, scenario: Scenario) -> bool {
        let passed = |since: Option<Instant>, time| since.is_some_and(|since| since.elapsed() > time);
        passed(self.confirmed, AFTERMATH)
            || passed(self.decided, CONFIRMED_WITHIN)
            || (self.decided.is_none() && self.began.elapsed() > scenario.look_on())
    }
}

/// Ends the load and waits until `serin` has counted what Envoy has.
async fn settle(scenario: Scenario, mut timeline: Timeline, stage: Stage) -> Result<Outcome> {
    let Stage { load, envoy, serin, shop } = stage;
    let tally = load.stop(SETTLED_WITHIN).await;
    let ended = envoy.idle(SETTLED_WITHIN).await?;
    // Should they not agree, the outcome says so with both numbers.
    let _ = serin.counts(ended, SETTLED_WITHIN).await;
    let counted = serin.requests(&[]).await.context("serin was gone at the end")?;
    screen::line(&format!(
        "\n  requests: {} sent, {} seen by Envoy, {} counted by serin; {} answered with an error",
        thousands(tally.sent),
        thousands(ended),
        thousands(counted),
        thousands(tally.server_errors + tally.timed_out + tally.broken),
    ));
    if timeline.confirmed.is_some() {
        // The last request can be a few milliseconds older than the write that made it the last.
        timeline.zero_share = Some(shop.v2.last_served_unix_us()).max(timeline.written);
    }
    Ok(Outcome { scenario, timeline, counted, envoy: ended, tally })
}
