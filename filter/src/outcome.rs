//! How a request ended.

use serin_proto::v1::Outcome;

/// Envoy's response flags (`response.flags`, `CoreResponseFlag` in `envoy/stream_info/stream_info.h`: the bit
/// is one shifted by the flag's place in that list), by their short names in access logs.
mod flag {
    pub(super) const UH: u64 = 1 << 1;
    pub(super) const UT: u64 = 1 << 2;
    pub(super) const LR: u64 = 1 << 3;
    pub(super) const UR: u64 = 1 << 4;
    pub(super) const UF: u64 = 1 << 5;
    pub(super) const UC: u64 = 1 << 6;
    pub(super) const UO: u64 = 1 << 7;
    pub(super) const DC: u64 = 1 << 14;
    pub(super) const SI: u64 = 1 << 16;
    pub(super) const UMSDR: u64 = 1 << 19;
    pub(super) const DT: u64 = 1 << 22;
    pub(super) const UPE: u64 = 1 << 23;
    pub(super) const DF: u64 = 1 << 26;
    pub(super) const DR: u64 = 1 << 28;
}

/// A timeout of the route, of a try, of an idle stream, or of a stream's or connection's greatest duration.
const TIMEOUT: u64 = flag::UT | flag::SI | flag::UMSDR | flag::DT;
/// The upstream reset the stream, closed or refused the connection, broke the protocol, or there was no host,
/// no room in the pool or no address to connect to. That no cluster or route is configured (NC, NR) is not among
/// them: no release was asked.
const RESET: u64 = flag::UF | flag::UC | flag::UR | flag::LR | flag::UPE | flag::UH | flag::UO | flag::DF;
const ABORTED: u64 = flag::DC | flag::DR;

/// What Envoy knows about a request at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// `response.code`: `None` when no response was begun.
    pub code: Option<u64>,
    /// `response.flags`: a bit mask.
    pub flags: u64,
    /// Whether the upstream's response was complete. Matters only with [`OVERFLOW`].
    pub answered: bool,
    /// What the request was, as far as a response below 400 needs it.
    pub kind: Kind,
}

/// What a request asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A response.
    #[default]
    Plain,
    /// A gRPC call, with its status. `None` when it ended without one.
    Grpc(Option<u64>),
    /// A tunnel (CONNECT).
    Connect,
    /// A redirect that Envoy followed by itself.
    InternalRedirect,
    /// What took longer than its route allows a stream: Envoy sets no flag for it.
    Overdue,
}

/// `response.code_details` of a redirect that Envoy followed by itself
/// (`ResponseCodeDetailValues::InternalRedirect`).
pub const INTERNAL_REDIRECT: &[u8] = b"internal_redirect";
/// The same of what took longer than the route's `max_stream_duration`
/// (`ResponseCodeDetailValues::MaxDurationTimeout`).
pub const MAX_DURATION: &[u8] = b"max_duration_timeout";

/// The flag (UO) of what found no room: in the connection pool, and then there is no answer; or among the retries, and then
/// the answer that would have been tried again stands.
pub const OVERFLOW: u64 = flag::UO;

/// Whether a tunnel or a gRPC call with this code is what it says.
fn is_good(code: Option<u64>) -> bool {
    matches!(code, Some(200..300))
}

/// Whether the kind of a request with this code matters to its outcome.
pub fn kind_matters(code: Option<u64>) -> bool {
    matches!(code, Some(200..400 | 504))
}

/// The outcome of a long-lived stream: that it ended well, or that its caller left it once it was open, is its
/// natural end.
pub fn of_stream(outcome: Outcome, code: Option<u64>) -> Outcome {
    match outcome {
        Outcome::Success => Outcome::Upgrade,
        Outcome::Aborted if is_good(code) => Outcome::Upgrade,
        other => other,
    }
}

/// How a request ended. What broke it off goes before what its response said: a response of 200 that was reset
/// half-way is a reset. The upstream's faults go before the caller's: a caller that leaves while its request
/// times out did not cause the timeout.
pub fn outcome(ending: &Ending) -> Outcome {
    let Ending { code, flags, kind, answered } = *ending;
    let flags = if answered { flags & !OVERFLOW } else { flags };
    // An upgrade's lifetime is no latency, however it ends.
    if code == Some(101) || (kind == Kind::Connect && is_good(code)) {
        return Outcome::Upgrade;
    }
    if kind == Kind::InternalRedirect {
        return Outcome::Redirected;
    }
    // Envoy answers 408 when it waited for the caller, 504 when it waited for the upstream.
    if kind == Kind::Overdue || (flags & TIMEOUT != 0 && code != Some(408)) {
        return Outcome::Timeout;
    }
    if flags & RESET != 0 {
        return Outcome::Reset;
    }
    if flags & ABORTED != 0 {
        return Outcome::Aborted;
    }
    match (code, kind) {
        (None | Some(0), _) => Outcome::Aborted,
        (Some(200..300), Kind::Grpc(status)) => of_grpc(status),
        (Some(..400), _) => Outcome::Success,
        (Some(400..500), _) => Outcome::ClientError,
        (Some(500..), _) => Outcome::ServerError,
    }
}

/// Whose fault a status is, as in OpenTelemetry's semantic conventions for gRPC servers ("gRPC status",
/// server spans), except that a deadline is a timeout and a cancellation is the caller's leaving. A call without
/// a status is UNKNOWN (gRPC over HTTP/2, "Responses").
fn of_grpc(status: Option<u64>) -> Outcome {
    match status {
        Some(0) => Outcome::Success,
        Some(1) => Outcome::Aborted,
        Some(4) => Outcome::Timeout,
        Some(2 | 12 | 13 | 14 | 15) | None => Outcome::ServerError,
        Some(_) => Outcome::ClientError,
    }
}

