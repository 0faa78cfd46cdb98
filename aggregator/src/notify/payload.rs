//! What each kind of receiver is sent: pure.

use serde_json::{Value, json};
use serin_proto::v1::DecisionStage;

use super::{notice::Notice, stand};
use crate::{config::ReceiverKind, time::UnixMicros};

/// An alert that stands ends after so many times that it is told again: as Prometheus does it, so that three may be lost.
const FIRING: u32 = 4;

pub(super) fn of(kind: ReceiverKind, notice: &Notice) -> Value {
    match kind {
        ReceiverKind::Webhook => webhook(notice),
        ReceiverKind::Slack => slack(notice),
        ReceiverKind::Alertmanager => alerts(notice, UnixMicros(notice.unix_us)).collect(),
    }
}

/// The same alerts as then, for longer.
pub(super) fn standing(notices: &[Notice], now: UnixMicros) -> Value {
    notices.iter().flat_map(|notice| alerts(notice, now)).collect()
}

fn webhook(notice: &Notice) -> Value {
    json!({
        "version": 1,
        "decision": notice.decision,
        "service": notice.service,
        "baseline": notice.baseline,
        "candidate": notice.candidate,
        "stage": notice.stage.word(),
        "sentence": notice.sentence,
        "time": time(notice.unix_us),
    })
}

/// Slack's incoming webhooks take `mrkdwn`, in which three characters are escaped.
fn slack(notice: &Notice) -> Value {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let stage = notice.stage.word().replace('_', " ");
    let [service, candidate, baseline, sentence] =
        [&notice.service, &notice.candidate, &notice.baseline, &notice.sentence].map(|text| escaped(text));
    json!({ "text": format!("*{service}*: {candidate} against {baseline}: *{stage}*\n{sentence}") })
}

/// Two alerts, told apart by their labels, which stay the same from stage to stage: the release is condemned, until somebody clears it; and
/// its rollback failed, until it is written and confirmed.
fn alerts(notice: &Notice, now: UnixMicros) -> impl Iterator<Item = Value> {
    let alert = |name: &str, severity: &str, firing: bool, since_us: u64, sentence: &str| {
        let ends = if firing { now.plus(stand::AGAIN * FIRING) } else { now };
        json!({
            "labels": {
                "alertname": name, "severity": severity, "service": notice.service, "candidate": notice.candidate,
                "baseline": notice.baseline, "decision": notice.decision.to_string(),
            },
            "annotations": { "summary": sentence, "stage": notice.stage.word() },
            "startsAt": time(since_us),
            "endsAt": time(ends.0),
        })
    };
    let is_condemned = notice.stage != DecisionStage::Cleared;
    let condemned = alert("SerinReleaseCondemned", "warning", is_condemned, notice.decided_us, &notice.sentence);
    let failed = notice.trouble.as_ref().map(|trouble| {
        let sentence = if trouble.is_over { &notice.sentence } else { &trouble.sentence };
        alert("SerinRollbackFailed", "critical", !trouble.is_over, trouble.since_us, sentence)
    });
    std::iter::once(condemned).chain(failed)
}

/// RFC 3339 in UTC.
fn time(unix_us: u64) -> String {
    let stamp = i64::try_from(unix_us).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    format!("{:.3}", stamp.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}
