mod csv;
mod hlog;
mod parquet;

use std::{fs::File, io::BufWriter, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use serin_proto::{
    convert,
    v1::{HistoryEntry, ReadHistoryRequest, query_client::QueryClient},
};
use serin_sketch::Counts;

use super::client;
use crate::shell::now;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// As the filter labels it
    service: String,
    /// The file, which must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// hlog: HdrHistogram interval log, one tag a series and timing; parquet and csv: a row for each bucket
    #[arg(long, value_enum)]
    format: Format,
    /// How far back
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = super::duration)]
    last: Duration,
    /// How long each histogram is, where it is still kept so finely
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = super::duration)]
    resolution: Duration,
    /// Of this route only
    #[arg(long, default_value = "", hide_default_value = true)]
    route: String,
    /// Of this release only
    #[arg(long, default_value = "", hide_default_value = true)]
    release: String,
    #[command(flatten)]
    server: super::Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Hlog,
    Parquet,
    Csv,
}

/// One histogram of an entry, with what it is of.
struct Row<'a> {
    entry: &'a HistoryEntry,
    timing: &'static str,
    counts: Counts,
}

/// Something that takes histograms in time order.
trait Sink {
    fn take(&mut self, row: &Row<'_>) -> anyhow::Result<()>;
    fn end(self: Box<Self>) -> anyhow::Result<()>;
}

#[allow(clippy::print_stderr, reason = "the answer of a command line tool")]
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let to_s = now().second() + 1;
    let from_s = to_s.saturating_sub(options.last.as_secs().max(1));
    let request = ReadHistoryRequest {
        service: options.service,
        route: options.route,
        release: options.release,
        from_s,
        to_s,
        resolution_s: u32::try_from(options.resolution.as_secs()).unwrap_or(u32::MAX),
    };
    let mut query = QueryClient::new(client::endless(&options.server.server).await?);
    let mut entries = query.read_history(request).await.map_err(client::told)?.into_inner();
    let about = || format!("cannot write {}", options.out.display());
    let file = BufWriter::new(File::create_new(&options.out).with_context(about)?);
    let mut sink: Box<dyn Sink> = match options.format {
        Format::Hlog => Box::new(hlog::Log::begin(file, from_s)),
        Format::Parquet => Box::new(parquet::Table::begin(file)?),
        Format::Csv => Box::new(csv::Rows::begin(file)?),
    };
    let mut histograms = 0u64;
    while let Some(entry) = entries.message().await.map_err(client::told)? {
        for row in rows(&entry)? {
            sink.take(&row).with_context(about)?;
            histograms += 1;
        }
    }
    sink.end().with_context(about)?;
    if histograms == 0 {
        bail!("nothing was counted then: {} is empty", options.out.display());
    }
    eprintln!("{histograms} histograms are in {}", options.out.display());
    Ok(())
}

/// Its histograms that are not empty.
fn rows(entry: &HistoryEntry) -> anyhow::Result<Vec<Row<'_>>> {
    let mut rows = Vec::new();
    for (timing, wire) in [("upstream", &entry.upstream), ("total", &entry.total)] {
        let Some(wire) = wire else { continue };
        let counts = convert::from_wire(wire)?;
        if !counts.is_empty() {
            rows.push(Row { entry, timing, counts });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
