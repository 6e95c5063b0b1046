//! Times and durations.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dfs_core::types::Timestamp;

/// `2026-07-01 12:00:05` in UTC.
pub(crate) fn date(time: Timestamp) -> String {
    let text = exact(time);
    let seconds = text.get(..19).unwrap_or(&text);
    seconds.replacen('T', " ", 1)
}

/// `2026-07-01T12:00:05.000001Z`.
pub(crate) fn exact(time: Timestamp) -> String {
    // The largest date humantime can show; a stored time beyond it is shown as that.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since = Duration::from_micros(time.0).min(LAST);
    humantime::format_rfc3339_micros(UNIX_EPOCH + since).to_string()
}

/// Reads `2026-07-01`, `2026-07-01T12:00:05Z`, `2026-07-01 12:00:05` (all UTC) or `@SECONDS`.
///
/// # Errors
/// Says what a time looks like.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let bad = || format!("{text:?} is not a time; write 2026-07-01T12:00:05Z or @1782907205");
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds: u64 = seconds.parse().map_err(|_| bad())?;
        return seconds
            .checked_mul(1_000_000)
            .map(Timestamp)
            .ok_or_else(bad);
    }
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    let time = humantime::parse_rfc3339_weak(&full).map_err(|_| bad())?;
    Ok(from_system(time))
}

/// A local file's time.
pub(crate) fn from_system(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// The same for a local file.
pub(crate) fn to_system(time: Timestamp) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_micros(time.0))
        .unwrap_or(UNIX_EPOCH)
}

/// `1day`, `2h 30m`, `0s`.
pub(crate) fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// `2h 30m`, for what nobody knows exactly.
pub(crate) fn about(time: Duration) -> String {
    let text = duration(Duration::from_secs(time.as_secs()));
    let parts: Vec<_> = text.split(' ').take(2).collect();
    parts.join(" ")
}

/// `3days`, `2h`, `5m`, `40s`: the largest unit, rounded down, is enough for an age.
pub(crate) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(24 * 3600, "days"), (3600, "h"), (60, "m")];
    let fits = units.iter().find(|(unit, _)| seconds >= 2 * unit);
    match fits {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// Reads `24h`, `7days`, `0`.
///
/// # Errors
/// Says what a duration looks like.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration; write 30s, 24h, 7days, 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        for (seconds, told) in [
            (0, "0s"),
            (119, "119s"),
            (125, "2m"),
            (7_200, "2h"),
            (172_800, "2days"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn times_are_read_as_they_are_shown() {
        let time = parse_time("2026-07-01T12:00:05Z").unwrap();
        assert_eq!(date(time), "2026-07-01 12:00:05");
        assert_eq!(parse_time(&exact(time)), Ok(time));
        assert_eq!(parse_time(&date(time)), Ok(time));
        assert_eq!(parse_time("@1"), Ok(Timestamp(1_000_000)));
        assert_eq!(exact(parse_time("2026-07-01").unwrap()).len(), 27);
        for text in ["", "yesterday", "@x", "@99999999999999999999", "2026-13-01"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_beyond_all_calendars_is_still_shown() {
        assert!(exact(Timestamp(u64::MAX)).starts_with("9999-12-31"));
    }

    #[test]
    fn durations_are_read_and_shown() {
        assert_eq!(parse_duration("24h").map(duration), Ok("1day".to_owned()));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert!(parse_duration("soon").is_err());
    }
}
