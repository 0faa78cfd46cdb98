//! Takes a release out of traffic through the Kubernetes API.
//!
//! [`reconcile`](mod@reconcile) (pure: what a ReleaseGuard asks for) -> [`discover`] (pure: which release is on trial; [`deployed`]: and whether its label is deployed anew) -> [`delegates`] (pure: which object
//! splits the service) -> [`plan`] (pure: from an object to a JSON patch of its weights, or why not) -> [`apply`] (IO: sends it, reads again on conflict) -> [`hold`] (pure: keeps it so against those whom [`writers`]
//! and [`gitops`] name). Beside them [`release_guard`] (the custom resource), [`lease`] (which replica acts) and
//! [`rollout`] (pure: stops the update of an Argo Rollout).
//!
//! What a real API server does is the ground for all of it: ownership of a route list is atomic, weights of 0/0 are
//! accepted and never take effect, an apply creates what was deleted, a bad body is answered with 500.

pub mod apply;
pub mod clocks;
pub mod cluster;
pub mod connect;
pub mod delegates;
pub mod deployed;
pub mod discover;
pub mod gitops;
pub mod hold;
pub mod intent;
pub mod lease;
pub mod object;
pub mod plan;
pub mod pods;
pub mod reconcile;
pub mod release_guard;
pub mod rollout;
pub mod version;
pub mod writers;

mod host;
mod json;
mod routes;

#[cfg(test)]
mod fake;
