//! Which part of the work a service belongs to where several aggregators share it (pure).

/// How many parts there are: more than aggregators, so that those that are left can share what one leaves behind. Every aggregator must use
/// the same number, and what is in the log was written by it.
pub const PARTITIONS: u16 = 16;

/// One part: 0 to 15.
pub type Partition = u16;

/// The one of a service, the same on every machine: CRC-32 of its name.
pub fn of(service: &str) -> Partition {
    (crc32fast::hash(service.as_bytes()) % u32::from(PARTITIONS)) as Partition
}

/// The next free number of a decision: each partition has numbers of its own, so that two aggregators never give the same one to different
/// decisions, and always the same one to the same decision.
pub fn next_decision(partition: Partition, taken: impl Iterator<Item = u64>) -> u64 {
    let own = |id: &u64| id % u64::from(PARTITIONS) == u64::from(partition);
    let first = if partition == 0 { u64::from(PARTITIONS) } else { u64::from(partition) };
    taken.filter(own).max().map_or(first, |last| last + u64::from(PARTITIONS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_always_in_the_same_partition() {
        // CRC-32 of "123456789" is 0xCBF43926, its check value.
        assert_eq!(of("123456789"), 6);
    }

    #[test]
    fn partitions_do_not_share_numbers() {
        assert_eq!(next_decision(0, [].into_iter()), 16);
        assert_eq!(next_decision(3, [1, 16, 2].into_iter()), 3);
        assert_eq!(next_decision(3, [3, 19, 32, 40].into_iter()), 35);
    }
}
