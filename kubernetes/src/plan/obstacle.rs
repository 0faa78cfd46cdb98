//! What stands in the way of a plan: each with a reason for a condition and a remedy for a person. Pure.

use crate::{delegates::NotFollowed, intent::Backend};

/// Why routes are left as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Not an object that has weights.
    #[error(
        "a {kind} of {api_version} has no weights that serin knows: name a VirtualService (networking.istio.io v1, v1beta1 or v1alpha3) or an HTTPRoute or GRPCRoute (gateway.networking.k8s.io v1, v1beta1 of HTTPRoute, v1alpha2 of GRPCRoute)"
    )]
    UnknownKind {
        /// As the object says.
        api_version: String,
        /// As the object says.
        kind: String,
    },
    /// Without `resourceVersion` and `uid` nobody can tell whether the object changed meanwhile.
    #[error("the object has no metadata.{field}: plan on what the API server returned, not on a manifest")]
    NotFromServer {
        /// What is missing.
        field: &'static str,
    },
    /// It has a deletion timestamp.
    #[error("the object is being deleted: wait until it is gone, or create it again")]
    BeingDeleted,
    /// More than is looked at.
    #[error("the object is over {limit} bytes of JSON: split it into several, or delegate some of its routes")]
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// More changes than the API server takes in one patch.
    #[error("the patch would have {operations} operations, over the API server's limit of {limit}: split the object")]
    TooManyRoutes {
        /// How many it would have.
        operations: usize,
        /// The most.
        limit: usize,
    },
    /// Both sides are the same.
    #[error("baseline and candidate are both {backend}: name two different subsets or hosts")]
    SameRelease {
        /// Which.
        backend: Backend,
    },
    /// A controller owns the object.
    #[error(
        "{kind} {name} controls the object and would write its own weights back: roll back there, or name an object that no controller owns"
    )]
    OwnedByController {
        /// The owner's kind.
        kind: String,
        /// The owner's name.
        name: String,
    },
    /// Flagger or Argo Rollouts writes the weights.
    #[error(
        "{program} writes the weights ({evidence}): roll back there, with action `notify` and serin's verdict as its metric or webhook"
    )]
    DrivenByAnother {
        /// Its name.
        program: &'static str,
        /// What tells.
        evidence: String,
    },
    /// No destination is the candidate.
    #[error(
        "no route sends anything to {candidate}: check its name, that this is the object that splits the traffic, and that host is written as \
         there where the cluster's domain is not cluster.local"
    )]
    NoCandidate {
        /// As looked for.
        candidate: Backend,
    },
    /// It is not known which object decides.
    #[error("its routes are delegated: {0}")]
    Delegated(#[from] NotFollowed),
    /// The candidate is the only destination of the route, so that no weight can help.
    #[error("{place}: all its requests go to the candidate: send them to the baseline by hand")]
    OnlyCandidate {
        /// Which route.
        place: String,
    },
    /// Copies are no harm to anybody, but the candidate is still seen taking requests.
    #[error(
        "{place}: copies of its requests go to the candidate whatever the weights are: take the mirror out by hand"
    )]
    Mirrored {
        /// Which route.
        place: String,
    },
    /// Nothing to send the requests to.
    #[error("{place}: it has the candidate but not {baseline}: add the baseline with weight 0, or change it by hand")]
    NoBaseline {
        /// Which route.
        place: String,
        /// As looked for.
        baseline: Backend,
    },
    /// Somebody else has a share.
    #[error(
        "{place}: {third} has a share besides baseline and candidate: give it weight 0, or change the route by hand"
    )]
    ThirdRelease {
        /// Which route.
        place: String,
        /// The first destination that is neither.
        third: String,
    },
    /// Not a weight.
    #[error("{place}: the weight of {destination} is {written}: write a whole number from 0 to 1000000")]
    WeightInvalid {
        /// Which route.
        place: String,
        /// Which destination.
        destination: String,
        /// What it says.
        written: String,
    },
    /// Proportions instead of percentages: planned all the same, since 100/0 means one thing only.
    #[error("{place}: the weights add up to {sum}, which is taken as proportions: write weights that add up to 100")]
    WeightsNotHundred {
        /// Which route.
        place: String,
        /// What they add up to.
        sum: u64,
    },
    /// Weights that the API server accepts and the proxies never apply: planned all the same.
    #[error(
        "{place}: all weights are 0, so that proxies keep the weights they had before: write weights that add up to 100"
    )]
    AllZero {
        /// Which route.
        place: String,
    },
}

impl Obstacle {
    /// For the `reason` of a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Obstacle::UnknownKind { .. } => "UnknownKind",
            Obstacle::NotFromServer { .. } => "NotFromServer",
            Obstacle::BeingDeleted => "BeingDeleted",
            Obstacle::TooLarge { .. } => "TooLarge",
            Obstacle::TooManyRoutes { .. } => "TooManyRoutes",
            Obstacle::SameRelease { .. } => "SameRelease",
            Obstacle::OwnedByController { .. } => "OwnedByController",
            Obstacle::DrivenByAnother { .. } => "DrivenByAnother",
            Obstacle::NoCandidate { .. } => "NoCandidate",
            Obstacle::Delegated(why) => why.reason(),
            Obstacle::OnlyCandidate { .. } => "OnlyCandidate",
            Obstacle::Mirrored { .. } => "Mirrored",
            Obstacle::NoBaseline { .. } => "NoBaseline",
            Obstacle::ThirdRelease { .. } => "ThirdRelease",
            Obstacle::WeightInvalid { .. } => "WeightInvalid",
            Obstacle::WeightsNotHundred { .. } => "WeightsNotHundred",
            Obstacle::AllZero { .. } => "AllZero",
        }
    }
}
