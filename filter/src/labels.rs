//! Where the labels of a series come from, and the series' key.

use serin_proto::v1::{Outcome, Series, Vantage};

/// The longest label, in bytes; the wire's limit.
pub const LABEL_MAX: usize = 256;
const UNKNOWN: &[u8] = b"unknown";
/// The label of all series that found no room of their own.
const OVERFLOW: &[u8] = b"overflow";

/// Where one label comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This text.
    Fixed(String),
    /// A label of this Envoy's own node metadata (`LABELS.<key>`).
    NodeLabel(String),
    /// The name of the upstream cluster.
    Cluster,
    /// The name of the upstream cluster without this prefix, which it must have.
    ClusterAfter(String),
    /// The subset in an Istio cluster name: the third part of `outbound|80|v2|reviews.default.svc.cluster.local`.
    Subset,
    /// The host in an Istio cluster name: the fourth part.
    Host,
    /// The name of the route.
    RouteName,
    /// The name of the virtual host.
    VirtualHost,
    /// Address and port of the upstream host.
    UpstreamAddress,
    /// This Envoy's own node id.
    NodeId,
    /// Nothing: the label stays empty.
    None,
}

/// The sources of all labels.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The four labels of a series, as in `ingest.proto`.
pub struct Sources {
    pub service: Source,
    pub route: Source,
    pub release: Source,
    pub pod: Source,
}

/// What is read about a request, for labels. `None` where Envoy has no such attribute or nobody needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Named like Envoy's attributes.
pub struct Attributes {
    pub cluster: Option<Vec<u8>>,
    pub route_name: Option<Vec<u8>>,
    pub virtual_host: Option<Vec<u8>>,
    pub upstream_address: Option<Vec<u8>>,
}

/// Which attributes labels need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Named like `Attributes`.
pub struct Needs {
    pub cluster: bool,
    pub route_name: bool,
    pub virtual_host: bool,
    pub upstream_address: bool,
}

impl Source {
    /// The source with this name in the configuration, for those that take no argument.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "cluster" => Source::Cluster,
            "subset" => Source::Subset,
            "host" => Source::Host,
            "route_name" => Source::RouteName,
            "virtual_host" => Source::VirtualHost,
            "upstream_address" => Source::UpstreamAddress,
            "node_id" => Source::NodeId,
            "none" => Source::None,
            _ => return None,
        })
    }

    /// The label for a request, `None` where it cannot be told.
    fn read<'a>(&'a self, of: &'a Attributes) -> Option<&'a [u8]> {
        let cluster = of.cluster.as_deref();
        let label = match self {
            Source::Fixed(text) => Some(text.as_bytes()),
            Source::Cluster => cluster,
            Source::ClusterAfter(prefix) => cluster.and_then(|name| name.strip_prefix(prefix.as_bytes())),
            Source::Subset => cluster.and_then(|name| istio_part(name, 2)),
            Source::Host => cluster.and_then(|name| istio_part(name, 3)),
            Source::RouteName => of.route_name.as_deref(),
            Source::VirtualHost => of.virtual_host.as_deref(),
            Source::UpstreamAddress => of.upstream_address.as_deref(),
            Source::None => return Some(b""),
            // `Sources::settle` turned these into `Fixed`.
            Source::NodeLabel(_) | Source::NodeId => None,
        };
        label.filter(|label| !label.is_empty())
    }

    fn settle(self, node_id: &str, node_label: &mut impl FnMut(&str) -> Option<String>) -> Self {
        let text = match &self {
            Source::NodeId => Some(node_id.to_owned()),
            Source::NodeLabel(key) => node_label(key),
            _ => return self,
        };
        Source::Fixed(text.unwrap_or_default())
    }
}

/// Part of `direction|port|subset|host`; nothing where the name is not made like that.
fn istio_part(cluster: &[u8], part: usize) -> Option<&[u8]> {
    let parts = || cluster.split(|b| *b == b'|');
    if parts().count() == 4 { parts().nth(part) } else { None }
}

impl Sources {
    /// What a vantage tells without being configured: a release's own sidecar knows itself from its node's
    /// labels, the caller's side knows its upstream from Istio's cluster name.
    pub fn of_vantage(vantage: Vantage) -> Self {
        let (service, release, pod) = match vantage {
            Vantage::Inbound => {
                (Source::NodeLabel("app".to_owned()), Source::NodeLabel("version".to_owned()), Source::NodeId)
            }
            _ => (Source::Host, Source::Subset, Source::None),
        };
        Sources { service, route: Source::RouteName, release, pod }
    }

    /// Fills in what cannot change while this Envoy lives, so that it is read only once.
    #[must_use]
    pub fn settle(self, node_id: &str, mut node_label: impl FnMut(&str) -> Option<String>) -> Self {
        Sources {
            service: self.service.settle(node_id, &mut node_label),
            route: self.route.settle(node_id, &mut node_label),
            release: self.release.settle(node_id, &mut node_label),
            pod: self.pod.settle(node_id, &mut node_label),
        }
    }

    fn all(&self) -> [&Source; 4] {
        [&self.service, &self.route, &self.release, &self.pod]
    }

    /// Which attributes must be read for each request.
    pub fn needs(&self) -> Needs {
        let any = |test: fn(&Source) -> bool| self.all().into_iter().any(test);
        Needs {
            cluster: any(|s| matches!(s, Source::Cluster | Source::ClusterAfter(_) | Source::Subset | Source::Host)),
            route_name: any(|s| *s == Source::RouteName),
            virtual_host: any(|s| *s == Source::VirtualHost),
            upstream_address: any(|s| *s == Source::UpstreamAddress),
        }
    }

