//! Who may import whom (the picture is in `ARCHITECTURE.md`).

use super::source::{Source, all, report};

/// Modules of `dfs-core`, and which of its other modules each may import.
const CORE: &[(&str, &[&str])] = &[
    ("env", &[]),
    ("planted", &[]),
    (
        "testing",
        &[
            "datanode", "env", "meta", "node", "proto", "security", "types",
        ],
    ),
    ("types", &["env"]),
    ("error", &["types"]),
    ("proto", &["env", "security", "types"]),
    ("security", &["env", "planted", "types"]),
    ("meta", &["env", "planted", "types"]),
    ("node", &["env", "planted", "proto", "security", "types"]),
    (
        "master",
        &[
            "env", "error", "meta", "node", "planted", "proto", "security", "types",
        ],
    ),
    (
        "datanode",
        &[
            "env", "error", "node", "planted", "proto", "security", "types",
        ],
    ),
    (
        "client",
        &["env", "error", "planted", "proto", "security", "types"],
    ),
    (
        "cluster",
        &[
            "client", "datanode", "env", "error", "master", "meta", "node", "proto", "security",
            "types",
        ],
    ),
];

/// Programs, and which modules of `dfs-core` each may import.
const PROGRAMS: &[(&str, &[&str])] = &[
    (
        "crates/dfs-cli/src/",
        &[
            "client", "cluster", "env", "error", "master", "node", "security", "types",
        ],
    ),
    (
        "crates/dfs-node/src/",
        &[
            "client", "datanode", "env", "error", "master", "node", "planted", "proto", "security",
            "types",
        ],
    ),
];

/// External crates that only some places may name.
const EXTERNAL: &[(&str, &[&str])] = &[
    ("mdns_sd", &["crates/dfs-node/src/discover.rs"]),
    ("openraft", &["crates/dfs-raft/src/"]),
    ("openraft_rt", &["crates/dfs-raft/src/"]),
    (
        "redb",
        &[
            "crates/dfs-raft/src/",
            "crates/dfs-core/src/datanode/store/",
        ],
    ),
    (
        "dfs_raft",
        &[
            "crates/dfs-raft/",
            "crates/dfs-core/src/lib.rs",
            "crates/dfs-core/src/types/",
            "crates/dfs-core/src/meta/",
            "crates/dfs-core/src/master/",
            "crates/dfs-core/src/cluster/",
            "crates/dfs-core/src/testing/",
        ],
    ),
    (
        "tokio",
        &[
            "crates/dfs-raft/",
            "crates/dfs-core/src/proto/",
            "crates/dfs-core/src/security/",
            "crates/dfs-core/src/node/",
            "crates/dfs-core/src/master/",
            "crates/dfs-core/src/datanode/",
            "crates/dfs-core/src/client/",
            "crates/dfs-core/src/cluster/",
            "crates/dfs-core/src/testing/",
            "crates/dfs-core/examples/",
            "crates/dfs-evidence/",
            "crates/dfs-node/",
            "crates/dfs-cli/",
        ],
    ),
];

/// Things that only some places may do.
const DEEDS: &[(&str, &[&str])] = &[
    (
        "process::exit",
        &["crates/dfs-node/src/main.rs", "crates/dfs-cli/src/main.rs"],
    ),
    (
        "std::fs",
        &[
            "crates/dfs-raft/src/env/",
            "crates/dfs-cli/",
            "crates/dfs-node/",
            "crates/dfs-evidence/src/processes/",
        ],
    ),
    ("tokio::fs", &["crates/dfs-cli/"]),
    // The judges ask them and never go through them, so their order is of no matter.
    (
        "HashMap",
        &[
            "crates/dfs-cli/",
            "crates/dfs-evidence/src/checkers/certificate/replay.rs",
        ],
    ),
    (
        "HashSet",
        &[
            "crates/dfs-cli/",
            "crates/dfs-evidence/src/checkers/judge/search.rs",
        ],
    ),
    ("tokio::net::", &["crates/dfs-raft/src/env/"]),
    (
        "SystemTime",
        &["crates/dfs-raft/src/env/", "crates/dfs-cli/"],
    ),
];

fn code_lines(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source
        .production_lines()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The modules of `dfs-core` that a file names after `prefix`, and where.
fn imports<'a>(source: &'a Source, prefix: &'a str) -> impl Iterator<Item = (usize, String)> + 'a {
    code_lines(source).flat_map(move |(n, line)| {
        let after = line
            .match_indices(prefix)
            .map(|(at, _)| &line[at + prefix.len()..]);
        let names = after.map(|rest| {
            let name = rest.chars();
            let name = name.take_while(|c| c.is_alphanumeric() || *c == '_');
            name.collect::<String>()
        });
        names
            .filter(|name| CORE.iter().any(|(known, _)| known == name))
            .map(move |name| (n, name))
    })
}

/// The module of `dfs-core` that a file belongs to.
fn core_module(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("crates/dfs-core/src/")?;
    let module = inside.split('/').next()?.trim_end_matches(".rs");
    (module != "lib").then_some(module)
}

#[test]
fn modules_of_the_core_import_only_what_is_below_them() {
    let mut found = Vec::new();
    for source in all().iter().filter(|s| s.is_production()) {
        let Some(module) = core_module(&source.path) else {
            continue;
        };
        let Some((_, allowed)) = CORE.iter().find(|(name, _)| *name == module) else {
            found.push(format!(
                "{}: module `{module}` has no line in CORE",
                source.path
            ));
            continue;
        };
        for (n, imported) in imports(source, "crate::") {
            if imported != module && !allowed.contains(&imported.as_str()) {
                found.push(format!("{}:{n}: {module} imports {imported}", source.path));
            }
        }
    }
    report(
        "turn the arrow round, or change CORE and the picture with it",
        &found,
    );
}

#[test]
fn programs_import_only_what_they_run() {
    let mut found = Vec::new();
    for (program, allowed) in PROGRAMS {
        for source in all().iter().filter(|s| s.path.starts_with(program)) {
            let imports = imports(source, "dfs_core::");
            let others = imports.filter(|(_, name)| !allowed.contains(&name.as_str()));
            found.extend(others.map(|(n, name)| format!("{}:{n}: imports {name}", source.path)));
        }
    }
    report(
        "take it from a module that is allowed, or change PROGRAMS",
        &found,
    );
}

#[test]
fn external_crates_are_named_only_where_they_belong() {
    let mut found = Vec::new();
    for source in all().iter().filter(|s| s.is_production()) {
        for (name, places) in EXTERNAL {
            if places.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            let path = format!("{name}::");
            for (n, line) in code_lines(source) {
                let named = line.match_indices(&path).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                });
                if named {
                    found.push(format!("{}:{n}: names {name}", source.path));
                }
            }
        }
    }
    report("go through the module that owns it", &found);
}

#[test]
fn deeds_are_done_only_where_they_belong() {
    let mut found = Vec::new();
    for source in all().iter().filter(|s| s.is_production()) {
        for (deed, places) in DEEDS {
            if places.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            let lines = code_lines(source).filter(|(_, line)| line.contains(deed));
            found.extend(lines.map(|(n, _)| format!("{}:{n}: {deed}", source.path)));
        }
    }
    report(
        "take it as an argument, or use the module that owns it",
        &found,
    );
}
