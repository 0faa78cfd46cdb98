use crate::install::{self, Attachment, Extra, Names, Place};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print the manifests, for `kubectl apply -f -`; nothing is written, and no cluster is asked
    #[arg(long, required = true)]
    print: bool,
    /// Where the aggregator runs
    #[arg(long, default_value = "serin-system")]
    namespace: String,
    /// Its image, which you build with the Dockerfile
    #[arg(long)]
    image: String,
    /// The namespace of the service
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    guard: String,
    /// The namespace of the gateway, with `--vantage gateway`
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-ingress")]
    gateway: String,
    /// The service on trial, as the filter labels it
    #[arg(long)]
    service: String,
    /// Its stable release
    #[arg(long, default_value = "v1")]
    baseline: String,
    /// Its release on trial
    #[arg(long, default_value = "v2")]
    candidate: String,
    /// Where its requests are measured
    #[arg(long, value_enum, default_value = "inbound")]
    vantage: Place,
    /// How the filter is attached
    #[arg(long, value_enum, default_value = "access-logger")]
    attach: Attachment,
    /// The NATS servers, with `--with nats`
    #[arg(long, value_name = "nats://HOST:PORT,...", value_parser = super::nats, default_value = "nats://nats.nats.svc.cluster.local:4222")]
    nats: String,
    /// What else to install, or how; may be given several times
    #[arg(long, value_enum, value_name = "WHAT")]
    with: Vec<Extra>,
}

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) fn run(options: Options) -> anyhow::Result<()> {
    let Options {
        namespace,
        image,
        guard,
        gateway,
        service,
        baseline,
        candidate,
        vantage,
        attach,
        nats,
        with,
        print: _,
    } = options;
    let names = Names { namespace, image, guard, gateway, service, baseline, candidate, nats };
    print!("{}", install::render(&names, vantage, attach, &with)?);
    Ok(())
}
