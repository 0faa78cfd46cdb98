//! Who stopped and who did not, in sentences.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::shares::Shares,
    Confirm,
    unit::{Told, Unit},
};

/// Proxies, or workloads, that a sentence names.
const NAMES_MAX: usize = 3;

impl Confirm {
    /// How they stopped, where there are several: `: 13 proxies of shop/client after 9.3 s, 4 proxies of shop/mobile after 2.1 s`.
    pub(in super::super) fn how(&self, recent: &Shares) -> String {
        let mut units = self.units(recent);
        units.sort_by_key(|unit| std::cmp::Reverse(unit.stopped()));
        let all = || units.iter().flat_map(|unit| &unit.proxies);
        let proxies = all().count();
        if proxies < 2 {
            return String::new();
        }
        let stops = || all().filter(|told| told.has_sent).map(|told| told.stopped);
        if stops().min() == stops().max() {
            return format!(", at each of {proxies} proxies{}", of_all(&units));
        }
        if let [unit] = &units[..] {
            return stopped_apart(unit);
        }
        let names = if units.iter().all(|unit| unit.workload.is_empty()) { 1 } else { NAMES_MAX };
        let (named, others) = units.split_at(names.min(units.len()));
        let mut parts: Vec<String> = named.iter().map(stopped_as_one).collect();
        if let Some(next) = others.first() {
            let (n, what) = (others.len(), what_they_are(&units));
            parts.push(format!("the other {n} {what} within {:.1} s", next.stopped().as_secs_f64()));
        }
        format!(": {}", parts.join(", "))
    }

    /// Who still sends, where that is not everybody.
    pub(in super::super) fn who(&self, recent: &Shares, candidate: &str) -> Option<String> {
        let units = self.units(recent);
        let sends: Vec<&Arc<str>> = units.iter().flat_map(Unit::sends).map(|told| told.node).collect();
        let stopped = || units.iter().flat_map(|unit| &unit.proxies).filter(|told| told.is_settled());
        let latest = stopped().map(|told| told.stopped).max().filter(|_| !sends.is_empty())?;
        let who = named(&sends, recent).unwrap_or_else(|| format!("{} proxies", sends.len()));
        let (verb, latest) = (if sends.len() == 1 { "sends" } else { "send" }, latest.as_secs_f64());
        let (others, whole) = (stopped().count(), whole_workloads(&units));
        Some(format!("{who} still {verb} {candidate} requests; the other {others} stopped within {latest:.1} s{whole}"))
    }
}

/// Those who send the candidate requests, where they are few.
pub(in super::super) fn few(recent: &Shares) -> Option<String> {
    let sends: Vec<&Arc<str>> = recent.senders().map(|(node, _)| node).collect();
    let is_few = !sends.is_empty() && sends.len() < recent.by.len();
    is_few.then(|| named(&sends, recent)).flatten()
}

/// A few proxies, or those of a few workloads.
fn named(nodes: &[&Arc<str>], recent: &Shares) -> Option<String> {
    let workload = |node: &str| recent.by.get(node).map_or("", |sent| &sent.workload);
    if nodes.len() <= NAMES_MAX {
        let own = |node: &str| recent.of(node).share().unwrap_or_default() * 100.0;
        let one = |node: &&Arc<str>| format!("{} ({:.1}% of its own)", full_name(node, workload(node)), own(node));
        return Some(nodes.iter().map(one).collect::<Vec<_>>().join(", "));
    }
    let mut by_workload: BTreeMap<&str, usize> = BTreeMap::new();
    nodes.iter().for_each(|node| *by_workload.entry(workload(node)).or_default() += 1);
    let is_few = by_workload.len() <= NAMES_MAX && !by_workload.contains_key("");
    let one = |(workload, sends): (&str, usize)| {
        let all = recent.by.values().filter(|sent| &*sent.workload == workload).count();
        let of_it = if sends < all { format!("{sends} of the {all}") } else { format!("all {all}") };
        format!("{of_it} proxies of {workload}")
    };
    is_few.then(|| by_workload.into_iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Those of which every proxy has stopped, by name so that the same ones are told alike.
fn whole_workloads(units: &[Unit<'_>]) -> String {
    let mut whole: Vec<&Unit<'_>> =
        units.iter().filter(|unit| !unit.workload.is_empty() && unit.is_settled()).collect();
    whole.sort_by_key(|unit| unit.workload);
    let seconds = |unit: &Unit<'_>| unit.stopped().as_secs_f64();
    match whole.len() {
        0 => String::new(),
        1..=NAMES_MAX => {
            let one = |unit: &&Unit<'_>| format!("all of {} within {:.1} s", unit.workload, seconds(unit));
            format!(", among them {}", whole.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        n => {
            let latest = whole.iter().map(|unit| seconds(unit)).fold(0.0, f64::max);
            format!(", among them all of {n} workloads within {latest:.1} s")
        }
    }
}

/// The only ones there are, where they did not stop at the same time.
fn stopped_apart(unit: &Unit<'_>) -> String {
    let mut by_time: Vec<&Told<'_>> = unit.proxies.iter().collect();
    by_time.sort_by_key(|told| std::cmp::Reverse(told.stopped));
    let [last, next, ..] = by_time[..] else { return String::new() };
    let others = if by_time.len() == 2 { "proxy".to_owned() } else { format!("{} proxies", by_time.len() - 1) };
    format!(
        ": {} after {:.1} s, the other {others} of {} within {:.1} s",
        name(last.node),
        last.stopped.as_secs_f64(),
        unit.workload,
        next.stopped.as_secs_f64()
    )
}

/// `13 proxies of shop/client after 9.3 s`.
fn stopped_as_one(unit: &Unit<'_>) -> String {
    let who = match &unit.proxies[..] {
        [told] => full_name(told.node, unit.workload),
        proxies => format!("{} proxies of {}", proxies.len(), unit.workload),
    };
    format!("{who} after {:.1} s", unit.stopped().as_secs_f64())
}

fn of_all(units: &[Unit<'_>]) -> String {
    match units {
        [unit] => format!(" of {}", unit.workload),
        units if units.iter().all(|unit| !unit.workload.is_empty()) => format!(" of {} workloads", units.len()),
        _ => String::new(),
    }
}

fn what_they_are(units: &[Unit<'_>]) -> &'static str {
    let known = units.iter().filter(|unit| !unit.workload.is_empty()).count();
    match known {
        0 => "of the proxies",
        known if known == units.len() => "workloads",
        _ => "of the workloads and proxies",
    }
}

fn full_name(node: &str, workload: &str) -> String {
    let name = name(node);
    if workload.is_empty() { name.to_owned() } else { format!("{name} of {workload}") }
}

/// Istio's node ids are `sidecar~ADDRESS~POD.NAMESPACE~DOMAIN`: the pod says enough.
fn name(node: &str) -> &str {
    let mut parts = node.split('~');
    match (parts.next(), parts.nth(1), parts.next(), parts.next()) {
        (Some("sidecar" | "router" | "waypoint"), Some(pod), Some(_), None) if !pod.is_empty() => pod,
        _ => node,
    }
}
