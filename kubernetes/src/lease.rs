//! Which replica acts: leader election on a Lease of `coordination.k8s.io/v1`.
//!
//! read the Lease (IO) -> [`Election::step`] (pure: what to write, or how long to wait) -> write it with the version that
//! was read (IO) -> [`Election::written`] (pure). As in client-go, nobody compares clocks: a follower counts from when it
//! saw the record change, a leader from before it sent its renewal.
//!
//! A leader stops by itself 6 s after its last renewal was sent, others take over 10 s after they saw it at the
//! earliest: two never lead at once, whatever the network does, as long as their clocks run at about the same rate.
//! (The clock of a machine that is suspended does not; and a request may be under way when its sender's time is up. So
//! what a leader writes must test what it read, as a plan's patch does.) They look every 2 s and wake when the time is
//! up, so that a dead leader is replaced within 2 s + 10 s and two requests: under 15 s.
//!
//! The Lease also has the order of a person that nothing be written ([`Pause`]), as annotations. Each look at it follows
//! them before anything else is done by it, so nobody leads who does not know the pause.

mod election;
mod pause;
mod run;

pub use election::{Act, Election, Now, Timing};
pub use pause::{PAUSED_BECAUSE, PAUSED_SINCE, PAUSED_UNTIL, Pause};
pub use run::{Leadership, NotKept, campaign};