    /// Writes the key of a request's series over `key`.
    pub fn write_key(&self, of: &Attributes, outcome: Outcome, key: &mut Vec<u8>) {
        key.clear();
        key.push(outcome as u8);
        for source in self.all() {
            push_label(key, source.read(of).unwrap_or(UNKNOWN));
        }
    }
}

/// Appends a length and at most [`LABEL_MAX`] bytes of valid UTF-8.
fn push_label(key: &mut Vec<u8>, label: &[u8]) {
    let lossy = String::from_utf8_lossy(label);
    let cut = lossy.floor_char_boundary(LABEL_MAX);
    key.extend_from_slice(&(cut as u16).to_le_bytes());
    key.extend(lossy.bytes().take(cut));
}

/// The key of the series that takes what finds no room, for an outcome.
pub fn overflow_key(outcome: u8) -> Vec<u8> {
    let mut key = vec![outcome];
    (0..4).for_each(|_| push_label(&mut key, OVERFLOW));
    key
}

/// The outcome in a key, as its number on the wire.
pub fn outcome_of(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or_default()
}

/// The series with this key, for the wire.
pub fn series(id: u32, key: &[u8]) -> Series {
    let mut rest = key.get(1..).unwrap_or_default();
    let mut next = || {
        let (length, after) = rest.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
        let (label, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length))).unwrap_or_default();
        rest = after;
        String::from_utf8_lossy(label).into_owned()
    };
    let (service, route, release, pod) = (next(), next(), next(), next());
    Series { id, service, route, release, pod, outcome: i32::from(outcome_of(key)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ISTIO: &str = "outbound|80|v2|reviews.default.svc.cluster.local";

    fn attributes(cluster: &str) -> Attributes {
        Attributes {
            cluster: Some(cluster.into()),
            route_name: Some("checkout".into()),
            virtual_host: None,
            upstream_address: Some("10.0.0.7:8080".into()),
        }
    }

    #[test]
    fn labels_come_from_their_source() {
        let cases = [
            (Source::Fixed("shop".into()), ISTIO, "shop"),
            (Source::Cluster, "shop-v2", "shop-v2"),
            (Source::ClusterAfter("shop-".into()), "shop-v2", "v2"),
            (Source::ClusterAfter("shop-".into()), "cart-v2", "unknown"),
            (Source::ClusterAfter("shop-".into()), "shop-", "unknown"),
            (Source::Subset, ISTIO, "v2"),
            (Source::Subset, "outbound|80||reviews.default.svc.cluster.local", "unknown"),
            (Source::Host, ISTIO, "reviews.default.svc.cluster.local"),
            (Source::Host, "PassthroughCluster", "unknown"),
            (Source::Host, "a|b|c|d|e", "unknown"),
            (Source::RouteName, ISTIO, "checkout"),
            (Source::VirtualHost, ISTIO, "unknown"),
            (Source::UpstreamAddress, ISTIO, "10.0.0.7:8080"),
            (Source::None, ISTIO, ""),
            (Source::NodeId, ISTIO, "node-1"),
            (Source::NodeLabel("version".into()), ISTIO, "v3"),
            (Source::NodeLabel("absent".into()), ISTIO, "unknown"),
        ];
        for (source, cluster, want) in cases {
            let sources = Sources { pod: source.clone(), ..Sources::of_vantage(Vantage::Gateway) };
            let sources = sources.settle("node-1", |key| (key == "version").then(|| "v3".to_owned()));
            let mut key = Vec::new();
            sources.write_key(&attributes(cluster), Outcome::Success, &mut key);
            assert_eq!(series(0, &key).pod, want, "{source:?} of {cluster}");
        }
    }

    #[test]
    fn only_what_is_needed_is_read() {
        let inbound = Sources::of_vantage(Vantage::Inbound).settle("n", |_| None);
        assert_eq!(inbound.needs(), Needs { route_name: true, ..Needs::default() });
        let gateway = Sources { pod: Source::UpstreamAddress, ..Sources::of_vantage(Vantage::Gateway) };
        assert_eq!(
            gateway.needs(),
            Needs { cluster: true, route_name: true, upstream_address: true, virtual_host: false }
        );
    }

    #[test]
    fn the_overflow_series_is_named_so() {
        let got = series(7, &overflow_key(Outcome::Timeout as u8));
        let want = Series {
            id: 7,
            service: "overflow".into(),
            route: "overflow".into(),
            release: "overflow".into(),
            pod: "overflow".into(),
            outcome: Outcome::Timeout as i32,
        };
        assert_eq!(got, want);
    }

    proptest! {
        #[test]
        fn any_bytes_become_a_label_of_at_most_256_bytes(route in prop::collection::vec(any::<u8>(), 0..600), text in "\\PC{0,300}") {
            let of = Attributes { route_name: Some(route), cluster: Some(text.clone().into_bytes()), ..Attributes::default() };
            let sources = Sources { service: Source::Cluster, ..Sources::of_vantage(Vantage::Gateway) };
            let mut key = Vec::new();
            sources.write_key(&of, Outcome::Reset, &mut key);
            let got = series(1, &key);
            prop_assert!(got.route.len() <= LABEL_MAX && !got.route.is_empty());
            prop_assert!(got.service.len() <= LABEL_MAX);
            prop_assert!(text.is_empty() || text.starts_with(&got.service));
            prop_assert!(text.len() > LABEL_MAX || text.is_empty() || got.service == text);
            prop_assert_eq!(got.outcome, Outcome::Reset as i32);
        }

        #[test]
        fn no_key_makes_it_panic(key in prop::collection::vec(any::<u8>(), 0..40)) {
            series(0, &key);
        }
    }
}
