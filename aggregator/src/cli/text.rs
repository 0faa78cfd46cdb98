//! Times and evidence for people (pure).

use serin_proto::v1::{Source, SourceState};
use serin_sketch::thousands;

/// RFC 3339 in UTC with milliseconds.
pub(super) fn utc(unix_us: u64) -> String {
    let stamp = i64::try_from(unix_us).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    stamp.map_or_else(|| "?".to_owned(), |stamp| format!("{stamp:.3}"))
}

/// An e-value: below 1 it speaks for the candidate, and beyond a million its power of ten is enough.
pub(super) fn odds(ln: f64) -> String {
    match ln {
        ln if ln < 0.0 => "below 1".to_owned(),
        ln if ln < 1e6f64.ln() => thousands(ln.exp().round() as u64),
        ln => format!("10^{:.0}", ln / std::f64::consts::LN_10),
    }
}

/// A workload or proxy that sends requests, and what became of those to the candidate.
pub(super) fn source(source: &Source) -> String {
    let Source { node_id, workload, proxies, .. } = source;
    let who = match (workload.as_str(), node_id.as_str()) {
        ("", "") => format!("{proxies} other proxies"),
        ("", node) => node.to_owned(),
        (workload, "") => format!("{workload}, {proxies} proxies"),
        (workload, node) => format!("{workload}, {node}"),
    };
    let state = source.state().word();
    let since = match source.state() {
        SourceState::Sends | SourceState::Unspecified => String::new(),
        _ => format!(" after {:.1} s", f64::from(source.stopped_after_ms) / 1e3),
    };
    let [before, now] = [source.share_before, source.share].map(|share| share * 100.0);
    format!("{who}: {state}{since}, {before:.1}% before, {now:.1}% now")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc() {
        assert_eq!(utc(1_500_000), "1970-01-01T00:00:01.500Z");
    }
}
