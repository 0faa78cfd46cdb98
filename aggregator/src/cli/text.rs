//! Times for people (pure).

/// RFC 3339 in UTC with milliseconds.
pub(super) fn utc(unix_us: u64) -> String {
    let stamp = i64::try_from(unix_us).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    stamp.map_or_else(|| "?".to_owned(), |stamp| format!("{stamp:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc() {
        assert_eq!(utc(1_500_000), "1970-01-01T00:00:01.500Z");
    }
}
