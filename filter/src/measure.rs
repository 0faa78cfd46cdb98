//! What a request adds to its series: its two timings.

use serin_proto::v1::Outcome;
use serin_sketch::Micros;

/// How long a request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Sent to the upstream until its response; `None` when there was no upstream or this is no latency.
    pub upstream: Option<Micros>,
    /// Received until the last byte was sent.
    pub total: Micros,
}

/// Timings from the access log's attributes: `request.duration` and `response.backend_latency` in nanoseconds.
/// `had_upstream` is asked only where there was no complete response: whether a host was chosen.
pub fn of_access_log(
    outcome: Outcome,
    duration_ns: Option<i64>,
    backend_latency_ns: Option<i64>,
    had_upstream: impl FnOnce() -> bool,
) -> Timings {
    let total = Micros::from_nanos(duration_ns.unwrap_or(0));
    let upstream = match outcome {
        Outcome::Upgrade => None,
        Outcome::Timeout | Outcome::Reset | Outcome::Aborted => {
            backend_latency_ns.map(Micros::from_nanos).or_else(|| had_upstream().then_some(total))
        }
        _ => backend_latency_ns.map(Micros::from_nanos),
    };
    Timings { upstream, total }
}

/// Nanoseconds since 1970 at the points an HTTP filter sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// Request headers were passed on. `None` when they never came.
    pub request: Option<u64>,
    /// Response headers came, from the upstream or from Envoy itself.
    pub response: Option<u64>,
}

/// Timings from the HTTP filter's own stamps. `duration_ns` (Envoy's own `request.duration`) is asked only for
/// requests whose headers never reached the filter.
pub fn of_stamps(
    outcome: Outcome,
    stamps: Stamps,
    end: u64,
    duration_ns: impl FnOnce() -> Option<i64>,
    had_upstream: impl FnOnce() -> bool,
) -> Timings {
    let Some(start) = stamps.request else {
        return Timings { upstream: None, total: Micros::from_nanos(duration_ns().unwrap_or(0)) };
    };
    let total = between(start, end);
    let upstream = match outcome {
        Outcome::Upgrade => None,
        // Response headers of a timeout may be Envoy's own 504 and an upstream's that were cut off: either way
        // the answer took at least until now.
        Outcome::Timeout | Outcome::Reset | Outcome::Aborted => had_upstream().then_some(total),
        _ => stamps.response.filter(|_| had_upstream()).map(|at| between(start, at)),
    };
    Timings { upstream, total }
}

fn between(from: u64, to: u64) -> Micros {
    Micros(to.saturating_sub(from) / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn access_log() {
        let cases = [
            ("answered", Outcome::Success, Some(7 * MS), false, Some(7_000)),
            ("direct response", Outcome::Success, None, true, None),
            ("no route", Outcome::ClientError, None, false, None),
            ("timed out", Outcome::Timeout, None, true, Some(9_000)),
            ("connect failure", Outcome::Reset, None, true, Some(9_000)),
            ("no host", Outcome::Reset, None, false, None),
            ("left after the upstream was done", Outcome::Aborted, Some(7 * MS), true, Some(7_000)),
            ("websocket", Outcome::Upgrade, Some(7 * MS), true, None),
        ];
        for (name, outcome, backend, had_upstream, want) in cases {
            let got = of_access_log(outcome, Some(9 * MS), backend, || had_upstream);
            assert_eq!(got, Timings { upstream: want.map(Micros), total: Micros(9_000) }, "{name}");
        }
    }

    #[test]
    fn http_filter() {
        let both = Stamps { request: Some(1_000_000_000), response: Some(1_004_000_000) };
        let waiting = Stamps { response: None, ..both };
        let cases = [
            ("answered", Outcome::Success, both, true, Some(4_000), 9_000),
            ("answered with 503", Outcome::ServerError, both, true, Some(4_000), 9_000),
            ("direct response", Outcome::Success, both, false, None, 9_000),
            ("timed out", Outcome::Timeout, both, true, Some(9_000), 9_000),
            ("left while waiting", Outcome::Aborted, waiting, true, Some(9_000), 9_000),
            ("websocket", Outcome::Upgrade, both, true, None, 9_000),
            ("no headers", Outcome::ClientError, Stamps::default(), false, None, 2_000),
        ];
        for (name, outcome, stamps, had_upstream, upstream, total) in cases {
            let got = of_stamps(outcome, stamps, 1_009_000_000, || Some(2 * MS), || had_upstream);
            assert_eq!(got, Timings { upstream: upstream.map(Micros), total: Micros(total) }, "{name}");
        }
    }

    #[test]
    fn a_clock_that_stepped_back_is_zero() {
        let stamps = Stamps { request: Some(5_000), response: Some(4_000) };
        let got = of_stamps(Outcome::Success, stamps, 3_000, || None, || true);
        assert_eq!(got, Timings { upstream: Some(Micros(0)), total: Micros(0) });
    }
}
