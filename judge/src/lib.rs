//! Decides, slice by slice, whether a candidate release is worse than its baseline.

mod policy;

pub use policy::{Policy, PolicyError};
