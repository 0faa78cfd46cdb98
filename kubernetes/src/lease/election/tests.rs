use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(seconds: u64) -> Now {
    Now { clock: Duration::from_secs(seconds), wall: Timestamp::from_second(1_000_000 + seconds as i64).unwrap() }
}

/// What the API server does with Leases: versions that only go up, and writes of an old one refused.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
}

impl Server {
    fn write(&mut self, act: Act) -> Option<Lease> {
        let mut lease = match (act, &self.lease) {
            (Act::Create(lease), None) => lease,
            (Act::Replace(lease), Some(stored))
                if lease.metadata.resource_version == stored.metadata.resource_version =>
            {
                lease
            }
            _ => return None,
        };
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Some(lease)
    }

    fn spec(&self) -> LeaseSpec {
        self.lease.clone().unwrap().spec.unwrap()
    }
}

fn election(identity: &str) -> Election {
    Election::new("serin", identity, Timing::default())
}

/// One look and what follows, without any delay.
fn round(election: &mut Election, server: &mut Server, now: Now) -> Duration {
    match election.step(server.lease.clone(), now) {
        Act::Wait(wait) => wait,
        act => {
            if let Some(lease) = server.write(act) {
                election.written(lease, now.clock);
            }
            Duration::from_secs(2)
        }
    }
}

fn leads(election: &Election, now: Now) -> bool {
    election.leads_until().is_some_and(|until| now.clock < until)
}

#[test]
fn the_first_leads_and_renews() {
    let (mut server, mut a, mut b) = (Server::default(), election("a"), election("b"));
    round(&mut a, &mut server, at(0));
    round(&mut b, &mut server, at(1));
    assert!(leads(&a, at(1)) && !leads(&b, at(1)));
    for second in 2..60 {
        round(&mut a, &mut server, at(second));
        round(&mut b, &mut server, at(second));
        assert!(leads(&a, at(second)) && !leads(&b, at(second)));
    }
    let spec = server.spec();
    assert_eq!(spec.holder_identity.as_deref(), Some("a"));
    assert_eq!((spec.lease_duration_seconds, spec.lease_transitions), (Some(10), Some(0)));
    assert_eq!(spec.acquire_time.unwrap().0, at(0).wall);
    assert_eq!(spec.renew_time.unwrap().0, at(59).wall);
}

#[test]
fn a_dead_leader_is_replaced_and_stops_by_itself() {
    let (mut server, mut a, mut b) = (Server::default(), election("a"), election("b"));
    round(&mut a, &mut server, at(100));
    assert_eq!(round(&mut b, &mut server, at(102)), Duration::from_secs(2));
    assert!(leads(&a, at(105)) && !leads(&a, at(106)));
    // It wakes when the time is up, not only at the next look.
    let late = Now { clock: ms(111_500), ..at(111) };
    assert_eq!(round(&mut b, &mut server, late), ms(500));
    round(&mut b, &mut server, at(112));
    assert!(leads(&b, at(112)));
    assert_eq!(server.spec().lease_transitions, Some(1));
    // The old leader is back and sees who leads.
    round(&mut a, &mut server, at(113));
    assert!(!leads(&a, at(113)));
}

#[test]
fn a_renewal_that_was_seen_starts_the_time_anew() {
    let (mut server, mut a, mut b) = (Server::default(), election("a"), election("b"));
    round(&mut a, &mut server, at(0));
    round(&mut b, &mut server, at(0));
    round(&mut a, &mut server, at(5));
    for second in 9..15 {
        round(&mut b, &mut server, at(second));
    }
    // It saw the renewal at 9.
    round(&mut b, &mut server, at(18));
    assert!(!leads(&b, at(18)));
    round(&mut b, &mut server, at(19));
    assert!(leads(&b, at(19)));
}

