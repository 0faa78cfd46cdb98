//! The rules that other tools use, for comparison in simulations only: no [`Trial`](crate::Trial) uses them.
//!
//! - [`fixed`]: an alarm on a quantile, looked at every second.
//! - [`kayenta`]: the Mann-Whitney classification of Spinnaker's Kayenta, on one point a minute.
//! - [`wilcoxon`]: the test under it, as R computes it.
//!
//! They are written from the sources that each module names, so that a comparison is fair: their oddities are kept
//! and documented, not mended.

mod dense;
pub mod fixed;
pub mod kayenta;
mod normal;
pub mod wilcoxon;
