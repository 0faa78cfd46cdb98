//! NATS servers with JetStream, alone or in a cluster of three.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{artifacts, poll, process::Process};

/// How long a cluster may take until it has a leader.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Servers that keep everything three times, or once when there is one. Dropping them ends them.
#[derive(Debug)]
pub struct Nats {
    /// Where clients connect; they stay the same.
    pub addresses: Vec<SocketAddr>,
    monitors: Vec<SocketAddr>,
    configs: Vec<PathBuf>,
    running: Vec<Option<Process>>,
}

impl Nats {
    /// Starts this many servers, one or three, with their files in `dir`, and waits until they are a cluster.
    ///
    /// # Errors
    /// When they do not start.
    pub async fn start(servers: usize, dir: &Path) -> Result<Self> {
        // They name each other, so the ports are chosen before: by the kernel, which does not give them out again soon.
        let mut held = Vec::new();
        let mut port = || -> Result<u16> {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        let ports = (0..servers).map(|_| Ok([port()?, port()?, port()?])).collect::<Result<Vec<[u16; 3]>>>()?;
        drop(held);
        let routes: Vec<String> = ports.iter().map(|[_, route, _]| format!("nats://127.0.0.1:{route}")).collect();
        let mut configs = Vec::new();
        for (at, [client, route, monitor]) in ports.iter().enumerate() {
            let store = dir.join(format!("nats-{at}"));
            fs::create_dir_all(&store)?;
            let cluster = format!(
                "cluster {{ name: serin, listen: \"127.0.0.1:{route}\", no_advertise: true, routes: {} }}\n",
                serde_json::to_string(&routes)?
            );
            let text = format!(
                "server_name: n{at}\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
                 jetstream {{ store_dir: {} }}\n{}",
                serde_json::to_string(&store)?,
                if servers > 1 { cluster } else { String::new() },
            );
            let config = dir.join(format!("nats-{at}.conf"));
            fs::write(&config, text)?;
            configs.push(config);
        }
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let mut nats = Nats {
            addresses: ports.iter().map(|[client, _, _]| address(*client)).collect(),
            monitors: ports.iter().map(|[_, _, monitor]| address(*monitor)).collect(),
            running: (0..servers).map(|_| None).collect(),
            configs,
        };
        for at in 0..servers {
            nats.run(at)?;
        }
        for at in 0..servers {
            nats.is_ready(at).await?;
        }
        Ok(nats)
    }

    /// For `serin serve --history`.
    pub fn url(addresses: &[SocketAddr]) -> String {
        addresses.iter().map(|address| format!("nats://{address}")).collect::<Vec<_>>().join(",")
    }

    /// The processes that run.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.running.iter().flatten()
    }

    /// The bytes of all messages that one server keeps, before they are compressed.
    ///
    /// # Errors
    /// When it does not tell.
    pub async fn message_bytes(&self, at: usize) -> Result<u64> {
        let monitor = *self.monitors.get(at).context("there is no such server")?;
        let told = poll::get(monitor, "/jsz").await.context("NATS does not tell of JetStream")?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        told.get("bytes").and_then(serde_json::Value::as_u64).context("NATS tells no bytes")
    }

    /// Ends one at once (SIGKILL).
    pub fn kill(&mut self, at: usize) {
        if let Some(mut process) = self.running.get_mut(at).and_then(Option::take) {
            process.kill();
        }
    }

    /// Starts one that was killed, on the same ports and files.
    ///
    /// # Errors
    /// When it does not start.
    pub fn run(&mut self, at: usize) -> Result<()> {
        let config = self.configs.get(at).context("there is no such server")?;
        let mut command = Command::new(artifacts::nats()?);
        command.arg("-c").arg(config);
        let process = Process::start("nats-server", command, config.with_extension("log"))?;
        *self.running.get_mut(at).context("there is no such server")? = Some(process);
        Ok(())
    }

    /// Waits until one is up to date: it has a leader, and all that was written meanwhile.
    ///
    /// # Errors
    /// When that takes longer than a minute.
    pub async fn is_ready(&mut self, at: usize) -> Result<()> {
        let monitor = *self.monitors.get(at).context("there is no such server")?;
        let process = self.running.get_mut(at).and_then(Option::as_mut).context("that server does not run")?;
        poll::until("NATS to be ready", READY_WITHIN, async || {
            process.must_be_running()?;
            Ok(poll::get(monitor, "/healthz").await)
        })
        .await
        .map(drop)
    }
}
