//! A child process that cannot outlive the value that started it, nor the process that holds that value.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end after SIGTERM before it gets SIGKILL.
const END_WITHIN: Duration = Duration::from_secs(3);
/// `_SC_CLK_TCK` of Linux, in which `/proc/PID/stat` counts.
const TICKS_PER_S: f64 = 100.0;
/// Waits for the end of its input, which the kernel brings about when this process ends, however it ends.
const GUARD: &str =
    r#"trap "" INT TERM HUP; read _; kill -TERM "$1" 2>/dev/null && sleep 2; kill -KILL "$1" 2>/dev/null"#;

/// A running child whose output goes to a file. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    /// A shell that ends the child when this process dies without dropping (SIGKILL, a test harness's exit).
    guard: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`, with both of its outputs appended to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be written or the program not be started.
    pub fn start(name: &'static str, mut command: Command, log: PathBuf) -> Result<Self> {
        let out = File::options().create(true).append(true).open(&log);
        let out = out.with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        let mut guard = Command::new("/bin/sh");
        guard.args(["-c", GUARD, "guard", &child.id().to_string()]);
        match guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(guard) => Ok(Process { name, child, guard, log, ended: None }),
            Err(error) => {
                let _ = child.kill().and_then(|()| child.wait());
                Err(error).context("cannot start /bin/sh")
            }
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU seconds it took so far, user and system, all threads.
    ///
    /// # Errors
    /// When `/proc` does not tell.
    pub fn cpu_s(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // After the command's name, which is in parentheses, utime and stime are the 12th and 13th field.
        let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("no time");
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
    }

    /// Its resident memory, in bytes.
    ///
    /// # Errors
    /// When `/proc` does not tell.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).context("no size")? * 1_024)
    }

    /// The bytes that it had written to disks so far.
    ///
    /// # Errors
    /// When `/proc` does not tell.
    pub fn written_bytes(&self) -> Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.id()))?;
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
        Ok(line.trim().parse()?)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Fails with the last lines of the log when the process has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn must_be_running(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => anyhow::bail!("{} ended ({status}); its last words:\n{}", self.name, self.last_words()),
        }
    }

    /// All it wrote so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last 15 lines it wrote.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
    }

    /// Stops it in its tracks (SIGSTOP) until [`Process::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it at once (SIGKILL) and waits until it has.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::KILL);
            self.ended = self.child.wait().ok();
        }
    }

    /// Ends it (SIGTERM, and SIGKILL after 3 s) and waits until it has.
    pub fn stop(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::TERM);
            self.signal(Signal::CONT);
        }
        let deadline = Instant::now() + END_WITHIN;
        while self.ended().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.kill();
    }

    /// Has it run only for `runs` of each `of`, until what is returned is dropped. By a thread of its own: a busy runtime would be late.
    pub fn throttle(&self, runs: Duration, of: Duration) -> Throttle {
        let (stop, stopped) = mpsc::channel::<()>();
        let id = self.id();
        let thread = thread::spawn(move || {
            loop {
                send(id, Signal::STOP);
                thread::sleep(of.saturating_sub(runs));
                send(id, Signal::CONT);
                if stopped.recv_timeout(runs) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Throttle { stop: Some(stop), thread: Some(thread) }
    }

    fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }
}

/// To a child that was not waited for: its pid is still its own, even when it has ended.
fn send(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// A process that runs only now and then. Dropping it lets it run; to be dropped before the process.
#[derive(Debug)]
pub struct Throttle {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guard first, so that it cannot meet a pid that is in use again.
        let _ = self.guard.kill().and_then(|()| self.guard.wait());
        self.stop();
    }
}
