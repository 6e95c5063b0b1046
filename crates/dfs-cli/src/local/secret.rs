//! Passwords and keys as people type them and as scripts pass them on.
//!
//! A password is asked for where nobody sees it: at the terminal, with its echo off. The question
//! goes to standard error with no newline after it; nothing else prints here.

use std::io::{self, BufRead, IsTerminal, Write};

use dfs_core::env::Env;
use dfs_core::security::{PASSWORD_LEN_MAX, PASSWORD_LEN_MIN, Password};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::{Doing, Failure, Result};

/// Longest line that is read.
const LINE_LEN_MAX: u64 = 8192;

/// A password that is there already: asked for, or with `piped` the first line of standard input.
///
/// # Errors
/// There is no terminal to ask at, or nothing was typed.
pub(crate) async fn password(piped: bool, question: &str) -> Result<String> {
    match piped {
        true => first_line().await,
        false => ask(question).await,
    }
}

/// A password to be: asked for twice, or with `piped` the first line of standard input.
///
/// # Errors
/// There is no terminal to ask at, what was typed differs, or it is too short or too long.
pub(crate) async fn new_password(piped: bool, question: &str) -> Result<Password> {
    let typed = password(piped, question).await?;
    if !piped && ask("the same again").await? != typed {
        return Err(Failure::refused(
            "the two passwords differ; nothing was changed",
        ));
    }
    if !(PASSWORD_LEN_MIN..=PASSWORD_LEN_MAX).contains(&typed.len()) {
        return Err(Failure::refused(format!(
            "a password has {PASSWORD_LEN_MIN} to {PASSWORD_LEN_MAX} bytes; nothing was changed"
        )));
    }
    Ok(Password::new(typed))
}

/// The first line of standard input, without its newline.
///
/// # Errors
/// There is none, or it is too long.
pub(crate) async fn first_line() -> Result<String> {
    read_line().await?.ok_or_else(|| {
        Failure::usage("there is nothing on standard input")
            .hint("pass on one line, as in `command-that-prints-it | dfs …`")
    })
}

/// Asks at the terminal, with its echo off.
async fn ask(question: &str) -> Result<String> {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage("no password can be asked for: standard input is no terminal")
                .hint("`--password-stdin` takes the first line of standard input"),
        );
    }
    // It is over as soon as this future is, a signal included.
    let _silence = Silence::begin().doing("use", "the terminal")?;
    prompt(question).doing("write", "standard error")?;
    let line = read_line().await?;
    line.ok_or_else(|| Failure::refused("no password was typed; nothing was changed"))
}

fn prompt(question: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question}: ")?;
    stderr.flush()
}

async fn read_line() -> Result<Option<String>> {
    let read = || line_of(io::stdin().lock());
    let line = Env::real().run_blocking(read).await;
    line.doing("read", "standard input")
}

/// The first line, without its newline; none if there is none or it is empty.
fn line_of(input: impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let length = input.take(LINE_LEN_MAX).read_line(&mut line)?;
    if length as u64 == LINE_LEN_MAX && !line.ends_with('\n') {
        return Err(io::Error::other(format!(
            "its first line is longer than {LINE_LEN_MAX} bytes"
        )));
    }
    let text = line.strip_suffix('\n').unwrap_or(&line);
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// A terminal that shows nothing of what is typed but the end of the line. Dropped, it is as it
/// was before.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> io::Result<Silence> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Silence { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Option<String> {
        line_of(bytes).unwrap()
    }

    #[test]
    fn a_password_is_the_first_line_without_its_newline() {
        assert_eq!(line(b"two words \nmore\n").as_deref(), Some("two words "));
        assert_eq!(line(b"no newline").as_deref(), Some("no newline"));
        assert_eq!(line(b"\nsecond"), None);
        assert_eq!(line(b""), None);
    }

    #[test]
    fn what_is_no_line_of_text_is_refused() {
        assert!(line_of(&[b'x'; 9000][..]).is_err());
        assert!(line_of(&b"\xff\n"[..]).is_err());
    }
}
