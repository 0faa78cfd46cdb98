//! Where the labels of a series come from.
//!
//! [`Source`] is what the configuration says. [`Labels`] is what a worker uses: which attributes to read for a request,
//! each once, and how a label comes out of them; what cannot change while Envoy lives was read before.

mod key;
mod template;

use serin_proto::v1::{Outcome, Vantage};

use crate::outcome::is_grpc;
pub use key::{LABEL_MAX, outcome_of, overflow_key, series};
pub use template::Templates;

const UNKNOWN: &[u8] = b"unknown";
/// Attributes read for one request, at most: four labels, of which gRPC's method needs two, and the HTTP method.
pub const ATTRIBUTES_MAX: usize = 9;

/// Where one label comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This text.
    Fixed(String),
    /// A value of this Envoy's own node metadata, by the keys that lead to it.
    NodeMetadata(Vec<String>),
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
    /// A value of the upstream host's metadata: the filter's namespace, and the keys that lead to it.
    HostMetadata(Vec<String>),
    /// A header of the response, by its name in lower case.
    ResponseHeader(String),
    /// The path of a gRPC call: `/package.Service/Method`.
    GrpcMethod,
    /// The first of these templates that the path fits.
    PathTemplates(Templates),
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
    /// Whether the route is told with the request's method before it: `GET /cart`.
    pub methods: bool,
}

/// Something to ask the host about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// An attribute, by the parts of its path joined with NUL, as the host call takes it.
    Property(Vec<u8>),
    /// A header of the request.
    RequestHeader(&'static str),
    /// A header of the response.
    ResponseHeader(String),
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
            "grpc_method" => Source::GrpcMethod,
            "node_id" => Source::NodeId,
            "none" => Source::None,
            _ => return None,
        })
    }
}

impl Sources {
    /// What a vantage tells without being configured: a release's own sidecar knows itself from its node's
    /// labels, the caller's side knows its upstream from Istio's cluster name.
    pub fn of_vantage(vantage: Vantage) -> Self {
        let label = |key: &str| Source::NodeMetadata(vec!["LABELS".to_owned(), key.to_owned()]);
        let (service, release, pod) = match vantage {
            Vantage::Inbound => (label("app"), label("version"), Source::NodeId),
            _ => (Source::Host, Source::Subset, Source::None),
        };
        Sources { service, route: Source::RouteName, release, pod, methods: false }
    }
}

/// How a label comes out of the attributes that were read; the numbers are places among them.
#[derive(Clone, Debug)]
enum How {
    Fixed(Vec<u8>),
    Whole(usize),
    After(usize, Vec<u8>),
    IstioPart(usize, usize),
    GrpcMethod { path: usize, content_type: usize },
    Template(usize, Templates),
}

/// Reads the labels of requests.
#[derive(Clone, Debug)]
pub struct Labels {
    attributes: Vec<Attribute>,
    cluster: Option<usize>,
    /// Service, route, release, pod.
    how: [How; 4],
    /// The place of the method among the attributes, where it is told.
    method: Option<usize>,
}

impl Labels {
    /// Fills in what cannot change while this Envoy lives: `node_metadata` is asked once for each label that needs it.
    pub fn new(sources: Sources, node_id: &str, mut node_metadata: impl FnMut(&[String]) -> Option<Vec<u8>>) -> Self {
        let mut attributes = Vec::new();
        let Sources { service, route, release, pod, methods } = sources;
        let how = [service, route, release, pod].map(|source| match source {
            Source::NodeId => How::Fixed(node_id.as_bytes().to_vec()),
            Source::NodeMetadata(path) => How::Fixed(known(node_metadata(&path))),
            source => how(source, &mut attributes),
        });
        let cluster = attributes.iter().position(|attribute| *attribute == cluster());
        let method = methods.then(|| place(Attribute::RequestHeader(":method"), &mut attributes));
        Labels { attributes, cluster, how, method }
    }

    /// What to read about each request: at most [`ATTRIBUTES_MAX`].
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The place of the upstream cluster's name among the attributes, where it is read.
    pub fn cluster(&self) -> Option<usize> {
        self.cluster
    }

