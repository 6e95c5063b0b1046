//! Every method that can be called from outside has a rule that says who may, or a reason why not.

use std::collections::BTreeMap;

use super::source::{all, report};

const TABLE: &str = "crates/dfs-core/src/proto/rules.rs";

/// Services whose methods are in no table, and why.
const WITHOUT_RULES: &[(&str, &str)] = &[(
    "RaftRpc",
    "connections for it are let in whole, and only those of masters: see ADR 16",
)];

/// The methods of each service that a source declares.
fn services(text: &str) -> BTreeMap<String, Vec<String>> {
    let declared = text.split("#[tarpc::service").skip(1);
    let service = |after: &str| {
        let (_, service) = after.split_once("trait ").unwrap();
        let (name, body) = service.split_once(" {").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let lines = body.lines().map(str::trim);
        let methods = lines.filter_map(|line| line.strip_prefix("async fn "));
        let names = methods.filter_map(|line| line.split_once('('));
        let names = names.map(|(method, _)| method.to_owned()).collect();
        (name.to_owned(), names)
    };
    declared.map(service).collect()
}

#[test]
fn every_service_of_the_workspace_has_rules_or_a_reason() {
    let sources = all();
    let table = sources.iter().find(|source| source.path == TABLE).unwrap();
    let (mut found, mut known) = (Vec::new(), 0);
    for source in sources.iter().filter(|source| source.is_production()) {
        for (service, methods) in services(&source.text) {
            known += 1;
            assert!(!methods.is_empty(), "{service}");
            if WITHOUT_RULES.iter().any(|(name, _)| *name == service) {
                continue;
            }
            for method in methods {
                if !table
                    .text
                    .contains(&format!("(\"{service}.{method}\", Rule::"))
                {
                    found.push(format!("{}: {service}.{method}", source.path));
                }
            }
        }
    }
    assert_eq!(known, 5, "a service came or went: does it have rules?");
    report("say in proto/rules.rs who may call", &found);
}
