//! Which aggregator has which partition (pure): what is seen in the bucket and a monotonic clock in, what is to be done out.
//!
//! Each member writes a heartbeat every second. A member is gone when its heartbeat has not changed for [`GONE_AFTER`], as measured by another one
//! whose own heartbeats get through meanwhile: when NATS itself stands still, nobody is gone. A member that could not write its own for
//! [`FENCED_AFTER`] lets go of all it has, before anyone else can take it. The partition of a member that is gone is claimed, by compare-and-set on
//! what was seen, by the one that is preferred for it among those that are there (rendezvous hashing); so are partitions that nobody has.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::partition::{PARTITIONS, Partition};

/// How often a member says that it is there.
pub(super) const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A member that could not say so for this long has no partitions any more. Shorter than [`GONE_AFTER`] by what a claim takes.
pub(super) const FENCED_AFTER: Duration = Duration::from_secs(4);
/// A member that did not say so for this long is gone: four beats that were late or lost.
const GONE_AFTER: Duration = Duration::from_secs(5);
/// A new member is given what it is preferred for when it has been there for this long, so that one that comes and goes moves nothing.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// A reading of a monotonic clock.
pub(super) type Instant = Duration;

#[derive(Debug)]
struct Member {
    first_seen: Instant,
    beat: Instant,
    /// Of its last heartbeat; 0 before the first one.
    revision: u64,
}

impl Member {
    /// One that was not heard of before now.
    fn new(now: Instant) -> Self {
        Member { first_seen: now, beat: now, revision: 0 }
    }
}

/// A partition's entry in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Who has it; empty when it was given back.
    pub(super) member: String,
    /// Of the entry.
    pub(super) revision: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Write our name to a partition's entry, if it is still of this revision (0: if there is none).
    Claim { partition: Partition, revision: u64 },
    /// Begin to judge it.
    Begin(Partition),
    /// Stop to judge it.
    End(Partition),
    /// Stop to judge it, and then give it back: another member is there to take it.
    GiveBack { partition: Partition, revision: u64 },
}

/// What one member knows.
#[derive(Debug)]
pub(super) struct Claims {
    me: String,
    members: BTreeMap<String, Member>,
    owners: BTreeMap<Partition, Owner>,
    /// Those that we judge.
    begun: BTreeSet<Partition>,
    /// When the last heartbeat that got through was sent.
    confirmed: Option<Instant>,
}

impl Claims {
    /// A member that has nothing yet. Its name must be unique for ever.
    pub(super) fn new(me: String) -> Self {
        Claims { me, members: BTreeMap::new(), owners: BTreeMap::new(), begun: BTreeSet::new(), confirmed: None }
    }

    /// A member's heartbeat was seen in the bucket. One that is shown again, as by a watch that is renewed, changes nothing.
    pub(super) fn beat(&mut self, member: &str, revision: u64, now: Instant) {
        let known = self.members.entry(member.to_owned()).or_insert(Member::new(now));
        if revision <= known.revision {
            return;
        }
        if now.saturating_sub(known.beat) >= GONE_AFTER {
            known.first_seen = now;
        }
        (known.beat, known.revision) = (now, revision);
    }

    /// A partition's entry was seen in the bucket. Older ones than what is known change nothing.
    pub(super) fn owned(&mut self, partition: Partition, owner: Owner, now: Instant) {
        let is_newer = self.owners.get(&partition).is_none_or(|known| owner.revision > known.revision);
        if is_newer && partition < PARTITIONS {
            // Its heartbeats may not have been seen yet: it has the same time to show one as everyone.
            if !owner.member.is_empty() {
                self.members.entry(owner.member.clone()).or_insert(Member::new(now));
            }
            self.owners.insert(partition, owner);
        }
    }

    /// Our own heartbeat, sent at this time, got through.
    pub(super) fn confirmed(&mut self, revision: u64, sent: Instant) {
        self.confirmed = self.confirmed.max(Some(sent));
        let me = self.me.clone();
        self.beat(&me, revision, sent);
    }

    /// Who has a partition, as far as is known.
    pub(super) fn owner(&self, partition: Partition) -> Option<&str> {
        self.owners.get(&partition).map(|owner| owner.member.as_str()).filter(|member| !member.is_empty())
    }

    /// The other members that are not gone.
    pub(super) fn others(&self) -> impl Iterator<Item = &str> {
        self.there(Duration::ZERO).into_iter().filter(|member| *member != self.me)
    }

    /// Whether we are to act for nobody.
    pub(super) fn is_fenced(&self, now: Instant) -> bool {
        self.confirmed.is_none_or(|sent| now.saturating_sub(sent) >= FENCED_AFTER)
    }

    /// Whether a partition is ours to judge and to act for.
    pub(super) fn has(&self, partition: Partition, now: Instant) -> bool {
        !self.is_fenced(now) && self.begun.contains(&partition) && self.owner(partition) == Some(self.me.as_str())
    }

    /// What is to be done now.
    pub(super) fn act(&mut self, now: Instant) -> Vec<Action> {
        let there = self.there(Duration::ZERO);
        let mut settled = self.there(SETTLED_AFTER);
        settled.push(&self.me);
        let is_fenced = self.is_fenced(now);
        let decide = |partition| self.decide(partition, is_fenced, &there, &settled);
        let actions: Vec<Action> = (0..PARTITIONS).filter_map(decide).collect();
        for action in &actions {
            match action {
                Action::Begin(partition) => drop(self.begun.insert(*partition)),
                Action::End(partition) | Action::GiveBack { partition, .. } => drop(self.begun.remove(partition)),
                Action::Claim { .. } => {}
            }
        }
        actions
    }

    fn decide(&self, partition: Partition, is_fenced: bool, there: &[&str], settled: &[&str]) -> Option<Action> {
        let owner = self.owners.get(&partition);
        let ours = owner.filter(|owner| owner.member == self.me);
        let has_begun = self.begun.contains(&partition);
        match ours {
            _ if is_fenced => has_begun.then_some(Action::End(partition)),
            None if has_begun => Some(Action::End(partition)),
            Some(Owner { revision, .. }) if preferred(partition, settled) != Some(&self.me) => {
                Some(Action::GiveBack { partition, revision: *revision })
            }
            Some(_) => (!has_begun).then_some(Action::Begin(partition)),
            None => {
                let is_free = owner.is_none_or(|owner| !there.contains(&owner.member.as_str()));
                let claims = is_free && preferred(partition, there) == Some(&self.me);
                claims.then(|| Action::Claim { partition, revision: owner.map_or(0, |owner| owner.revision) })
            }
        }
    }

    /// Those that are not gone, and have been there for so long.
    fn there(&self, since: Duration) -> Vec<&str> {
        let Some(confirmed) = self.confirmed else { return Vec::new() };
        let is_there = |member: &Member| {
            confirmed.saturating_sub(member.beat) < GONE_AFTER && confirmed.saturating_sub(member.first_seen) >= since
        };
        self.members.iter().filter(|(_, member)| is_there(member)).map(|(name, _)| name.as_str()).collect()
    }
}

/// Of these members the one whose name and the partition's number together have the highest hash.
fn preferred<'a>(partition: Partition, members: &[&'a str]) -> Option<&'a str> {
    let weight = |member: &&str| mixed(u64::from(crc32fast::hash(member.as_bytes())) << 16 | u64::from(partition));
    members.iter().copied().max_by_key(weight)
}

/// A CRC alone is linear: of two members one could be preferred for all partitions. This is the finaliser of SplitMix64 (Steele, Lea and
/// Flood, 2014).
fn mixed(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests;
