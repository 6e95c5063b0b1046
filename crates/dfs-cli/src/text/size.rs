//! Numbers of bytes: `64KiB`, `1.5 GiB`.

const UNITS: [(&str, u64); 6] = [
    ("EiB", 1 << 60),
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// Reads `4096`, `64K`, `64KiB`, `1.5g`; all units are powers of 1024.
///
/// # Errors
/// Says what a size looks like.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a size; write 4096, 64KiB, 1.5GiB");
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" | "b" => 1,
        unit => UNITS
            .iter()
            .find(|(name, _)| {
                let name = name.to_ascii_lowercase();
                name == unit || name.strip_suffix("ib") == unit.strip_suffix('b').or(Some(unit))
            })
            .map(|(_, factor)| *factor)
            .ok_or_else(bad)?,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(bad);
    }
    let number: f64 = number.parse().map_err(|_| bad())?;
    let bytes = number * factor as f64;
    if !bytes.is_finite() || bytes >= u64::MAX as f64 {
        return Err(bad());
    }
    Ok(bytes.round() as u64)
}

/// `bytes` for people: `17 B`, `1.5 GiB`.
pub(crate) fn human(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, factor)| bytes >= *factor);
    let Some((name, factor)) = unit else {
        return format!("{bytes} B");
    };
    let value = bytes as f64 / *factor as f64;
    match value {
        value if value < 9.95 && !bytes.is_multiple_of(*factor) => format!("{value:.1} {name}"),
        value => format!("{value:.0} {name}"),
    }
}

/// `bytes`, for people or exactly.
pub(crate) fn shown(bytes: u64, for_people: bool) -> String {
    match for_people {
        true => human(bytes),
        false => bytes.to_string(),
    }
}

/// `1 name` or `2 names`.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_every_usual_form() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("17b", 17),
            ("64K", 65536),
            ("64kb", 65536),
            ("64 KiB", 65536),
            ("1.5GiB", 3 << 29),
            ("1m", 1 << 20),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "x", "1x", "-1", "1.2.3", "99999999999EiB", "KiB", "1 2"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_two_digits_that_matter() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(4096), "4 KiB");
        assert_eq!(human(64 << 20), "64 MiB");
        assert_eq!(human(u64::MAX), "16 EiB");
    }
}
