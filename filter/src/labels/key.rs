//! The key of a series: its outcome and its four labels, in bytes.

use serin_proto::v1::Series;

/// The longest label, in bytes; the wire's limit. What is longer is cut: Envoy's names are below 100 commonly, and a
/// caller's choice (a header, a path) must not cost memory.
pub const LABEL_MAX: usize = 256;
/// The label of all series that found no room of their own.
const OVERFLOW: &[u8] = b"overflow";

/// Appends a length and at most [`LABEL_MAX`] bytes of valid UTF-8.
pub(super) fn push_label(key: &mut Vec<u8>, label: &[u8]) {
    let mut push = |label: &[u8]| {
        key.extend_from_slice(&(label.len() as u16).to_le_bytes());
        key.extend_from_slice(label);
    };
    // Nearly every name is ASCII, which needs no second look.
    let cut = label.get(..LABEL_MAX).unwrap_or(label);
    if cut.is_ascii() {
        return push(cut);
    }
    // A character that is cut or no UTF-8 becomes U+FFFD of three bytes: what is too long then is cut between characters.
    let lossy = String::from_utf8_lossy(label.get(..LABEL_MAX + 3).unwrap_or(label));
    push(lossy.as_bytes().get(..lossy.floor_char_boundary(LABEL_MAX)).unwrap_or_default());
}

/// The methods that are told by name: those of RFC 9110 and PATCH. A caller can make up any other, which must not cost memory.
const METHODS: [&[u8]; 9] = [b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"PATCH", b"OPTIONS", b"CONNECT", b"TRACE"];
/// Any other method, by OpenTelemetry's name for it.
const OTHER_METHOD: &[u8] = b"_OTHER";

/// Appends a route with the method before it, cut like any label.
pub(super) fn push_route(key: &mut Vec<u8>, method: Option<&[u8]>, route: &[u8]) {
    let method = METHODS.into_iter().find(|known| Some(*known) == method).unwrap_or(OTHER_METHOD);
    let mut label = [b' '; LABEL_MAX];
    let (head, tail) = label.split_at_mut(method.len() + 1);
    head.iter_mut().zip(method).for_each(|(to, from)| *to = *from);
    tail.iter_mut().zip(route).for_each(|(to, from)| *to = *from);
    let length = (method.len() + 1 + route.len()).min(LABEL_MAX);
    push_label(key, label.get(..length).unwrap_or_default());
}

/// The key of the series that takes what finds no room, for an outcome.
pub fn overflow_key(outcome: u8) -> Vec<u8> {
    let mut key = vec![outcome];
    (0..4).for_each(|_| push_label(&mut key, OVERFLOW));
    key
}

/// The outcome in a key, as its number on the wire.
pub fn outcome_of(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or_default()
}

/// The series with this key, for the wire.
pub fn series(id: u32, key: &[u8]) -> Series {
    let mut rest = key.get(1..).unwrap_or_default();
    let mut next = || {
        let (length, after) = rest.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
        let (label, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length))).unwrap_or_default();
        rest = after;
        String::from_utf8_lossy(label).into_owned()
    };
    let (service, route, release, pod) = (next(), next(), next(), next());
    Series { id, service, route, release, pod, outcome: i32::from(outcome_of(key)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serin_proto::v1::Outcome;

    #[test]
    fn the_overflow_series_is_named_so() {
        let got = series(7, &overflow_key(Outcome::Timeout as u8));
        let want = Series {
            id: 7,
            service: "overflow".into(),
            route: "overflow".into(),
            release: "overflow".into(),
            pod: "overflow".into(),
            outcome: Outcome::Timeout as i32,
        };
        assert_eq!(got, want);
    }

    fn label(bytes: &[u8]) -> String {
        let mut key = vec![1];
        push_label(&mut key, bytes);
        series(0, &key).service
    }

    #[test]
    fn a_route_has_its_method() {
        let route = |method: Option<&[u8]>, route: &[u8]| {
            let mut key = vec![1];
            push_label(&mut key, b"s");
            push_route(&mut key, method, route);
            series(0, &key).route
        };
        assert_eq!(route(Some(b"GET"), b"/cart"), "GET /cart");
        assert_eq!(route(Some(b"get"), b"/cart"), "_OTHER /cart");
        assert_eq!(route(None, b"unknown"), "_OTHER unknown");
        assert_eq!(route(Some(b"PATCH"), &[b'x'; 300]), format!("PATCH {}", "x".repeat(250)));
    }

    #[test]
    fn long_labels_are_cut_between_characters() {
        assert_eq!(label("x".repeat(10_000).as_bytes()), "x".repeat(256));
        // 255 bytes and a character of two: it does not fit.
        assert_eq!(label(format!("{}é", "x".repeat(255)).as_bytes()), "x".repeat(255));
        assert_eq!(label(format!("{}é and more", "x".repeat(254)).as_bytes()), format!("{}é", "x".repeat(254)));
        assert_eq!(label(b"a\xffb"), "a\u{fffd}b");
    }

    proptest! {
        #[test]
        fn any_bytes_become_a_label_of_at_most_256_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), text in "\\PC{0,300}") {
            prop_assert!(label(&bytes).len() <= LABEL_MAX);
            let got = label(text.as_bytes());
            prop_assert!(text.starts_with(&got));
            prop_assert!(text.len() > LABEL_MAX || got == text);
        }

        #[test]
        fn no_key_makes_it_panic(key in prop::collection::vec(any::<u8>(), 0..40)) {
            series(0, &key);
        }
    }
}
