use std::io::Write;

use super::{Row, Sink};

/// A row for each bucket.
pub(super) struct Rows<W: Write>(csv::Writer<W>);

impl<W: Write> Rows<W> {
    pub(super) fn begin(to: W) -> anyhow::Result<Self> {
        let mut rows = csv::Writer::from_writer(to);
        rows.write_record([
            "second",
            "service",
            "route",
            "release",
            "pod",
            "outcome",
            "vantage",
            "timing",
            "bucket_low_us",
            "count",
        ])?;
        Ok(Rows(rows))
    }
}

impl<W: Write> Sink for Rows<W> {
    fn take(&mut self, Row { entry, timing, counts }: &Row<'_>) -> anyhow::Result<()> {
        let second = entry.start_s.to_string();
        let (outcome, vantage) = (entry.outcome().word(), entry.vantage().word());
        for (bucket, count) in counts.iter() {
            let (low, count) = (bucket.lower().0.to_string(), count.to_string());
            let names = [&entry.service, &entry.route, &entry.release, &entry.pod].map(String::as_str);
            let [service, route, release, pod] = names;
            self.0.write_record([&second, service, route, release, pod, &outcome, &vantage, timing, &low, &count])?;
        }
        Ok(())
    }

    fn end(mut self: Box<Self>) -> anyhow::Result<()> {
        Ok(self.0.flush()?)
    }
}
