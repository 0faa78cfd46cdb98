use std::{
    io::Write,
    time::{Duration, UNIX_EPOCH},
};

use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};

use super::{Row, Sink};

/// The longest latency in microseconds, and the significant digits: those of the sketch, whose buckets are HdrHistogram's.
const MAX_US: u64 = serin_sketch::Micros::MAX.0;
const DIGITS: u8 = 2;

/// An HdrHistogram interval log. Its histograms are written at the end, because the log's writer borrows what it writes to.
pub(super) struct Log<W: Write> {
    to: W,
    from_s: u64,
    intervals: Vec<Interval>,
}

struct Interval {
    start_s: u64,
    tag: String,
    histogram: Histogram<u64>,
}

impl<W: Write> Log<W> {
    pub(super) fn begin(to: W, from_s: u64) -> Self {
        Log { to, from_s, intervals: Vec::new() }
    }
}

impl<W: Write> Sink for Log<W> {
    fn take(&mut self, Row { entry, timing, counts }: &Row<'_>) -> anyhow::Result<()> {
        let mut histogram = Histogram::new_with_bounds(1, MAX_US, DIGITS)?;
        for (bucket, count) in counts.iter() {
            histogram.record_n(bucket.lower().0, count)?;
        }
        let words = [entry.outcome().word(), (*timing).to_owned()];
        let names = [&entry.service, &entry.route, &entry.release, &entry.pod].into_iter().chain(&words);
        // Commas, spaces and line ends divide a log's fields.
        let tag = names.map(|name| name.replace([',', ' ', '\n', '\r'], "_")).collect::<Vec<_>>().join("/");
        self.intervals.push(Interval { start_s: entry.start_s, tag, histogram });
        Ok(())
    }

    fn end(mut self: Box<Self>) -> anyhow::Result<()> {
        let from = self.from_s;
        // Starts that repeat tell how long an interval is; with one of them it is not known.
        let mut starts: Vec<u64> = self.intervals.iter().map(|interval| interval.start_s).collect();
        starts.dedup();
        let shortest =
            starts.windows(2).filter_map(|pair| pair.last()?.checked_sub(*pair.first()?)).filter(|s| *s > 0).min();
        let length = Duration::from_secs(shortest.unwrap_or(1));
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("serin export: microseconds; tag: service/route/release/pod/outcome/timing")
            .with_base_time(UNIX_EPOCH)
            .with_start_time(UNIX_EPOCH + Duration::from_secs(from))
            .begin_log_with(&mut self.to, &mut serializer)?;
        for Interval { start_s, tag, histogram } in &self.intervals {
            let start = Duration::from_secs(*start_s);
            let tag = Tag::new(tag);
            log.write_histogram(histogram, start, length, tag).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        }
        Ok(self.to.flush()?)
    }
}
