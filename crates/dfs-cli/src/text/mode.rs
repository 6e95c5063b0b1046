//! Permissions: `755`, `u+rwx,go-w`, and `drwxr-xr-x`.

use std::str::FromStr;

use dfs_core::types::{FileKind, Mode};

/// A change of permissions, as `chmod` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// `755`.
    Octal(Mode),
    /// `u+rwx,go-w`.
    Symbolic(Vec<Clause>),
}

/// `go-w`: whom it is about, what is done, with which permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Bits of the classes it is about: `u` 0o4700, `g` 0o2070, `o` 0o1007.
    who: u32,
    op: Op,
    permissions: Permissions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permissions {
    /// Bits of all classes, and whether `X` asks for execution where it makes sense.
    Bits { bits: u32, execute_if_useful: bool },
    /// Those that this class has: `g=u`. The number is how far its bits are shifted.
    CopyOf(u32),
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;

impl ModeChange {
    /// `mode` of something of `kind` after the change.
    pub(crate) fn apply_to(&self, mode: Mode, kind: FileKind) -> Mode {
        match self {
            ModeChange::Octal(mode) => *mode,
            ModeChange::Symbolic(clauses) => {
                let apply = |bits, clause: &Clause| clause.apply_to(bits, kind);
                Mode::new(clauses.iter().fold(mode.bits(), apply))
            }
        }
    }
}

impl Clause {
    fn apply_to(&self, mode: u32, kind: FileKind) -> u32 {
        let wanted = match self.permissions {
            Permissions::Bits {
                bits,
                execute_if_useful,
            } => {
                let useful = kind == FileKind::Directory || mode & 0o111 != 0;
                bits | if execute_if_useful && useful {
                    0o111
                } else {
                    0
                }
            }
            Permissions::CopyOf(shift) => ((mode >> shift) & 0o7) * 0o111,
        };
        let bits = wanted & self.who;
        match self.op {
            Op::Add => mode | bits,
            Op::Remove => mode & !bits,
            Op::Set => (mode & !self.who) | bits,
        }
    }
}

impl FromStr for ModeChange {
    type Err = String;

    fn from_str(text: &str) -> Result<ModeChange, String> {
        let bad = || format!("{text:?} is not a mode; write 755 or u+rw,go-w");
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).map_err(|_| bad())?;
            return match bits {
                0..=0o7777 => Ok(ModeChange::Octal(Mode::new(bits))),
                _ => Err(bad()),
            };
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            parse_clauses(part, &mut clauses).ok_or_else(bad)?;
        }
        Ok(ModeChange::Symbolic(clauses))
    }
}

/// One part between commas: whom, then one or more operations, as in `u+r-w`.
fn parse_clauses(text: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let at = text.find(['+', '-', '='])?;
    let (classes, mut rest) = text.split_at(at);
    let mut who = 0;
    for class in classes.chars() {
        who |= match class {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHER,
            'a' => USER | GROUP | OTHER,
            _ => return None,
        };
    }
    if classes.is_empty() {
        who = USER | GROUP | OTHER;
    }
    while let Some(op) = rest.chars().next() {
        let op = match op {
            '+' => Op::Add,
            '-' => Op::Remove,
            '=' => Op::Set,
            _ => return None,
        };
        rest = rest.get(1..)?;
        let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        let permissions = parse_permissions(rest.get(..end)?)?;
        clauses.push(Clause {
            who,
            op,
            permissions,
        });
        rest = rest.get(end..)?;
    }
    Some(())
}

fn parse_permissions(text: &str) -> Option<Permissions> {
    match text {
        "u" => return Some(Permissions::CopyOf(6)),
        "g" => return Some(Permissions::CopyOf(3)),
        "o" => return Some(Permissions::CopyOf(0)),
        _ => {}
    }
    let mut bits = 0;
    let mut execute_if_useful = false;
    for letter in text.chars() {
        bits |= match letter {
            'r' => 0o444,
            'w' => 0o222,
            'x' => 0o111,
            's' => 0o6000,
            't' => 0o1000,
            'X' => {
                execute_if_useful = true;
                0
            }
            _ => return None,
        };
    }
    Some(Permissions::Bits {
        bits,
        execute_if_useful,
    })
}

/// `drwxr-xr-x`, as `ls -l` shows it.
pub(crate) fn letters(kind: FileKind, mode: Mode) -> String {
    let bits = mode.bits();
    let mut text = String::with_capacity(10);
    text.push(match kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let class = bits >> shift;
        text.push(if class & 4 != 0 { 'r' } else { '-' });
        text.push(if class & 2 != 0 { 'w' } else { '-' });
        text.push(match (class & 1 != 0, bits & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// What something is, in a word.
pub(crate) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(mode: u32, change: &str, kind: FileKind) -> u32 {
        let change: ModeChange = change.parse().unwrap();
        change.apply_to(Mode::new(mode), kind).bits()
    }

    #[test]
    fn modes_change_as_chmod_changes_them() {
        for (before, change, after) in [
            (0o644, "755", 0o755),
            (0o644, "4711", 0o4711),
            (0o644, "u+x", 0o744),
            (0o644, "+x", 0o755),
            (0o666, "go-w", 0o644),
            (0o777, "u=rw,go=r", 0o644),
            (0o640, "o=g", 0o644),
            (0o750, "g=u", 0o770),
            (0o644, "u+x-w", 0o544),
            (0o755, "u+s", 0o4755),
            (0o755, "+t", 0o1755),
            (0o6755, "a=", 0),
            (0o644, "a+X", 0o644),
            (0o744, "a+X", 0o755),
        ] {
            let got = changed(before, change, FileKind::File);
            assert_eq!(got, after, "{before:o} {change}: {got:o}");
        }
        assert_eq!(changed(0o644, "a+X", FileKind::Directory), 0o755);
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "8", "77777", "u", "z+x", "u+q", "u+r,", "0x1", "+u+é"] {
            assert!(text.parse::<ModeChange>().is_err(), "{text}");
        }
    }

    #[test]
    fn modes_are_shown_as_ls_shows_them() {
        let shown = |kind, bits| letters(kind, Mode::new(bits));
        assert_eq!(shown(FileKind::Directory, 0o755), "drwxr-xr-x");
        assert_eq!(shown(FileKind::File, 0o4744), "-rwsr--r--");
        assert_eq!(shown(FileKind::Symlink, 0o1666), "lrw-rw-rwT");
    }
}
