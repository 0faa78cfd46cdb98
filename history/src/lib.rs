//! Histograms on disk: what every reporter counted, second by second, rolled up as it gets older.
//!
//! ```text
//! append (IO) ─► slices: rows of one second, every series ─┬─► read at 1 s
//!                pending: rows that are not rolled up yet   │
//! roll_up (IO) ─► fine blocks, coarse blocks: by series ────┴─► read at 10 s and 60 s, with what is pending
//! expire (IO) ─► drops what each tier no longer keeps; reclaim (IO) gives the space back to the disk
//! ```
//!
//! A row is added to the blocks of both tiers in the transaction that takes it off the pending ones. So whatever is interrupted, each
//! row is counted once: in the blocks, or as pending. What arrives late is one more pending row.
//!
//! Forms on disk and the arithmetic of time are pure: `varint`, `seal`, `frames`, `block`, [`Histograms`], [`Series`],
//! [`Retention`]. No clock is read: `now_s` and every other time is an argument, in seconds since 1970, UTC.

mod append;
mod block;
mod catalogue;
mod check;
mod error;
mod expire;
mod frames;
mod histograms;
mod read;
mod retention;
mod roll_up;
mod seal;
mod series;
mod store;
mod varint;

pub use append::{Appended, Delta, Report};
pub use check::Checked;
pub use error::{Damage, Error, Problem};
pub use expire::{Expired, Size};
pub use histograms::{Buckets, Histograms, Packed, Writer};
pub use read::{Entry, Query};
pub use retention::{Retention, RetentionError, Tier};
pub use roll_up::RolledUp;
pub use series::{Selector, Series, SeriesRef};
pub use store::History;
