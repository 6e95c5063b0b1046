//! What people type and what they are shown: paths, sizes, times, modes, owners.

pub(crate) mod acl;
pub(crate) mod attr;
pub(crate) mod mode;
pub(crate) mod owner;
pub(crate) mod remote;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod when;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use dfs_core::env::{Random, SeededRandom};
    use dfs_core::types::{FileKind, Mode};

    use super::acl::{Entries, Keys};
    use super::mode::ModeChange;
    use super::owner::Names;
    use super::remote::RemotePath;
    use super::size::{human, parse_size};
    use super::when::{duration, exact, parse_duration, parse_time};

    const GOOD: &[&str] = &[
        "1.5GiB",
        "64 kb",
        "2026-07-01T12:00:05.25Z",
        "@1782907205",
        "2h 30m",
        "7days",
        "4711",
        "u+rwX,go-w",
        "a=",
        "g=u",
        "u:7:rw-,d:g:8:r-x",
        "m::r,o::-",
        "user:7,mask",
        "7:8",
        ":8",
        "dfs:/a//b/",
        "/ü/x",
        "18446744073709551615",
        "99999999999y",
        "0.0000001EiB",
    ];

    /// Good texts, and what chance makes of them: pieces of two, and strange characters between.
    fn typed() -> impl Iterator<Item = String> {
        let random = SeededRandom::new(7);
        let below = move |most: usize| random.below(most as u64) as usize;
        let made = move |_| {
            let piece = || {
                let text: Vec<char> = GOOD[below(GOOD.len())].chars().collect();
                let from = below(text.len() + 1);
                text[from..from + below(text.len() - from + 1)]
                    .iter()
                    .collect::<String>()
            };
            let strange = [
                "",
                "",
                "9",
                ":",
                ",",
                "-",
                "+",
                ".",
                "/",
                "é",
                "\0",
                " ",
                "999999999999",
            ];
            piece() + strange[below(strange.len())] + &piece()
        };
        GOOD.iter()
            .map(|good| (*good).to_owned())
            .chain((0..50_000).map(made))
    }

    #[test]
    fn whatever_is_typed_is_read_or_refused() {
        for text in typed() {
            if let Ok(size) = parse_size(&text) {
                assert!(
                    parse_size(&human(size)).is_ok() || size > u64::MAX / 2,
                    "{text}"
                );
            }
            if let Ok(time) = parse_time(&text) {
                assert!(parse_time(&exact(time)).is_ok(), "{text}");
            }
            if let Ok(time) = parse_duration(&text) {
                assert_eq!(parse_duration(&duration(time)), Ok(time), "{text}");
            }
            if let Ok(change) = text.parse::<ModeChange>() {
                change.apply_to(Mode::FILE, FileKind::File);
            }
            let _ = (text.parse::<Entries>(), text.parse::<Keys>());
            let _ = Names::default().parse(&text);
            let _ = RemotePath::parse(OsString::from(text));
        }
    }
}
