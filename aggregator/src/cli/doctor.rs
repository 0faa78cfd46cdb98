use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::Context;
use serin_history::{Checked, History, Retention};
use serin_sketch::thousands;

use crate::history::History as Decisions;

/// Looks at all that a data_dir holds; exit code 1 when something is wrong with it.
#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) fn run(data_dir: &Path) -> anyhow::Result<ExitCode> {
    let about = || format!("cannot look at {}: is serin running with it? Stop it first", data_dir.display());
    let decisions = Decisions::open(data_dir).with_context(about)?;
    let kept = decisions.decisions();
    match &kept {
        Ok(kept) => println!("{} decisions can be read", thousands(kept.len() as u64)),
        Err(error) => println!("decisions: {error}"),
    }
    let begun = std::time::Instant::now();
    let checked = History::open(data_dir, Retention::default()).and_then(|history| history.check());
    let is_sound = match &checked {
        Ok(checked) => {
            print!("{}", show(checked, begun.elapsed()));
            checked.is_sound()
        }
        Err(error) => {
            println!("histograms: {error}");
            false
        }
    };
    Ok(if is_sound && kept.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(checked: &Checked, took: Duration) -> String {
    let [fine, coarse] = checked.blocks.map(thousands);
    let mut shown = format!(
        "histograms of {} series from {} reporters: {} rows of seconds ({} to be rolled up), {fine} fine and {coarse} coarse blocks, {} bytes, in {:.1} s\n",
        thousands(checked.series),
        thousands(checked.reporters),
        thousands(checked.slices),
        thousands(checked.pending),
        thousands(checked.bytes),
        took.as_secs_f64()
    );
    for problem in &checked.problems {
        shown.push_str(&format!("  {problem}\n"));
    }
    if let Some(structure) = &checked.structure {
        shown.push_str(&format!("  the structure of the file: {structure}\n"));
    }
    let verdict = if checked.is_sound() {
        "all values are what was written\n".to_owned()
    } else {
        format!(
            "{} values are damaged: they are never read as if they were not; restore the file, or move it away and let serin begin a new one\n",
            thousands(checked.problem_count)
        )
    };
    shown + &verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_said() {
        let checked = Checked {
            series: 12,
            reporters: 3,
            slices: 900,
            pending: 60,
            blocks: [240, 36],
            bytes: 1_234_567,
            ..Checked::default()
        };
        insta::assert_snapshot!(show(&checked, Duration::from_millis(1_240)), @"
        histograms of 12 series from 3 reporters: 900 rows of seconds (60 to be rolled up), 240 fine and 36 coarse blocks, 1,234,567 bytes, in 1.2 s
        all values are what was written
        ");
        let damaged = Checked { problem_count: 2, structure: Some("a page is lost".to_owned()), ..Checked::default() };
        assert!(
            show(&damaged, Duration::ZERO).contains("2 values are damaged")
                && show(&damaged, Duration::ZERO).contains("a page is lost")
        );
    }

    #[test]
    fn an_empty_data_dir_is_sound_and_one_in_use_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(run(dir.path()).unwrap(), ExitCode::SUCCESS);
        let _in_use = Decisions::open(dir.path()).unwrap();
        assert!(format!("{:#}", run(dir.path()).unwrap_err()).contains("Stop it first"));
    }
}
