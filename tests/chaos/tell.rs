//! Tells a person what happens.

/// A line, at once.
#[allow(clippy::print_stderr, reason = "for the person who watches")]
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}
