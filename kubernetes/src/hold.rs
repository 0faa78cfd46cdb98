//! Holds a rollback against those who write the old weights back: pure.
//!
//! The object is looked at from time to time; each time it turns out not to be as wanted, somebody has written it back.
//! It is then put right again, sooner at first than later: two programs that both insist would else write all the time.
//! After the configured time the weights are left to the others. The candidate is never put back into traffic by this.

use std::time::Duration;

/// A rollback that is held.
#[derive(Clone, Debug)]
pub struct Hold {
    /// When it ends.
    until: Duration,
    /// When it may be written again.
    next: Duration,
    /// How often it was written back.
    times: u32,
    /// Whether the weights were as wanted when they were looked at or written last.
    was_right: bool,
}

/// What to do about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is as wanted.
    Rest,
    /// Write it again.
    Write {
        /// How often others wrote it back, this time included.
        times: u32,
    },
    /// It is not as wanted, but was written a moment ago: not before this time has passed.
    Wait(Duration),
    /// It is not as wanted, and the time is over: it is left to others.
    Over {
        /// How often others wrote it back.
        times: u32,
    },
}

/// How long it takes to be written the second time; each time twice as long. The first time it is at once.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// No longer than this, so that a candidate that was put back gets requests for a minute at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Hold {
    /// A rollback that was just written. `now` and the times after it are by any clock that is never set.
    pub fn new(now: Duration, hold: Duration) -> Self {
        Hold { until: now.saturating_add(hold), next: now, times: 0, was_right: true }
    }

    /// How often others wrote the old weights back.
    pub fn times(&self) -> u32 {
        self.times
    }

    /// The object was looked at. `is_right`: its plan is [`Plan::InEffect`](crate::plan::Plan::InEffect).
    pub fn looked(&mut self, is_right: bool, now: Duration) -> Next {
        if is_right {
            self.was_right = true;
            return Next::Rest;
        }
        // After a write that failed nobody has to have written it back.
        if self.was_right {
            self.times = self.times.saturating_add(1);
            self.was_right = false;
        }
        if now >= self.until {
            return Next::Over { times: self.times };
        }
        match self.next.checked_sub(now).filter(|left| !left.is_zero()) {
            Some(left) => Next::Wait(left),
            None => {
                self.next = now.saturating_add(self.pause());
                Next::Write { times: self.times }
            }
        }
    }

    /// What [`Next::Write`] said was done. They may write it back before the next look.
    pub fn written(&mut self) {
        self.was_right = true;
    }

    fn pause(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.times.saturating_sub(1));
        FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_fight_gets_slower_and_ends() {
        let mut hold = Hold::new(s(100), s(300));
        assert_eq!(hold.looked(true, s(101)), Next::Rest);
        let mut written = Vec::new();
        // Every second somebody has written it back.
        for now in 102..400 {
            match hold.looked(false, s(now)) {
                Next::Write { .. } => {
                    written.push(now);
                    hold.written();
                }
                Next::Wait(left) => assert!(left <= LONGEST_PAUSE),
                other => panic!("{now}: {other:?}"),
            }
        }
        assert_eq!(written, [102, 107, 117, 137, 177, 237, 297, 357]);
        assert_eq!(hold.looked(false, s(400)), Next::Over { times: 9 });
        assert_eq!(hold.looked(true, s(401)), Next::Rest);
        assert_eq!(hold.times(), 9);
    }

    #[test]
    fn a_write_that_fails_is_not_another_writer() {
        let mut hold = Hold::new(s(0), s(60));
        assert_eq!(hold.looked(false, s(1)), Next::Write { times: 1 });
        assert_eq!(hold.looked(false, s(2)), Next::Wait(s(4)));
        assert_eq!(hold.looked(false, s(6)), Next::Write { times: 1 });
        assert_eq!(hold.looked(true, s(7)), Next::Rest);
        assert_eq!(hold.looked(false, s(20)), Next::Write { times: 2 });
    }

    #[test]
    fn at_the_limits() {
        let mut hold = Hold::new(Duration::MAX, Duration::MAX);
        assert_eq!(hold.looked(false, Duration::MAX), Next::Over { times: 1 });
        let mut none = Hold::new(s(5), s(0));
        assert_eq!(none.looked(false, s(5)), Next::Over { times: 1 });
    }
}
