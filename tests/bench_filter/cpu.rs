//! CPU time of a process, from the kernel's accounting.

use std::{fs, process::Command};

use anyhow::{Context, Result};

/// Nanoseconds that all threads of a process have run: the first field of each thread's `schedstat`.
pub(crate) fn nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let run: u64 =
            text.split_whitespace().next().and_then(|n| n.parse().ok()).context("no run time in schedstat")?;
        sum += run;
    }
    Ok(sum)
}

/// Keeps a process on the first core, or off it; does nothing where there is only one.
pub(crate) fn pin(pid: u32, to_first: bool) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores > 1 {
        let cores = if to_first { "0".to_owned() } else { format!("1-{}", cores - 1) };
        // Where there is no taskset, the scheduler has its way.
        let _ = Command::new("taskset").args(["-a", "-c", "-p", &cores, &pid.to_string()]).output();
    }
}