#[test]
fn who_leaves_is_replaced_at_once() {
    let (mut server, mut a, mut b) = (Server::default(), election("a"), election("b"));
    round(&mut a, &mut server, at(0));
    round(&mut b, &mut server, at(1));
    let left = a.release().unwrap();
    assert!(!leads(&a, at(1)));
    server.write(Act::Replace(left)).unwrap();
    round(&mut b, &mut server, at(2));
    assert!(leads(&b, at(2)));
    assert_eq!(server.spec().lease_duration_seconds, Some(10));
    assert_eq!(a.release(), None);
}

/// The answer to a renewal is lost, but the Lease says who holds it.
#[test]
fn a_lost_answer_is_found_in_the_lease() {
    let (mut server, mut a) = (Server::default(), election("a"));
    let act = a.step(None, at(0));
    server.write(act).unwrap();
    assert!(!leads(&a, at(0)));
    round(&mut a, &mut server, at(2));
    assert!(leads(&a, at(2)));
    assert_eq!(server.spec().acquire_time.unwrap().0, at(0).wall);
}

#[test]
fn of_two_at_the_same_time_one_wins() {
    let (mut server, mut a, mut b) = (Server::default(), election("a"), election("b"));
    let (first, second) = (a.step(None, at(0)), b.step(None, at(0)));
    b.written(server.write(second).unwrap(), at(0).clock);
    assert_eq!(server.write(first), None);
    assert!(leads(&b, at(0)) && !leads(&a, at(0)));
}

#[test]
fn a_deleted_lease_is_not_a_reason_to_lead_at_once() {
    let (mut server, mut a, mut b) = (Server::default(), election("a"), election("b"));
    round(&mut a, &mut server, at(0));
    round(&mut b, &mut server, at(1));
    server.lease = None;
    assert_eq!(b.step(None, at(2)), Act::Wait(Duration::from_secs(2)));
    assert!(matches!(b.step(None, at(11)), Act::Create(_)));
    round(&mut a, &mut server, at(3));
    assert!(leads(&a, at(3)));
}

#[test]
fn odd_leases() {
    let lease = |spec: Option<LeaseSpec>| Some(Lease { metadata: ObjectMeta::default(), spec });
    assert!(matches!(election("a").step(lease(None), at(0)), Act::Replace(_)));
    let of = |holder: &str, seconds| LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: seconds,
        ..LeaseSpec::default()
    };
    assert!(matches!(election("a").step(lease(Some(of("", Some(9)))), at(0)), Act::Replace(_)));
    for (seconds, wait) in [(None, 10), (Some(-5), 10), (Some(3), 3), (Some(30), 30)] {
        let mut a = election("a");
        assert!(matches!(a.step(lease(Some(of("x", seconds))), at(0)), Act::Wait(_)));
        assert!(matches!(a.step(lease(Some(of("x", seconds))), at(wait - 1)), Act::Wait(_)), "{seconds:?}");
        assert!(matches!(a.step(lease(Some(of("x", seconds))), at(wait)), Act::Replace(_)), "{seconds:?}");
    }
    let mut worn = of("x", Some(1));
    worn.lease_transitions = Some(i32::MAX);
    let mut a = election("a");
    a.step(lease(Some(worn.clone())), at(0));
    let Act::Replace(taken) = a.step(lease(Some(worn)), at(1)) else { panic!() };
    assert_eq!(taken.spec.unwrap().lease_transitions, Some(i32::MAX));
}

/// What a replica is waiting for, in a simulation of requests that take time and get lost.
#[allow(clippy::large_enum_variant, reason = "there are three")]
enum Doing {
    /// The next look.
    Idle { until: u64 },
    /// The server gets the question at `served`, the replica the answer at `answered`.
    Reading { served: u64, answered: u64, seen: Option<Option<Lease>> },
    /// The same for a write.
    Writing { sent: u64, served: u64, answered: u64, act: Option<Act>, stored: Option<Lease> },
}

/// One request: how long it takes there and back, in ms, and whether its answer is lost.
type Trip = (u64, u64, bool);

struct Replica {
    election: Election,
    doing: Doing,
    trips: std::vec::IntoIter<Trip>,
}

