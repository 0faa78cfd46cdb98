//! The recording of a running trial: encoded, so that half an hour of a service with 40 pods takes some megabytes.

use prost::Message;
use serin_proto::v1::{RecordingPart, recording_part::Part};

use super::{Observed, Setup};

/// One trial's, at most: a second of 40 pods with 40 buckets each is about 5 kB, so half an hour is 9 MB.
const BYTES_MAX: usize = 64 << 20;

/// It became longer than 64 MiB, and was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the recording of this trial became longer than 64 MiB and was not kept: compare fewer routes, or for a shorter time"
)]
pub struct TooLong;

/// The parts so far, each as it is sent and written.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    parts: Vec<Vec<u8>>,
    bytes: usize,
    is_too_long: bool,
}

impl Kept {
    /// Begins one.
    pub fn new(setup: &Setup) -> Self {
        let mut kept = Kept { parts: Vec::new(), bytes: 0, is_too_long: false };
        kept.push(Part::Setup(setup.to_wire()));
        kept
    }

    /// Adds a second.
    pub fn add(&mut self, observed: &Observed) {
        if !self.is_too_long {
            self.push(Part::Second(observed.to_wire()));
        }
    }

    fn push(&mut self, part: Part) {
        let part = RecordingPart { part: Some(part) }.encode_to_vec();
        self.bytes += part.len();
        self.parts.push(part);
        if self.bytes > BYTES_MAX {
            *self = Kept { parts: Vec::new(), bytes: 0, is_too_long: true };
        }
    }

    /// Its parts from one on.
    ///
    /// # Errors
    /// When it became too long.
    pub fn from(&self, part: usize) -> Result<&[Vec<u8>], TooLong> {
        if self.is_too_long { Err(TooLong) } else { Ok(self.parts.get(part..).unwrap_or_default()) }
    }
}
