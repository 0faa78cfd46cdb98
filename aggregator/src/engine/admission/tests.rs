use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

const TICK: Duration = Duration::from_millis(100);

fn at(ms: u64) -> UnixMicros {
    UnixMicros(1_000_000_000_000).plus(Duration::from_millis(ms))
}

/// So many services.
fn admission(services: usize) -> Admission {
    let mut admission = Admission::new(["configured"]);
    (1..services).for_each(|n| assert_eq!(admission.place(&format!("service-{n}")), n));
    admission
}

/// An aggregator that handles so much a second, and filters that keep what is not taken. What is shed waits at the filters.
struct Plant {
    admission: Admission,
    capacity: f64,
    /// What each service brings in a second.
    demand: f64,
    window: f64,
    kept_max: f64,
    queued: f64,
    kept: Vec<f64>,
    ms: u64,
    rng: StdRng,
}

impl Plant {
    fn new(services: usize, capacity: f64, times: f64, seed: u64) -> Self {
        let (demand, kept) = (capacity * times / services as f64, vec![0.0; services]);
        let rng = StdRng::seed_from_u64(seed);
        Plant {
            admission: admission(services),
            capacity,
            demand,
            window: 8.0 * demand,
            kept_max: 38.0 * demand,
            queued: 0.0,
            kept,
            ms: 0,
            rng,
        }
    }

    /// A tenth of a second; the lag that was seen.
    fn tick(&mut self) -> Duration {
        for (place, kept) in self.kept.iter_mut().enumerate() {
            // What has waited for longer than 38 s becomes coarser, and no more.
            *kept = (*kept + self.demand / 10.0 * self.rng.random_range(0.5..1.5)).min(self.kept_max);
            // Eight seconds are under way at most; more is kept at the filter.
            if self.admission.admits(place) {
                let sent = kept.min(self.window);
                *kept -= sent;
                self.queued += sent;
            }
        }
        self.queued = (self.queued - self.capacity / 10.0).max(0.0);
        self.ms += 100;
        let lag = Duration::from_secs_f64(self.queued / self.capacity);
        self.admission.waited(lag);
        self.admission.look(Duration::ZERO, at(self.ms));
        lag
    }

    fn shed(&self) -> usize {
        self.admission.overload().shed
    }
}

#[test]
fn at_four_times_the_capacity_the_oldest_are_taken_in_on_time() {
    for seed in 0..20 {
        let mut plant = Plant::new(40, 1_000.0, 4.0, seed);
        for _ in 0..600 {
            plant.tick();
        }
        let late = (0..1_200).filter(|_| plant.tick() >= HIGH).count();
        assert!(late < 400, "{late} of 1,200 looks saw a wait of a second or longer, seed {seed}");
        assert!((25..38).contains(&plant.shed()), "{} of 40 are shed, seed {seed}", plant.shed());
        assert!(plant.admission.admits(0));
        plant.demand = 0.0;
        for _ in 0..9_000 {
            plant.tick();
        }
        assert_eq!((plant.shed(), plant.kept.iter().sum::<f64>()), (0, 0.0), "seed {seed}");
    }
}

#[test]
fn nobody_is_shed_below_the_capacity() {
    for seed in 0..20 {
        let mut plant = Plant::new(40, 1_000.0, 0.9, seed);
        assert!((0..6_000).all(|_| plant.tick() < HIGH && plant.shed() == 0), "seed {seed}");
    }
}

#[test]
fn a_stall_is_no_overload() {
    let mut admission = admission(8);
    // The machine was suspended for a minute, and once more soon after.
    for (ms, lag_s) in [(0, 0), (100, 60), (200, 0), (2_300, 60), (2_400, 0)] {
        assert!(!admission.look(Duration::from_secs(lag_s), at(ms)));
    }
    assert_eq!(admission.overload().shed, 0);
}

#[test]
fn the_last_to_arrive_go_first_and_come_back_last() {
    let mut admission = admission(8);
    let mut look = |from_s: u64, to_s: u64, lag: Duration| {
        let mut shed = Vec::new();
        for ms in (from_s * 10..to_s * 10).map(|tenth| tenth * 100) {
            admission.look(lag, at(ms));
            shed.extend((shed.last() != Some(&admission.overload().shed)).then_some(admission.overload().shed));
        }
        (shed, (0..9).map(|place| admission.admits(place)).collect::<Vec<_>>())
    };
    let (shed, admitted) = look(0, 5, HIGH);
    assert_eq!((shed, admitted), (vec![0, 2, 3], (0..9).map(|place| place < 5).collect()));
    // Neither one nor the other.
    assert_eq!(look(5, 20, LOW).0, [3]);
    let (shed, admitted) = look(20, 40, Duration::ZERO);
    assert_eq!((shed, admitted), (vec![3, 2, 1, 0], vec![true; 9]));
}

#[test]
fn one_late_reporter_is_no_overload_and_all_of_them_are() {
    let look = |late: usize| {
        let mut admission = admission(8);
        for tenth in 0..40 {
            for reporter in 0..10 {
                admission.delayed(if reporter < late { 60 * HIGH } else { Duration::ZERO });
            }
            admission.look(Duration::ZERO, at(tenth * 100));
        }
        admission.overload().shed
    };
    assert_eq!(look(4), 0, "a few send what they kept while they were cut off");
    assert!(look(6) > 0);
}

#[test]
fn what_is_not_handled_at_all_does_not_look_like_calm() {
    let mut admission = admission(8);
    for tenth in 0..60 {
        // A report only every second: the machine hardly gets to run.
        if tenth % 10 == 0 {
            admission.delayed(2 * HIGH);
        }
        admission.look(Duration::ZERO, at(tenth * 100));
    }
    assert!(admission.overload().shed > 0);
    (60..90).for_each(|tenth| assert!(!admission.look(Duration::ZERO, at(tenth * 100)) || tenth < 80));
    assert_eq!(admission.overload().lag, Duration::ZERO, "nothing came for two seconds: nothing waits");
}

#[test]
fn one_service_alone_is_never_shed() {
    let mut admission = admission(1);
    assert!((0..100).all(|tenth| !admission.look(HIGH, at(tenth * 100)) && admission.admits(0)));
}

#[test]
fn who_is_new_while_others_are_shed_is_shed_and_has_its_place() {
    let mut admission = admission(4);
    for tenth in 0..25 {
        admission.look(HIGH, at(tenth * 100));
    }
    let place = admission.place("late");
    assert!(!admission.admits(place));
    assert_eq!((admission.place("late"), admission.overload().services), (place, 5));
}

proptest! {
    /// Whatever the waits: who is let in is a beginning of the order of arrival, and never nobody.
    #[test]
    fn somebody_is_always_let_in(services in 1_usize..50, lags in prop::collection::vec((0_u64..5_000, 1_u64..100), 1..60)) {
        let mut admission = admission(services);
        let mut ms = 0;
        for (lag, ticks) in lags {
            for _ in 0..ticks {
                ms += TICK.as_millis() as u64;
                admission.look(Duration::from_millis(lag), at(ms));
                let shed = admission.overload().shed;
                prop_assert!(shed < services);
                prop_assert!((0..services).all(|place| admission.admits(place) == (place < services - shed)));
            }
        }
        for tenth in 0..2_000 {
            admission.look(Duration::ZERO, at(ms + tenth * 100));
        }
        prop_assert_eq!(admission.overload().shed, 0);
    }
}