impl Replica {
    fn trip(&mut self, now: u64) -> (u64, u64) {
        // Without any more trouble requests take 10 ms.
        let (there, back, lost) = self.trips.next().unwrap_or((5, 5, false));
        // A lost answer is given up after 2 s.
        (now + there, if lost { u64::MAX } else { now + there + back })
    }

    fn tick(&mut self, server: &mut Server, now: u64) {
        let wall = Timestamp::from_millisecond(now as i64).unwrap();
        match &mut self.doing {
            Doing::Idle { until } if *until <= now => {
                let (served, answered) = self.trip(now);
                self.doing = Doing::Reading { served, answered, seen: None };
            }
            Doing::Idle { .. } => {}
            Doing::Reading { served, answered, seen } => {
                if *served <= now && seen.is_none() {
                    *seen = Some(server.lease.clone());
                }
                if *answered == u64::MAX && now >= *served + 2_000 {
                    self.doing = Doing::Idle { until: now + 2_000 };
                } else if *answered <= now {
                    let lease = seen.take().unwrap();
                    match self.election.step(lease, Now { clock: ms(now), wall }) {
                        Act::Wait(wait) => self.doing = Doing::Idle { until: now + wait.as_millis() as u64 },
                        act => {
                            let (served, answered) = self.trip(now);
                            self.doing = Doing::Writing { sent: now, served, answered, act: Some(act), stored: None };
                        }
                    }
                }
            }
            Doing::Writing { sent, served, answered, act, stored } => {
                if *served <= now
                    && let Some(act) = act.take()
                {
                    *stored = server.write(act);
                }
                if *answered == u64::MAX && now >= *served + 2_000 {
                    self.doing = Doing::Idle { until: now + 2_000 };
                } else if *answered <= now {
                    if let Some(lease) = stored.take() {
                        self.election.written(lease, ms(*sent));
                    }
                    self.doing = Doing::Idle { until: now + 2_000 };
                }
            }
        }
    }
}

fn trips() -> impl Strategy<Value = Vec<Trip>> {
    // Now and then a request takes longer than a Lease lasts.
    let way = prop_oneof![8 => 0..50u64, 2 => 0..3_000u64, 1 => 0..20_000u64];
    prop::collection::vec((way.clone(), way, prop::bool::weighted(0.1)), 0..60)
}

proptest! {
    /// Requests of three replicas are slow and get lost in every way: never do two lead at the same time. Then the leader
    /// dies, and another one leads within 15 s.
    #[test]
    fn never_two_leaders_and_soon_another(trouble in prop::collection::vec(trips(), 3)) {
        let mut server = Server::default();
        let mut replicas: Vec<Replica> = trouble.into_iter().enumerate().map(|(i, trips)| Replica {
            election: election(&format!("replica-{i}")),
            doing: Doing::Idle { until: 300 * i as u64 },
            trips: trips.into_iter(),
        }).collect();
        let leaders = |replicas: &[Replica], now: u64| -> Vec<usize> {
            let leading = replicas.iter().enumerate();
            leading.filter(|(_, r)| r.election.leads_until().is_some_and(|until| ms(now) < until)).map(|(i, _)| i).collect()
        };
        let mut now = 0;
        let mut quiet_since = None;
        while quiet_since.is_none_or(|since| now < since + 30_000) {
            for replica in &mut replicas {
                replica.tick(&mut server, now);
            }
            prop_assert!(leaders(&replicas, now).len() <= 1, "at {now} ms");
            if quiet_since.is_none() && replicas.iter().all(|replica| replica.trips.len() == 0) {
                quiet_since = Some(now);
            }
            now += 10;
        }
        let leading = leaders(&replicas, now);
        prop_assert_eq!(leading.len(), 1, "after 30 s without trouble");
        replicas.remove(leading[0]);
        let died = now;
        while leaders(&replicas, now).is_empty() {
            now += 10;
            prop_assert!(now <= died + 15_000, "nobody leads");
            for replica in &mut replicas {
                replica.tick(&mut server, now);
            }
        }
    }
}
