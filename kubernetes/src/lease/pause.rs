//! An order of a person that nothing be written, as annotations of the Lease: pure. So whoever leads next reads it, and `kubectl annotate`
//! gives and takes it as well as serin does.

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};

/// The switch: it is paused while this is there, whatever it says. No word for "on" is asked for, so that there is none for "off" either.
pub const PAUSED_BECAUSE: &str = "serin.dev/paused-because";
/// Since when, as RFC 3339.
pub const PAUSED_SINCE: &str = "serin.dev/paused-since";
/// Until when, as RFC 3339. Without it, or where it is no such time: until the switch is removed.
pub const PAUSED_UNTIL: &str = "serin.dev/paused-until";

/// What they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None`: until somebody takes it back.
    pub until: Option<Timestamp>,
    /// Why; may be empty.
    pub because: String,
}

/// What a Lease says. `known`: what it said before, from which a person's order that does not say since when has its time; otherwise it is
/// `now`.
pub(super) fn of(lease: &Lease, known: Option<&Pause>, now: Timestamp) -> Option<Pause> {
    let said = |key| lease.metadata.annotations.as_ref()?.get(key);
    let time = |key| said(key).and_then(|time: &String| time.parse::<Timestamp>().ok());
    let because = said(PAUSED_BECAUSE)?.clone();
    let known = known.filter(|known| known.because == because).map(|known| known.since);
    Some(Pause { since: time(PAUSED_SINCE).or(known).unwrap_or(now), until: time(PAUSED_UNTIL), because })
}

/// Has a Lease say it, or that there is none.
pub(super) fn write(lease: &mut Lease, pause: Option<&Pause>) {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    let mut say = |key: &str, value: Option<String>| match value {
        Some(value) => drop(annotations.insert(key.to_owned(), value)),
        None => drop(annotations.remove(key)),
    };
    say(PAUSED_BECAUSE, pause.map(|pause| pause.because.clone()));
    say(PAUSED_SINCE, pause.map(|pause| pause.since.to_string()));
    say(PAUSED_UNTIL, pause.and_then(|pause| pause.until).map(|until| until.to_string()));
    lease.metadata.annotations.take_if(|annotations| annotations.is_empty());
}

/// What is to be written in place of this: nothing that is over, so that it does not come back with the next switch.
pub(super) fn current(pause: Option<Pause>, now: Timestamp) -> Option<Pause> {
    pause.filter(|pause| pause.until.is_none_or(|until| now < until))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lease(annotations: &[(&str, &str)]) -> Lease {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut lease = Lease::default();
        lease.metadata.annotations = Some(annotations.collect::<BTreeMap<_, _>>()).filter(|all| !all.is_empty());
        lease
    }

    fn pause(since: i64, until: Option<i64>) -> Pause {
        Pause { since: at(since), until: until.map(at), because: "a drill".into() }
    }

    #[test]
    fn what_a_person_may_write_is_read() {
        let because = (PAUSED_BECAUSE, "a drill");
        let since = (PAUSED_SINCE, "1970-01-01T00:00:05Z");
        let check = |annotations: &[(&str, &str)], want| assert_eq!(of(&lease(annotations), None, at(9)), want);
        check(&[], None);
        check(&[("serin.dev/other", "x"), since], None);
        check(&[because], Some(pause(9, None)));
        check(&[because, since], Some(pause(5, None)));
        check(&[because, since, (PAUSED_UNTIL, "1970-01-01T01:00:00+01:00")], Some(pause(5, Some(0))));
        check(&[because, (PAUSED_SINCE, "noon"), (PAUSED_UNTIL, "tomorrow")], Some(pause(9, None)));
        check(&[(PAUSED_BECAUSE, "")], Some(Pause { because: String::new(), ..pause(9, None) }));
    }

    #[test]
    fn since_when_stays_until_it_is_another_order() {
        let lease = lease(&[(PAUSED_BECAUSE, "a drill")]);
        assert_eq!(of(&lease, Some(&pause(3, Some(4))), at(9)), Some(pause(3, None)));
        let other = Pause { because: "a fire".into(), ..pause(3, None) };
        assert_eq!(of(&lease, Some(&other), at(9)), Some(pause(9, None)));
    }

    #[test]
    fn what_is_written_is_read_and_others_annotations_stay() {
        let before = lease(&[("others", "stay")]);
        for want in [None, Some(pause(5, None)), Some(pause(5, Some(7)))] {
            let mut lease = before.clone();
            write(&mut lease, Some(&pause(1, Some(2))));
            write(&mut lease, want.as_ref());
            assert_eq!(of(&lease, None, at(9)), want);
            assert_eq!(lease.metadata.annotations.as_ref().unwrap()["others"], "stay");
            write(&mut lease, None);
            assert_eq!(lease, before);
        }
        let mut empty = Lease::default();
        write(&mut empty, None);
        assert_eq!(empty, Lease::default());
    }

    #[test]
    fn what_is_over_is_not_written_again() {
        assert_eq!(current(Some(pause(5, Some(9))), at(8)), Some(pause(5, Some(9))));
        assert_eq!(current(Some(pause(5, Some(9))), at(9)), None);
        assert_eq!(current(Some(pause(5, None)), at(9)), Some(pause(5, None)));
    }
}
