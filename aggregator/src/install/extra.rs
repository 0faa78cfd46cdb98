//! What the overlays of `envoy-configs/istio/install` add, and what they change.

/// What else is installed, or how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Extra {
    /// A ServiceMonitor and a PrometheusRule
    PrometheusOperator,
    /// A HorizontalPodAutoscaler on the baseline's latency
    Autoscaling,
    /// An AnalysisTemplate, and what its controller and Serin need to talk
    ArgoRollouts,
    /// What its controller needs to ask
    Flagger,
    /// Releases of every namespace may be guarded
    AllNamespaces,
    /// No volume that outlives the pod
    EmptyDir,
    /// Two replicas, of which the one that holds a Lease acts
    HighAvailability,
    /// Three replicas that share the work through NATS JetStream
    Nats,
}

impl Extra {
    /// What it stands on.
    pub(super) fn needs(self) -> Option<Extra> {
        matches!(self, Extra::HighAvailability | Extra::Nats).then_some(Extra::EmptyDir)
    }

    /// What it adds.
    pub(super) fn manifests(self) -> &'static [&'static str] {
        match self {
            Extra::PrometheusOperator => &[
                manifest!("install/overlays/prometheus-operator/service-monitor.yaml"),
                manifest!("install/overlays/prometheus-operator/prometheus-rule.yaml"),
            ],
            Extra::Autoscaling => &[manifest!("install/overlays/autoscaling/horizontal-pod-autoscaler.yaml")],
            Extra::ArgoRollouts => &[
                manifest!("install/overlays/argo-rollouts/network-policy.yaml"),
                manifest!("install/overlays/argo-rollouts/rbac.yaml"),
                manifest!("install/overlays/argo-rollouts/analysis-template.yaml"),
            ],
            Extra::Flagger => &[manifest!("install/overlays/flagger/network-policy.yaml")],
            Extra::AllNamespaces => &[manifest!("install/overlays/all-namespaces/rbac.yaml")],
            Extra::Nats => &[manifest!("install/overlays/nats/network-policy.yaml")],
            Extra::EmptyDir | Extra::HighAvailability => &[],
        }
    }

    /// What it changes, besides the configuration.
    pub(super) fn patches(self) -> &'static [&'static str] {
        match self {
            Extra::EmptyDir => &[
                manifest!("install/overlays/empty-dir/no-claim.yaml"),
                manifest!("install/overlays/empty-dir/deployment.yaml"),
            ],
            Extra::HighAvailability => &[
                manifest!("install/overlays/high-availability/deployment.yaml"),
                manifest!("install/overlays/high-availability/no-budget.yaml"),
            ],
            Extra::Nats => &[manifest!("install/overlays/nats/deployment.yaml")],
            _ => &[],
        }
    }
}
