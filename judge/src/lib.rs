//! Decides, slice by slice, whether a candidate release is worse than its baseline.
//!
//! Everything here is pure: no IO, no clock. A [`Trial`] is fed one [`Slice`] a second and gives a [`Verdict`]. The
//! pipeline, each step on past data before the present slice changes it:
//!
//! 1. `slice`: counts per pod become tails that are cheap to ask; `in_flight` adds requests that have not ended.
//! 2. `threshold`: the baseline's quantiles of the past minute, which requests are held against.
//! 3. `warm_up`: which candidate pods count yet.
//! 4. `fast_lane`: errors, stalls, missing requests, and latency more than 2.5 times worse, on all pods, within seconds.
//! 5. `evidence`: conditional count e-processes at p50, p95, p99 and p99.9 on warm pods, clipped per (pod, 10 s) and
//!    tempered by `dispersion`.
//! 6. `effect`, `interval`, `non_inferiority`: how much worse, how sure, and whether health is proven.
//! 7. `limit`: absolute limits, with a part of the false-rollback probability of their own.
//! 8. `past`: a candidate that has the traffic alone, against the baseline's past, which comes as a `history`.
//! 9. `trial`: the decision; `shape`: what form a slowdown has; `sentence`: how to say it.
//!
//! [`reference`](mod@reference) holds what other tools do, for comparison only.
//!
//! Comparing counts within each second cancels whatever slows both releases down. The probability of rolling back a
//! release that is no worse is at most `Policy::false_rollback` for independent requests, of which the fast lane has one
//! part in eleven; for pods that differ and have bad seconds that is a matter of simulation (`make sim`).

mod dispersion;
mod effect;
mod evidence;
mod fast_lane;
mod history;
mod in_flight;
mod interval;
mod limit;
mod metric;
mod non_inferiority;
mod past;
mod policy;
mod quantile_lane;
pub mod reference;
mod resolvable;
mod sentence;
mod shape;
mod slice;
mod split;
mod stat;
mod threshold;
mod trial;
mod verdict;
mod warm_up;

pub use history::{History, PodSpread};
pub use metric::Metric;
pub use policy::{Policy, PolicyError};
pub use shape::{Form, Shape};
pub use slice::{Arm, PodId, PodSlice, Slice, Stratum};
pub use trial::Trial;
pub use verdict::{By, Cause, Finding, LimitFinding, Missing, PastFinding, State, Verdict, WorstPod};
