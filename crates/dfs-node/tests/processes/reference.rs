//! `docs/reference/dfs-node.md` says what `--help` says.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::TestResult;
use crate::cluster::command;

const HEAD: &str = "\
# Daemon reference

What `dfs-node --help` prints, and for every role. Generated: \
`UPDATE_REFERENCE=1 cargo test -p dfs-node --test processes reference`.
";

#[tokio::test]
async fn the_reference_says_what_help_says() -> TestResult {
    let mut text = HEAD.to_owned();
    for role in [
        &[][..],
        &["init"],
        &["master"],
        &["data"],
        &["recover"],
        &["discover"],
    ] {
        let help = command(&[role, &["--help"]].concat());
        // Set variables are shown with their values.
        let help = { help }.env_clear().output().await?.stdout;
        let help = String::from_utf8(help)?;
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        let title = [&["dfs-node"], role].concat().join(" ");
        write!(
            text,
            "\n## `{title}`\n\n```text\n{}\n```\n",
            lines.join("\n")
        )?;
    }

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/dfs-node.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, &text)?;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{} is not what --help says: run UPDATE_REFERENCE=1 cargo test -p dfs-node --test \
         processes reference",
        path.display()
    );
    Ok(())
}
