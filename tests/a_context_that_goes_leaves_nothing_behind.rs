//! When Envoy replaces a configuration, the old root context goes without a word. Does another one deliver what it had counted,
//! also when the one that took it over goes as well? In a small host, where contexts go when the test says so.

use std::collections::BTreeMap;

use anyhow::Result;
use serin_proto::convert::from_wire;
use support::vm::{Request, Vm};

const SECOND: u64 = 1_000_000_000;

fn plugin(service: &str) -> String {
    format!(
        r#"{{"cluster": "serin", "vantage": "gateway", "service": {{"fixed": "{service}"}}, "release": "cluster"}}"#
    )
}

/// So many seconds in which only this context ticks, and everything that is sent is acknowledged, or nothing.
fn seconds(vm: &mut Vm, context: u32, seconds: u64, answers: bool) -> Result<()> {
    for _ in 0..seconds {
        vm.around().now_ns += SECOND;
        vm.tick(context)?;
        let sent: Vec<(u32, u64)> = vm.around().sent.iter().map(|(token, report)| (*token, report.sequence)).collect();
        for (token, sequence) in sent.into_iter().filter(|(_, sequence)| answers && *sequence > 0) {
            vm.acknowledge(token, sequence)?;
        }
    }
    Ok(())
}

/// Requests by the context that counted them, each report once.
fn delivered(vm: &mut Vm) -> BTreeMap<u32, u64> {
    let (mut context_of, mut reports) = (BTreeMap::new(), BTreeMap::new());
    for (token, report) in &vm.around().sent {
        if let Some(reporter) = &report.reporter {
            context_of.insert(*token, reporter.context_id);
        }
        let totals = report.deltas.iter().map(|d| from_wire(&d.total.clone().unwrap()).unwrap().total());
        reports.insert((context_of[token], report.sequence), totals.sum::<u64>());
    }
    let mut by_context = BTreeMap::new();
    for ((context, _), requests) in reports {
        *by_context.entry(context).or_default() += requests;
    }
    by_context
}

#[test]
fn another_context_delivers_what_it_counted() -> Result<()> {
    let mut vm = Vm::load()?;
    let request = Request::success("checkout", "v1", 5_000, 4_000);
    vm.configure(1, &plugin("a"))?;
    vm.log(1, &request)?;
    // Sent, and never acknowledged; then more, which was not even sent.
    seconds(&mut vm, 1, 2, false)?;
    vm.log(1, &request)?;
    vm.configure(2, &plugin("b"))?;
    vm.log(2, &request)?;
    // The second goes as well, before it could deliver anything.
    seconds(&mut vm, 2, 6, false)?;
    vm.configure(3, &plugin("c"))?;
    seconds(&mut vm, 3, 30, true)?;
    let want: BTreeMap<u32, u64> = [(1, 2), (2, 1), (3, 0)].into();
    assert_eq!(delivered(&mut vm), want);
    assert_eq!(vm.around().logs, [""; 0]);
    Ok(())
}

/// One that only stood still for a while takes its own back.
#[test]
fn a_context_that_comes_back_goes_on() -> Result<()> {
    let mut vm = Vm::load()?;
    let request = Request::success("checkout", "v1", 5_000, 4_000);
    vm.configure(1, &plugin("a"))?;
    vm.configure(2, &plugin("b"))?;
    vm.log(1, &request)?;
    seconds(&mut vm, 2, 5, false)?;
    vm.log(1, &request)?;
    seconds(&mut vm, 1, 20, true)?;
    assert_eq!(delivered(&mut vm).get(&1), Some(&2));
    Ok(())
}

/// The wall clock is set back and forth by a minute: nobody is taken for gone.
#[test]
fn a_clock_that_is_set_is_no_reason_to_forget_a_context() -> Result<()> {
    for plugins in 1..=2 {
        for step in [60 * SECOND as i64, -60 * SECOND as i64] {
            let mut vm = Vm::load()?;
            let request = Request::success("checkout", "v1", 5_000, 4_000);
            (1..=plugins).try_for_each(|context| vm.configure(context, &plugin(&format!("s{context}"))))?;
            for second in 0..20 {
                if second == 10 {
                    let now = &mut vm.around().now_ns;
                    *now = now.saturating_add_signed(step);
                }
                for context in 1..=plugins {
                    vm.log(context, &request)?;
                    // Ticks of one worker are not evenly spaced: the first one comes twice.
                    (0..=plugins - context).try_for_each(|_| seconds(&mut vm, context, 1, true))?;
                }
            }
            seconds(&mut vm, 1, 20, true)?;
            let delivered = delivered(&mut vm);
            assert!(
                (1..=plugins).all(|context| delivered.get(&context) == Some(&20)),
                "{plugins}, {step}: {delivered:?}"
            );
        }
    }
    Ok(())
}
