//! What is said at a start after others: since when nothing was judged, and what goes on (pure).

use jiff::{SignedDuration, Timestamp};

use crate::{
    engine::{Engine, Recorded},
    time::UnixMicros,
};

/// `last`: the newest second that an earlier run kept. `engine`: with what it left. `guards`: whether ReleaseGuards bring services.
/// `None` where the clock was set back since.
pub fn said(engine: &Engine, last: u64, guards: bool, now: UnixMicros) -> Option<String> {
    let away = i64::try_from(now.second().checked_sub(last)?).ok()?;
    let since = Timestamp::from_second(i64::try_from(last).ok()?).ok()?;
    let (mut going_on, mut condemned, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for verdict in engine.verdicts() {
        let is_running = matches!(engine.recording(&verdict.service), Ok(Some(Recorded::Running(_))));
        let of = match () {
            () if verdict.condemned => &mut condemned,
            () if is_running => &mut going_on,
            () => &mut others,
        };
        of.push(format!("{} of {}", verdict.candidate, verdict.service));
    }
    let listed = |what: &str, list: &[String]| match list {
        [] => String::new(),
        list => format!("; {what}: {}", list.join(", ")),
    };
    let guarded = if guards { "; those of ReleaseGuards are seen as soon as the API server answers" } else { "" };
    Some(format!(
        "serin was away: the last second that is kept is {since}, {:#} ago; nothing was judged and nothing was written since{}{}{}{guarded}",
        SignedDuration::from_secs(away),
        listed("trials that go on", &going_on),
        listed("still condemned", &condemned),
        listed("no trial", &others),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn since_when_and_what_goes_on() {
        let config =
            "services: [{name: shop, vantage: gateway, baseline: v1, candidate: v2, rollback: {dry_run: true}}]";
        let config = Config::parse(config).unwrap();
        let at = |second| UnixMicros::from_second(second);
        let (engine, _) = Engine::new(&config, Vec::new(), at(1_700_000_000));
        let said = |now, guards| said(&engine, 1_700_000_000, guards, at(now));
        insta::assert_snapshot!(
            said(1_700_003_725, false).unwrap(),
            @"serin was away: the last second that is kept is 2023-11-14T22:13:20Z, 1h 2m 5s ago; nothing was judged and nothing was written since; no trial: v2 of shop"
        );
        assert!(said(1_700_000_001, true).unwrap().ends_with("as soon as the API server answers"));
        assert_eq!(said(1_699_999_999, false), None);
    }
}
