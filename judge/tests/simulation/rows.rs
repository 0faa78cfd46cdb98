use super::*;

#[test]
fn a_a_iid() {
    leaves_alone("A/A iid 5%", World::new(0.05, IID, Change::Nothing), 40, 600);
    leaves_alone("A/A iid 50%", World::new(0.5, IID, Change::Nothing), 40, 600);
}

#[test]
fn a_a_bursty() {
    leaves_alone("A/A bursty 5%", World::new(0.05, BURSTY, Change::Nothing), 60, 600);
    leaves_alone("A/A bursty 50%", World::new(0.5, BURSTY, Change::Nothing), 60, 600);
}

#[test]
fn a_a_few_pods() {
    leaves_alone("A/A bursty 3+3 pods", demo(500.0, BURSTY, Change::Nothing), 100, 600);
    leaves_alone("A/A pod sd 6% 3+3 pods", demo(500.0, Noise::Bursty(0.06), Change::Nothing), 100, 600);
}

#[test]
fn common_causes() {
    let common = |noise| World { onset: 100, ..World::new(0.5, noise, Change::Common(1.5)) };
    leaves_alone("common x1.5 iid", common(IID), 20, 400);
    leaves_alone("common x1.5 bursty", common(BURSTY), 20, 400);
    leaves_alone("common x1.5 3+3 pods", demo(1_000.0, BURSTY, Change::Common(1.5)), 20, 400);
}

#[test]
fn warm_up() {
    for (name, share, noise) in
        [("iid 5%", 0.05, IID), ("iid 50%", 0.5, IID), ("bursty 5%", 0.05, BURSTY), ("bursty 50%", 0.5, BURSTY)]
    {
        leaves_alone(&format!("warm-up {name}"), World::new(share, noise, Change::WarmUp(20.0)), 20, 400);
    }
}

#[test]
fn tail_regressions() {
    finds("tail +20% iid 5%", World::new(0.05, IID, Change::Tail(1.2)), 12, 250);
    finds("tail +50% iid 5%", World::new(0.05, IID, Change::Tail(1.5)), 12, 110);
    finds("tail +20% iid 50%", World::new(0.5, IID, Change::Tail(1.2)), 12, 90);
    finds("tail +50% iid 50%", World::new(0.5, IID, Change::Tail(1.5)), 12, 65);
    finds("tail +50% bursty 5%", World::new(0.05, BURSTY, Change::Tail(1.5)), 12, 180);
    finds("whole +20% iid 5%", World::new(0.05, IID, Change::Whole(1.2)), 12, 95);
}

#[test]
fn fast_lane() {
    for share in [0.2, 0.5, 1.0] {
        finds("errors 5%", World::new(0.05, IID, Change::Errors(share)), 10, 10);
        finds("errors 50%", World::new(0.5, IID, Change::Errors(share)), 10, 10);
    }
    finds("x5 5%", World::new(0.05, IID, Change::Whole(5.0)), 10, 10);
    finds("x3 5%", World::new(0.05, IID, Change::Whole(3.0)), 10, 14);
    finds("x3 50%", World::new(0.5, IID, Change::Whole(3.0)), 10, 11);
}

#[test]
fn demo_settings() {
    for (name, rps, noise) in
        [("300 rps iid", 300.0, IID), ("1000 rps iid", 1_000.0, IID), ("1000 rps bursty", 1_000.0, BURSTY)]
    {
        finds(&format!("demo tail +50% {name}"), demo(rps, noise, Change::Tail(1.5)), 12, 60);
        finds(&format!("demo whole +50% {name}"), demo(rps, noise, Change::Whole(1.5)), 12, 60);
        finds(&format!("demo errors {name}"), demo(rps, noise, Change::Errors(1.0)), 12, 12);
        finds(&format!("demo hang 20% {name}"), demo(rps, noise, Change::Hang(0.2)), 12, 15);
    }
}

/// Without pods, what one bad pod could explain takes long: a doubled tail is found, +50% is not promised.
#[test]
fn pods_that_cannot_be_told_apart() {
    let world = |change| World { pods_known: false, ..demo(1_000.0, IID, change) };
    finds("pods unknown, tail +100%", world(Change::Tail(2.0)), 6, 150);
    finds("pods unknown, errors", world(Change::Errors(0.5)), 6, 12);
    leaves_alone("pods unknown, A/A", world(Change::Nothing), 20, 400);
}

#[test]
fn health_is_proven() {
    for (share, within_s) in [(0.05, 600), (0.5, 200)] {
        let world = World::new(share, IID, Change::Nothing);
        let mut times: Vec<u64> = (0..7).filter_map(|seed| run(world, seed, 2 * within_s, true).healthy).collect();
        times.sort_unstable();
        if printed().is_some() {
            println!("healthy at {share}: {times:?}");
        }
        assert!(times.get(3).is_some_and(|s| *s <= within_s), "{share}: {times:?}");
    }
}