    /// Writes the key of a request's series over `key`. `values` are the attributes in their order, `None` where Envoy
    /// has no such attribute.
    pub fn write_key(&self, outcome: Outcome, values: &[Option<&[u8]>], key: &mut Vec<u8>) {
        key.clear();
        key.push(outcome as u8);
        let [service, route, others @ ..] = &self.how;
        key::push_label(key, service.label(values));
        match self.method {
            Some(at) => key::push_route(key, values.get(at).copied().flatten(), route.label(values)),
            None => key::push_label(key, route.label(values)),
        }
        others.iter().for_each(|how| key::push_label(key, how.label(values)));
    }
}

impl How {
    fn label<'a>(&'a self, values: &[Option<&'a [u8]>]) -> &'a [u8] {
        let value = |at: &usize| values.get(*at).copied().flatten();
        let label = match self {
            How::Fixed(text) => return text,
            How::Whole(at) => value(at),
            How::After(at, prefix) => value(at).and_then(|name| name.strip_prefix(&**prefix)),
            How::IstioPart(at, part) => value(at).and_then(|name| istio_part(name, *part)),
            How::GrpcMethod { path, content_type } => {
                value(content_type).filter(|t| is_grpc(t)).and(value(path)).map(template::without_query)
            }
            How::Template(at, templates) => value(at).and_then(|path| templates.fit(path)),
        };
        label.filter(|label| !label.is_empty()).unwrap_or(UNKNOWN)
    }
}

fn known(label: Option<Vec<u8>>) -> Vec<u8> {
    label.filter(|label| !label.is_empty()).unwrap_or_else(|| UNKNOWN.to_vec())
}

fn how(source: Source, attributes: &mut Vec<Attribute>) -> How {
    let mut read = |attribute| place(attribute, attributes);
    match source {
        Source::Fixed(text) => How::Fixed(text.into_bytes()),
        Source::None => How::Fixed(Vec::new()),
        // `Labels::new` has turned these into what they are.
        Source::NodeId | Source::NodeMetadata(_) => How::Fixed(UNKNOWN.to_vec()),
        Source::Cluster => How::Whole(read(cluster())),
        Source::ClusterAfter(prefix) => How::After(read(cluster()), prefix.into_bytes()),
        Source::Subset => How::IstioPart(read(cluster()), 2),
        Source::Host => How::IstioPart(read(cluster()), 3),
        Source::RouteName => How::Whole(read(property(&["xds", "route_name"]))),
        Source::VirtualHost => How::Whole(read(property(&["xds", "virtual_host_name"]))),
        Source::UpstreamAddress => How::Whole(read(property(&["upstream", "address"]))),
        Source::HostMetadata(path) => {
            let parts = ["xds", "upstream_host_metadata", "filter_metadata"].into_iter();
            let parts: Vec<&str> = parts.chain(path.iter().map(String::as_str)).collect();
            How::Whole(read(property(&parts)))
        }
        Source::ResponseHeader(name) => How::Whole(read(Attribute::ResponseHeader(name))),
        Source::GrpcMethod => {
            let content_type = read(Attribute::RequestHeader("content-type"));
            How::GrpcMethod { content_type, path: read(Attribute::RequestHeader(":path")) }
        }
        Source::PathTemplates(templates) => How::Template(read(Attribute::RequestHeader(":path")), templates),
    }
}

/// The place of an attribute among those that are read.
fn place(attribute: Attribute, attributes: &mut Vec<Attribute>) -> usize {
    attributes.iter().position(|known| *known == attribute).unwrap_or_else(|| {
        attributes.push(attribute);
        attributes.len() - 1
    })
}

fn property(parts: &[&str]) -> Attribute {
    Attribute::Property(parts.join("\0").into_bytes())
}

fn cluster() -> Attribute {
    property(&["xds", "cluster_name"])
}

/// Part of `direction|port|subset|host`; nothing where the name is not made like that.
fn istio_part(cluster: &[u8], part: usize) -> Option<&[u8]> {
    let parts = || cluster.split(|b| *b == b'|');
    if parts().count() == 4 { parts().nth(part) } else { None }
}

#[cfg(test)]
mod tests;
