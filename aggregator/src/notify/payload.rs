//! What each kind of receiver is sent: pure.

use serde_json::{Value, json};
use serin_proto::v1::DecisionStage;

use super::Notice;
use crate::config::ReceiverKind;

/// How long Alertmanager keeps a condemnation firing that nobody clears, in microseconds: without an end it would take an alert that is
/// sent once as resolved after five minutes.
const FIRING_US: u64 = 24 * 3_600 * 1_000_000;

pub(super) fn of(kind: ReceiverKind, notice: &Notice) -> Value {
    match kind {
        ReceiverKind::Webhook => webhook(notice),
        ReceiverKind::Slack => slack(notice),
        ReceiverKind::Alertmanager => alertmanager(notice),
    }
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
fn alertmanager(notice: &Notice) -> Value {
    let (condemned, failed) = match notice.stage {
        DecisionStage::Cleared => (false, Some(false)),
        DecisionStage::Confirmed => (true, Some(false)),
        DecisionStage::Failed | DecisionStage::NotInEffect => (true, Some(true)),
        DecisionStage::Unspecified | DecisionStage::Decided | DecisionStage::Written | DecisionStage::NotWritten => {
            (true, None)
        }
    };
    let alert = |name: &str, severity: &str, firing: bool| {
        let ends = if firing { notice.unix_us.saturating_add(FIRING_US) } else { notice.unix_us };
        json!({
            "labels": {
                "alertname": name, "severity": severity, "service": notice.service, "candidate": notice.candidate,
                "baseline": notice.baseline, "decision": notice.decision.to_string(),
            },
            "annotations": { "summary": notice.sentence, "stage": notice.stage.word() },
            "startsAt": time(notice.decided_us),
            "endsAt": time(ends),
        })
    };
    let failed = failed.map(|firing| alert("SerinRollbackFailed", "critical", firing));
    std::iter::once(alert("SerinReleaseCondemned", "warning", condemned)).chain(failed).collect()
}

/// RFC 3339 in UTC.
fn time(unix_us: u64) -> String {
    let stamp = i64::try_from(unix_us).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    format!("{:.3}", stamp.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}
