//! What the history costs: durable appends, roll-up, disk, and a quantile over 15 days. `DIR=/path` says where; the temporary directory is
//! often memory, where nothing is durable.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::{error::Error, fs, path::PathBuf, time::Instant};

use serin_history::{Delta, Histograms, History, Packed, Query, Report, Retention, Selector, Series};
use serin_sketch::{Bucket, Counts};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const START_S: u64 = 1_764_072_000;
const DAY_S: u64 = 86_400;
const BUCKETS: u32 = 40;

/// Knuth's MMIX generator.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// Forty non-empty buckets near each other, most with a small count.
    fn counts(&mut self, scale: u64) -> Counts {
        let mut index = 900 + self.below(300) as u32;
        let buckets = (0..BUCKETS).filter_map(|_| {
            index += 1 + (self.below(8) * self.below(3)) as u32;
            Some((Bucket::from_index(index)?, 1 + self.below(6) * self.below(6) * scale))
        });
        buckets.collect()
    }

    fn histograms(&mut self, scale: u64) -> Histograms {
        Histograms { upstream: self.counts(scale), total: self.counts(scale), retries: 0 }
    }
}

fn series(number: u64) -> Series {
    Series {
        service: "shop".into(),
        route: format!("route-{}", number / 2),
        release: format!("v{}", number % 2),
        pod: String::new(),
        outcome: 1,
        vantage: 1,
    }
}

fn append(history: &History, sequence: u64, second: u64, counted: &[(Series, Histograms)]) -> Result<f64> {
    let deltas = counted
        .iter()
        .map(|(series, histograms)| Delta { series: series.borrowed(), histograms: Packed::from(histograms) });
    let report = Report { reporter: b"bench", sequence, second, deltas: deltas.collect() };
    let start = Instant::now();
    history.append(&[report])?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// CPU of this process so far, in ms.
fn cpu_ms() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let ticks = stat.rsplit(')').next().into_iter().flat_map(|rest| rest.split_whitespace().skip(11).take(2));
    Ok(ticks.map(str::parse::<f64>).sum::<std::result::Result<f64, _>>()? * 10.0)
}

/// What this process had written to disks so far, in bytes.
fn written() -> Result<f64> {
    let io = fs::read_to_string("/proc/self/io")?;
    Ok(io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap_or("0").parse()?)
}

/// Ten minutes of 1,000 series: each second one durable batch, each minute a roll-up.
fn live(history: &History) -> Result<()> {
    let (mut numbers, mut appends, mut roll_ups) = (Numbers(7), Vec::new(), Vec::new());
    let (mut cpu_append_ms, mut cpu_roll_up_ms) = (0.0, 0.0);
    let (before, names) = (written()?, (0..1_000).map(series).collect::<Vec<_>>());
    for second in 0..600 {
        let counted: Vec<_> = names.iter().map(|series| (series.clone(), numbers.histograms(1))).collect();
        let cpu = cpu_ms()?;
        appends.push(append(history, second + 1, START_S + second, &counted)?);
        cpu_append_ms += cpu_ms()? - cpu;
        if second % 60 == 59 {
            let (start, cpu) = (Instant::now(), cpu_ms()?);
            history.roll_up(START_S + second + 6)?;
            history.expire(START_S + second + 6)?;
            roll_ups.push(start.elapsed().as_secs_f64() * 1e3);
            cpu_roll_up_ms += cpu_ms()? - cpu;
        }
    }
    for (name, times) in [("append of 1 s of 1,000 series", &mut appends), ("roll-up of their minute", &mut roll_ups)] {
        times.sort_by(f64::total_cmp);
        let at = |q: f64| times.get((times.len() as f64 * q) as usize).copied().unwrap_or_default();
        println!("{name}: p50 {:.2} ms, p99 {:.2} ms, {} times", at(0.5), at(0.99), times.len());
    }
    println!("CPU: {:.2} ms an append, {:.1} ms a roll-up", cpu_append_ms / 600.0, cpu_roll_up_ms / 10.0);
    println!("written: {:.0} kB a second", (written()? - before) / 600e3);
    Ok(())
}

/// Days of minutes of some series, every minute with forty non-empty buckets in both timings.
fn fill(history: &History, days: u64, count: u64) -> Result<u64> {
    let names: Vec<_> = (0..count).map(series).collect();
    let mut numbers = Numbers(3);
    let start = START_S - days * DAY_S;
    for minute in 0..days * 1_440 {
        let counted: Vec<_> = names.iter().map(|series| (series.clone(), numbers.histograms(20))).collect();
        let now = start + minute * 60;
        append(history, minute + 1, now, &counted)?;
        if minute % 15 == 14 {
            history.roll_up(now + 66)?;
            history.expire(now + 66)?;
        }
    }
    Ok(START_S)
}

fn main() -> Result<()> {
    let parent = std::env::var_os("DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = parent.join("serin-bench-history");
    let days = std::env::var("DAYS").map_or(Ok(15), |days| days.parse())?;
    let count = std::env::var("SERIES").map_or(Ok(20), |count| count.parse())?;
    let _ = fs::remove_dir_all(&directory);
    live(&History::open(&directory.join("live"), Retention::default())?)?;

    let history = History::open(&directory.join("days"), Retention::default())?;
    let now = fill(&history, days, count)?;
    let size = history.size()?;
    println!(
        "{days} days of minutes of {count} series: file {} MB, in use {} MB",
        size.file_bytes >> 20,
        size.used_bytes >> 20
    );
    println!("disk: {:.0} kB a series-day", size.used_bytes as f64 / (count * days) as f64 / 1e3);
    let mut queries_ms = Vec::new();
    for number in [0, count / 2, count - 1] {
        let start = Instant::now();
        let sum = history.merged(&Selector::only(&series(number)), now - days * DAY_S, now)?;
        let p99 = sum.total.quantile(0.99).map(|bucket| bucket.mid().0);
        let ms = start.elapsed().as_secs_f64() * 1e3;
        queries_ms.push(ms);
        println!("p99 over {days} days of one series: {ms:.1} ms ({} requests, {p99:?} us)", sum.total.total());
    }
    queries_ms.sort_by(f64::total_cmp);
    let (disk, query_ms) = (size.used_bytes as f64 / (count * days) as f64, queries_ms[queries_ms.len() / 2]);
    fs::create_dir_all("target/bench")?;
    let json = format!("{{\"disk_bytes_per_series_day\": {disk:.0}, \"query_15d_ms\": {query_ms:.1}}}\n");
    fs::write("target/bench/history.json", json)?;
    let start = Instant::now();
    let selector = Selector::only(&series(0));
    let entries = history.read(&Query { selector, from_s: now - DAY_S, to_s: now, resolution_s: 60 })?;
    println!(
        "a day of minutes of one series, each by itself: {:.1} ms ({} entries)",
        start.elapsed().as_secs_f64() * 1e3,
        entries.len()
    );
    let start = Instant::now();
    let checked = history.check()?;
    println!("check: {:.2} s, {} problems", start.elapsed().as_secs_f64(), checked.problem_count);
    drop(history);
    let start = Instant::now();
    let history = History::open(&directory.join("days"), Retention::default())?;
    println!("open: {:.3} s", start.elapsed().as_secs_f64());
    history.expire(now + days * DAY_S - DAY_S)?;
    let start = Instant::now();
    let left = history.reclaim()?;
    println!(
        "all but a day dropped and reclaimed in {:.2} s: file {} MB",
        start.elapsed().as_secs_f64(),
        left.file_bytes >> 20
    );
    fs::remove_dir_all(&directory)?;
    Ok(())
}
