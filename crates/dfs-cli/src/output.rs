//! The only place that prints. Data goes to standard output, talk to standard error.

use std::borrow::Cow;
use std::fmt::{Arguments, Display};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::MultiProgress;
use serde::Serialize;

use crate::error::{Doing, Exit, Failure, Result};

/// The version of everything printed with `--json`. Fields are added under the same number;
/// removing or changing one takes the next.
pub(crate) const SCHEMA: u32 = 1;

/// Where commands print.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: Mutex<BufWriter<Stdout>>,
    quiet: bool,
    color: bool,
    /// Whether data is printed for a person.
    is_terminal: bool,
    /// Bars share standard error with the talk: they make room for it.
    bars: MultiProgress,
}

/// A document: the schema number, then the fields of the value.
#[derive(Serialize)]
struct Document<'a, T> {
    schema: u32,
    #[serde(flatten)]
    value: &'a T,
}

impl Output {
    /// An output; `quiet` silences all talk but errors.
    pub(crate) fn new(quiet: bool) -> Output {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_terminal = io::stderr().is_terminal();
        Output {
            stdout: Mutex::new(BufWriter::new(io::stdout())),
            quiet,
            is_terminal: io::stdout().is_terminal(),
            color: is_terminal && !no_color,
            bars: match is_terminal && !quiet {
                true => MultiProgress::new(),
                false => MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden()),
            },
        }
    }

    /// The bars, hidden where nobody can see them.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Prints a line of data.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn line(&self, line: impl Display) -> Result<()> {
        self.print(format_args!("{line}\n"))
    }

    /// Prints lines of data.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn lines(&self, lines: impl IntoIterator<Item = impl Display>) -> Result<()> {
        lines.into_iter().try_for_each(|line| self.line(line))
    }

    /// Prints text as it is.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn print(&self, text: Arguments<'_>) -> Result<()> {
        let printed = self.stdout().write_fmt(text);
        printed.doing("write", "standard output")
    }

    /// Prints a whole JSON document, with its schema number.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        let schema = SCHEMA;
        self.line(to_json(&Document { schema, value })?)
    }

    /// Begins a JSON document that ends in a long list, printed as it arrives.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn json_list(&self, head: &impl Serialize, name: &str) -> Result<JsonList<'_>> {
        let schema = SCHEMA;
        let head = to_json(&Document {
            schema,
            value: head,
        })?;
        let open = head.strip_suffix('}').unwrap_or(&head);
        self.print(format_args!("{open},\"{name}\":["))?;
        Ok(JsonList {
            output: self,
            empty: true,
        })
    }

    /// A name as it is printed: on a terminal without the characters that control it.
    pub(crate) fn name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match self.is_terminal && name.contains(char::is_control) {
            true => Cow::Owned(name.replace(char::is_control, "?")),
            false => Cow::Borrowed(name),
        }
    }

    /// Hands over what was printed so far.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn flush(&self) -> Result<()> {
        let flushed = self.stdout().flush();
        flushed.doing("write", "standard output")
    }

    /// Tells the person something, unless they want quiet.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            self.talk(format_args!("{text}"));
        }
    }

    /// Warns the person, also one who wants quiet.
    pub(crate) fn warning(&self, text: impl Display) {
        self.talk(format_args!("{} {text}", self.paint("1;33", "warning:")));
    }

    /// Tells the person what to do next, unless they want quiet.
    pub(crate) fn hint(&self, text: impl Display) {
        if !self.quiet {
            self.talk(format_args!("{} {text}", self.paint("36", "hint:")));
        }
    }

    /// Tells the person what went wrong, and what to do about it.
    pub(crate) fn failure(&self, failure: &Failure) {
        let Failure::Said(message) = failure else {
            return;
        };
        self.talk(format_args!(
            "{} {}",
            self.paint("1;31", "error:"),
            message.text
        ));
        for hint in &message.hints {
            self.talk(format_args!("{} {hint}", self.paint("36", "hint:")));
        }
    }

    fn talk(&self, text: Arguments<'_>) {
        // Nobody is left to be told when standard error is closed.
        self.bars.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.color {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn stdout(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(io::Error::other);
    text.doing("write", "JSON")
}

/// The list at the end of a JSON document. One that is not ended is cut on purpose: a reader
/// must not take a part for the whole.
#[derive(Debug)]
pub(crate) struct JsonList<'a> {
    output: &'a Output,
    empty: bool,
}

impl JsonList<'_> {
    /// Prints an item.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn item(&mut self, item: &impl Serialize) -> Result<()> {
        let separator = if self.empty { "" } else { "," };
        self.empty = false;
        self.output
            .print(format_args!("{separator}{}", to_json(item)?))
    }

    /// Ends the document.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn end(self) -> Result<()> {
        self.output.print(format_args!("]}}\n"))
    }
}

/// Goes on after failures with what else there is to do, and remembers that there were some.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    output: &'a Output,
    worst: Mutex<Exit>,
}

impl<'a> Tally<'a> {
    /// No failure yet.
    pub(crate) fn new(output: &'a Output) -> Tally<'a> {
        Tally {
            output,
            worst: Mutex::new(Exit::Done),
        }
    }

    /// Tells of a failure and goes on; what can be gone on with is returned.
    ///
    /// # Errors
    /// There is no point in going on: the output is closed, or the cluster cannot be reached.
    pub(crate) fn take<T>(&self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Failure::OutputClosed) => Err(Failure::OutputClosed),
            Err(failure) if failure.exit() == Exit::Unavailable => Err(failure),
            Err(failure) => {
                self.output.failure(&failure);
                let mut worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
                *worst = failure.exit().max(*worst);
                Ok(None)
            }
        }
    }

    /// The end: whether all went well.
    ///
    /// # Errors
    /// Something did not; it was told.
    pub(crate) fn finish(self) -> Result<()> {
        match self
            .worst
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Exit::Done => Ok(()),
            worst => Err(Failure::Told(worst)),
        }
    }
}
