use std::{io::Write, sync::Arc};

use parquet::{
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

use super::{Row, Sink};

const SCHEMA: &str = "message serin {
    required int64 second;
    required binary service (utf8);
    required binary route (utf8);
    required binary release (utf8);
    required binary pod (utf8);
    required binary outcome (utf8);
    required binary vantage (utf8);
    required binary timing (utf8);
    required int64 bucket_low_us;
    required int64 count;
}";
const TEXTS: usize = 7;
/// Rows in one group: with 150 B a row in memory, 15 MB.
const GROUP_ROWS: usize = 100_000;

/// A row for each bucket.
pub(super) struct Table<W: Write + Send> {
    file: SerializedFileWriter<W>,
    second: Vec<i64>,
    texts: [Vec<ByteArray>; TEXTS],
    bucket_low_us: Vec<i64>,
    count: Vec<i64>,
}

impl<W: Write + Send> Table<W> {
    pub(super) fn begin(to: W) -> anyhow::Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let file = SerializedFileWriter::new(to, schema, Arc::new(WriterProperties::builder().build()))?;
        Ok(Table { file, second: Vec::new(), texts: Default::default(), bucket_low_us: Vec::new(), count: Vec::new() })
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        let mut group = self.file.next_row_group()?;
        let mut texts = self.texts.iter_mut();
        let mut numbers = [&mut self.second, &mut self.bucket_low_us, &mut self.count].into_iter();
        let mut at = 0;
        while let Some(mut column) = group.next_column()? {
            if (1..=TEXTS).contains(&at) {
                let values = texts.next().map(std::mem::take).unwrap_or_default();
                column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
            } else {
                let values = numbers.next().map(std::mem::take).unwrap_or_default();
                column.typed::<Int64Type>().write_batch(&values, None, None)?;
            }
            column.close()?;
            at += 1;
        }
        group.close()?;
        Ok(())
    }
}

impl<W: Write + Send> Sink for Table<W> {
    fn take(&mut self, Row { entry, timing, counts }: &Row<'_>) -> anyhow::Result<()> {
        let words = [entry.outcome().word(), entry.vantage().word()];
        let [outcome, vantage] = words.each_ref().map(String::as_str);
        let texts: [&str; TEXTS] = [&entry.service, &entry.route, &entry.release, &entry.pod, outcome, vantage, timing];
        let texts = texts.map(ByteArray::from);
        for (bucket, count) in counts.iter() {
            self.second.push(entry.start_s.cast_signed());
            for (column, text) in self.texts.iter_mut().zip(&texts) {
                column.push(text.clone());
            }
            self.bucket_low_us.push(bucket.lower().0.cast_signed());
            self.count.push(i64::try_from(count).unwrap_or(i64::MAX));
        }
        if self.second.len() >= GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn end(mut self: Box<Self>) -> anyhow::Result<()> {
        if !self.second.is_empty() {
            self.write_group()?;
        }
        self.file.close()?;
        Ok(())
    }
}
