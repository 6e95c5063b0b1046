//! Golden scripts describe the rules one by one, the model finds what nobody thought of.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect"
)]

mod copies;
pub(crate) mod fixture;
mod limits;
mod model;
mod quotas;
mod rows;
mod script;
mod show;
mod snapshots;
mod speed;

use std::path::Path;

fn run_scripts(area: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/meta/testscripts")
        .join(area);
    let entries = std::fs::read_dir(&dir).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", dir.display());
    for path in paths {
        let mut runner = script::Runner::default();
        let name = path.display().to_string();
        goldenscript::run(&mut runner, &path).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

macro_rules! areas {
    ($($test:ident: $area:literal;)*) => {$(
        #[test]
        fn $test() {
            run_scripts($area);
        }
    )*};
}

areas! {
    the_namespace_follows_its_scripts: "namespace";
    renames_follow_their_scripts: "rename";
    links_follow_their_scripts: "links";
    the_trash_follows_its_scripts: "trash";
    commits_follow_their_scripts: "commit";
    clones_follow_their_scripts: "clone";
    concatenations_follow_their_scripts: "concat";
    truncations_follow_their_scripts: "truncate";
    uploads_follow_their_scripts: "uploads";
    quotas_follow_their_scripts: "quota";
    sessions_follow_their_scripts: "sessions";
    replicas_follow_their_scripts: "replicas";
    reclaim_follows_its_scripts: "reclaim";
    nodes_follow_their_scripts: "nodes";
    purges_follow_their_scripts: "purge";
    queries_follow_their_scripts: "queries";
    accounts_follow_their_scripts: "accounts";
    permissions_follow_their_scripts: "permissions";
    members_follow_their_scripts: "members";
    stripes_follow_their_scripts: "stripes";
    snapshots_follow_their_scripts: "snapshots";
}
