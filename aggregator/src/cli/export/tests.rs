use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use bytes::Bytes;
use hdrhistogram::serialization::{
    Deserializer,
    interval_log::{IntervalLogIterator, LogEntry},
};
use serin_proto::v1::{Outcome, Vantage};
use serin_sketch::{Bucket, Micros};

use super::*;

/// A file in memory, which is still there when it is written.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn counts() -> Counts {
    [(40_000, 3), (156_000, 2), (599_000_000, 1)].into_iter().map(|(us, n)| (Bucket::of(Micros(us)), n)).collect()
}

fn entry(start_s: u64) -> HistoryEntry {
    HistoryEntry {
        start_s,
        service: "shop".into(),
        route: "GET /cart, all".into(),
        release: "v1".into(),
        pod: "p".into(),
        outcome: Outcome::Success.into(),
        vantage: Vantage::Gateway.into(),
        total: Some(convert::to_wire(&counts())),
        ..HistoryEntry::default()
    }
}

fn written(sink: impl FnOnce(Memory) -> Box<dyn Sink>) -> Vec<u8> {
    let memory = Memory::default();
    let mut sink = sink(memory.clone());
    for entry in [entry(1_200), entry(1_260)] {
        rows(&entry).unwrap().iter().for_each(|row| sink.take(row).unwrap());
    }
    sink.end().unwrap();
    std::mem::take(&mut *memory.0.lock().unwrap())
}

#[test]
fn csv_has_a_row_for_each_bucket() {
    let text = written(|to| Box::new(csv::Rows::begin(to).unwrap()));
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 2 * 3);
    assert_eq!(lines[0], "second,service,route,release,pod,outcome,vantage,timing,bucket_low_us,count");
    assert_eq!(lines[1], "1200,shop,\"GET /cart, all\",v1,p,success,gateway,total,39936,3");
}

/// What the HdrHistogram library reads back is what was written.
#[test]
fn hlog_is_read_by_the_library() {
    let log = written(|to| Box::new(hlog::Log::begin(to, 1_200)));
    let mut intervals = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let encoded = base64(interval.encoded_histogram());
            let histogram: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut &*encoded).unwrap();
            let tag = interval.tag().map(|tag| tag.as_str().to_owned());
            intervals.push((interval.start_timestamp().as_secs(), interval.duration().as_secs(), tag, histogram.len()));
            assert!((histogram.max() as f64 / 599e6 - 1.0).abs() < 0.01, "{}", histogram.max());
            assert_eq!(histogram.value_at_quantile(0.5), 40_191, "the last microsecond of its bucket");
        }
    }
    let tag = Some("shop/GET_/cart__all/v1/p/success/total".to_owned());
    assert_eq!(intervals, [(1_200, 60, tag.clone(), 6), (1_260, 60, tag, 6)]);
}

/// RFC 4648, as a log has its histograms.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut n) = (Vec::new(), 0u32, 0);
    for digit in text.bytes().filter_map(|digit| DIGITS.iter().position(|known| *known == digit)) {
        (bits, n) = (bits << 6 | digit as u32, n + 6);
        if n >= 8 {
            n -= 8;
            bytes.push((bits >> n) as u8);
        }
    }
    bytes
}

#[test]
fn parquet_is_read_by_the_library() {
    let bytes = written(|to| Box::new(parquet::Table::begin(to).unwrap()));
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    let rows: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    assert_eq!(rows.len(), 6);
    assert!(
        rows[0].contains("second: 1200") && rows[0].contains("timing: \"total\"") && rows[0].contains("count: 3"),
        "{}",
        rows[0]
    );
}
