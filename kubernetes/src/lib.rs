//! Takes a release out of traffic through the Kubernetes API.
//!
//! object -> [`plan`] (pure: a JSON patch of weights, or why not) -> [`apply`] (IO: sends it, re-reads on conflict).
//! Beside them [`release_guard`] (the custom resource), [`lease`] (which replica acts: a pure machine and a thin loop)
//! and [`writers`] (pure: who else writes an object's routes). What a real API server does is the ground for all of
//! it: ownership of a route list is atomic, weights of 0/0 are accepted and never take effect, an apply creates what
//! was deleted, a bad body is answered with 500.

pub mod apply;
pub mod discover;
pub mod gitops;
pub mod hold;
pub mod intent;
pub mod lease;
pub mod object;
pub mod plan;
pub mod release_guard;
pub mod writers;

mod host;
mod json;
mod routes;

#[cfg(test)]
mod fake;
