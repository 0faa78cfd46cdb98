//! What came of a scenario, for people and for programs.

use serde::Serialize;

use crate::{
    rule::Name,
    run::Outcome,
    scenarios::{Reach, Scenario},
};

/// One row of `result.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// `serin`, `fixed` or `kayenta`.
    pub rule: &'static str,
    /// Requests a second, both arms together.
    pub rps: f64,
    /// The candidate's first share of them.
    pub share: f64,
    /// Pods of both arms.
    pub pods: u32,
    /// Rollouts.
    pub runs: u64,
    /// How many were rolled back.
    pub rolled_back: u64,
    /// Seconds from the onset until then, of half and of nine tenths of all runs; `None` where fewer were.
    pub median_s: Option<u64>,
    /// See `median_s`.
    pub p90_s: Option<u64>,
    /// How many were proven healthy.
    pub healthy: u64,
    /// Seconds from the candidate's first request until half of all runs were.
    pub median_healthy_s: Option<u64>,
}

impl Row {
    /// Of one rule's outcomes.
    pub fn new(scenario: &Scenario, rule: Name, outcomes: &[Outcome]) -> Self {
        let rolled_back = sorted(outcomes.iter().filter_map(|outcome| outcome.rolled_back));
        let healthy = sorted(outcomes.iter().filter_map(|outcome| outcome.healthy));
        let world = &scenario.world;
        Row {
            scenario: scenario.name.clone(),
            rule: rule.as_str(),
            rps: world.rps,
            share: world.share(0),
            pods: world.baseline_pods + world.candidate_pods,
            runs: outcomes.len() as u64,
            rolled_back: rolled_back.len() as u64,
            median_s: of_all(&rolled_back, outcomes.len(), 0.5),
            p90_s: of_all(&rolled_back, outcomes.len(), 0.9),
            healthy: healthy.len() as u64,
            median_healthy_s: of_all(&healthy, outcomes.len(), 0.5),
        }
    }

    /// Whether it is what was to be reached. A bound on false rollbacks is for the full number of runs, and is not relaxed for
    /// fewer.
    pub fn reaches(&self, reach: Reach) -> bool {
        let within = |s: Option<u64>, limit: u64| s.is_some_and(|s| s <= limit);
        let found = self.rolled_back as f64 / self.runs.max(1) as f64;
        match reach {
            Reach::FalseAtMost(most) => self.rolled_back <= most,
            Reach::WithinS(s) => within(self.median_s, s),
            Reach::Found(share) => found >= share,
            Reach::FoundWithinS(share, s) => found >= share && within(self.median_s, s),
            Reach::HealthyWithinS(s) => within(self.median_healthy_s, s) && self.rolled_back == 0,
        }
    }
}

fn sorted(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values
}

/// The value that this share of all `runs` is at or below, where the runs without a value are above every other.
fn of_all(sorted: &[u64], runs: usize, share: f64) -> Option<u64> {
    let rank = (runs as f64 * share).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

/// The table's head.
pub fn head() -> String {
    let head = format!("{:<34} {:>16}   {:>22}  {:>22}  {:>22}", "scenario", "reach", "serin", "fixed", "kayenta");
    format!("{head}\n{}", "-".repeat(head.len()))
}

/// A line of the table: the scenario's rows in the order of the head.
pub fn line(scenario: &Scenario, rows: &[Row]) -> String {
    let reach = match scenario.reach {
        Reach::FalseAtMost(most) => format!("<= {most} of {}", scenario.runs),
        Reach::WithinS(s) => format!("<= {s} s"),
        Reach::Found(share) => format!(">= {:.0}%", share * 100.0),
        Reach::FoundWithinS(share, s) => format!("{:.0}%, <= {s} s", share * 100.0),
        Reach::HealthyWithinS(s) => format!("healthy <= {s} s"),
    };
    let cells: Vec<String> = rows.iter().map(|row| format!("{:>22}", cell(scenario.reach, row))).collect();
    let mark = rows.first().map_or(" ", |serin| if serin.reaches(scenario.reach) { " " } else { "!" });
    format!("{:<34} {reach:>16} {mark} {}", scenario.name, cells.join("  "))
}

fn cell(reach: Reach, row: &Row) -> String {
    let seconds = |s: Option<u64>| s.map_or("-".to_owned(), |s| format!("{s} s"));
    match reach {
        Reach::FalseAtMost(_) => format!("{} of {}", row.rolled_back, row.runs),
        Reach::WithinS(_) | Reach::Found(_) | Reach::FoundWithinS(..) => {
            format!("{} of {}, {}", row.rolled_back, row.runs, seconds(row.median_s))
        }
        Reach::HealthyWithinS(_) => format!("{} of {}, {}", row.healthy, row.runs, seconds(row.median_healthy_s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Change, Noise, World};
    use serin_judge::Policy;

    #[test]
    fn misses_count_as_never() {
        let outcome = |rolled_back| Outcome { rolled_back, ..Outcome::default() };
        let outcomes = [Some(30), None, Some(10), Some(20), None].map(outcome);
        let world = World::new(0.05, Noise::Iid, Change::Tail(1.5));
        let scenario = Scenario {
            name: "x".to_owned(),
            world,
            runs: 5,
            seconds: 100,
            reach: Reach::WithinS(29),
            policy: Policy::default(),
        };
        let row = Row::new(&scenario, Name::Serin, &outcomes);
        assert_eq!((row.rolled_back, row.median_s, row.p90_s), (3, Some(30), None));
        assert!(!row.reaches(Reach::WithinS(29)) && row.reaches(Reach::WithinS(30)));
        assert!(row.reaches(Reach::Found(0.6)) && !row.reaches(Reach::FoundWithinS(0.61, 30)));
        assert!(!row.reaches(Reach::FalseAtMost(2)) && row.reaches(Reach::FalseAtMost(3)));
        assert_eq!(line(&scenario, &[row]).split_whitespace().last(), Some("s"));
    }
}