/// Whether a request's content type is gRPC's. gRPC-Web's begins alike, but its status is in the body, and what Envoy
/// calls its gRPC status is made up from the HTTP status.
pub fn is_grpc(content_type: &[u8]) -> bool {
    content_type.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest, [] | [b'+' | b';' | b' ', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_web_is_not_grpc() {
        for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(is_grpc(content_type.as_bytes()), "{content_type}");
        }
        for content_type in ["application/grpc-web", "application/grpc-web-text+proto", "application/json", ""] {
            assert!(!is_grpc(content_type.as_bytes()), "{content_type}");
        }
    }

    fn check(name: &str, code: Option<u64>, flags: u64, kind: Kind, want: Outcome) {
        assert_eq!(outcome(&Ending { code, flags, kind, answered: false }), want, "{name}");
    }

    /// Codes and flags as Envoy 1.40 gave them (flags in its own numbers, not in this module's constants).
    #[test]
    fn http() {
        use Kind::{Connect, Plain};
        let cases = [
            ("200", Some(200), 0, Plain, Outcome::Success),
            ("304", Some(304), 0, Plain, Outcome::Success),
            ("404 from the upstream", Some(404), 0, Plain, Outcome::ClientError),
            ("no route", Some(404), 0x100, Plain, Outcome::ClientError),
            ("400 bad request", Some(400), 0x4_0000, Plain, Outcome::ClientError),
            ("503 from the upstream", Some(503), 0, Plain, Outcome::ServerError),
            ("retries used up on 503", Some(503), 0x8000, Plain, Outcome::ServerError),
            ("no such cluster", Some(503), 0x100_0000, Plain, Outcome::ServerError),
            ("route timeout", Some(504), 0x4, Plain, Outcome::Timeout),
            ("idle before the response", Some(504), 0x1_0000, Plain, Outcome::Timeout),
            ("idle in the response", Some(200), 0x1_0000, Plain, Outcome::Timeout),
            ("idle in the request", Some(408), 0x1_0000, Plain, Outcome::ClientError),
            ("connect failure", Some(503), 0x20, Plain, Outcome::Reset),
            ("connection closed", Some(503), 0x40, Plain, Outcome::Reset),
            ("reset before the response", Some(503), 0x10, Plain, Outcome::Reset),
            ("reset in the response", Some(200), 0x10, Plain, Outcome::Reset),
            ("upstream protocol error", Some(502), 0x80_0000, Plain, Outcome::Reset),
            ("no healthy upstream", Some(503), 0x2, Plain, Outcome::Reset),
            ("circuit breaker", Some(503), 0x80, Plain, Outcome::Reset),
            ("left while waiting", None, 0x4000, Plain, Outcome::Aborted),
            ("left in the response", Some(200), 0x4000, Plain, Outcome::Aborted),
            ("left after the timeout", Some(504), 0x4004, Plain, Outcome::Timeout),
            ("headers cut half-way", None, 0, Plain, Outcome::Aborted),
            ("websocket", Some(101), 0x4000, Plain, Outcome::Upgrade),
            ("tunnel", Some(200), 0, Connect, Outcome::Upgrade),
            ("refused tunnel", Some(403), 0, Connect, Outcome::ClientError),
            ("redirect followed by Envoy", Some(302), 0, Kind::InternalRedirect, Outcome::Redirected),
            ("too long before the response", Some(504), 0, Kind::Overdue, Outcome::Timeout),
            ("too long in the response", Some(200), 0, Kind::Overdue, Outcome::Timeout),
            ("redirect for the caller", Some(302), 0, Plain, Outcome::Success),
        ];
        for (name, code, flags, kind, want) in cases {
            check(name, code, flags, kind, want);
        }
    }

    #[test]
    fn a_stream_ends_well_when_its_caller_leaves_it() {
        let cases = [
            (Outcome::Success, Some(200), Outcome::Upgrade),
            (Outcome::Aborted, Some(200), Outcome::Upgrade),
            (Outcome::Aborted, None, Outcome::Aborted),
            (Outcome::ServerError, Some(200), Outcome::ServerError),
            (Outcome::Reset, Some(200), Outcome::Reset),
        ];
        for (outcome, code, want) in cases {
            assert_eq!(of_stream(outcome, code), want, "{outcome:?} {code:?}");
        }
    }

    #[test]
    fn a_retry_that_found_no_room_leaves_the_answer_as_it_was() {
        let of = |answered| outcome(&Ending { code: Some(503), flags: flag::UO, answered, kind: Kind::Plain });
        assert_eq!((of(true), of(false)), (Outcome::ServerError, Outcome::Reset));
    }

    /// The server column of the semantic conventions.
    #[test]
    fn grpc() {
        let of = |status| match status {
            0 => Outcome::Success,
            1 => Outcome::Aborted,
            4 => Outcome::Timeout,
            2 | 12 | 13 | 14 | 15 => Outcome::ServerError,
            _ => Outcome::ClientError,
        };
        for status in 0..=16 {
            check("grpc", Some(200), 0, Kind::Grpc(Some(status)), of(status));
        }
        check("without a status", Some(200), 0, Kind::Grpc(None), Outcome::ServerError);
        check("reset", Some(200), 0x10, Kind::Grpc(Some(14)), Outcome::Reset);
        check("a proxy's 503", Some(503), 0, Kind::Grpc(Some(14)), Outcome::ServerError);
    }
}
