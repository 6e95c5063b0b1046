//! Rows that snapshots of directories see are written in one place, which keeps them.

use super::source::{all, report};

const TABLES: [&str; 4] = ["INODES", "DIRENTS", "EXTENTS", "ACLS"];

#[test]
fn rows_that_snapshots_see_are_written_by_what_keeps_them() {
    let mut found = Vec::new();
    let sources = all();
    let of_metadata = sources.iter().filter(|source| {
        source.is_production() && source.path.starts_with("crates/dfs-core/src/meta/")
    });
    for source in of_metadata {
        // However it is broken into lines.
        let text: String = source
            .production_lines()
            .flat_map(|(_, line)| line.trim().chars())
            .collect();
        for table in TABLES {
            for verb in ["put", "remove"] {
                let written = format!("state.{verb}({table},");
                if text.contains(&written) {
                    found.push(format!("{}: `{written}`", source.path));
                }
            }
        }
    }
    report("write by `snapshots::rows`", &found);
}
