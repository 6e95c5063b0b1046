//! Bars that show how far a transfer is; hidden off a terminal and with `--quiet`.

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// The progress of one command over all its files.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

const KNOWN: &str = "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} \
                     {binary_bytes_per_sec} {eta}";
const UNKNOWN: &str = "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}";

impl Progress {
    /// A bar for `total` bytes, or for nobody knows how many.
    pub(crate) fn new(output: &Output, what: &'static str, total: Option<u64>) -> Progress {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), KNOWN),
            None => (ProgressBar::new_spinner(), UNKNOWN),
        };
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = output.bars().add(bar.with_style(style).with_message(what));
        Progress(bar)
    }

    /// A bar that nobody sees.
    pub(crate) fn hidden() -> Progress {
        Progress(ProgressBar::hidden())
    }

    /// More bytes are to come.
    pub(crate) fn expect(&self, bytes: u64) {
        self.0.inc_length(bytes);
    }

    /// Bytes are done.
    pub(crate) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
