//! Who may call what: one rule for every method of every service. What has none is refused.

/// What the detail of a server's error begins with when a caller may not call a method. Its kind
/// says nothing: tarpc 0.38 writes it as a signed number and reads it as an unsigned one.
pub const DENIED: &str = "denied: ";
/// The same when the caller must log in anew.
pub const LOGIN_REQUIRED: &str = "login required: ";

/// What whoever calls a method must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Whoever has a key: it asks for papers or a ticket, and the method says what that takes.
    Key,
    /// A data node.
    DataNode,
    /// A user that was let in. Whether it still is, and what it may do, is for the state machine
    /// to say, which carries the request out.
    User,
    /// A user that still is let in, for what the state machine does not see.
    Reader,
    /// The same, if it may change anything.
    Writer,
    /// A user that is an administrator.
    Administrator,
}

/// The table. Raft's messages are for masters, gossip is for data nodes; chunk streams need a
/// capability.
pub const RULES: &[(&str, Rule)] = &[
    ("ClusterRpc.finished", Rule::DataNode),
    ("ClusterRpc.heartbeat", Rule::DataNode),
    ("ClusterRpc.register", Rule::DataNode),
    ("ClusterRpc.report", Rule::DataNode),
    ("EnrolRpc.enrol", Rule::Key),
    ("EnrolRpc.renew", Rule::Key),
    ("LoginRpc.login", Rule::Key),
    ("MetadataRpc.backup", Rule::Administrator),
    ("MetadataRpc.change", Rule::User),
    ("MetadataRpc.exchange_signing_key", Rule::Administrator),
    ("MetadataRpc.grant", Rule::Writer),
    ("MetadataRpc.leader", Rule::User),
    ("MetadataRpc.nodes", Rule::Reader),
    ("MetadataRpc.open_session", Rule::User),
    ("MetadataRpc.query", Rule::User),
    ("MetadataRpc.remove_master", Rule::Administrator),
    ("MetadataRpc.report_corrupt", Rule::Reader),
    ("MetadataRpc.scrub_node", Rule::Administrator),
    ("MetadataRpc.status", Rule::Reader),
];

/// The rule of a method, by its service and name.
pub fn rule(method: &str) -> Option<Rule> {
    let found = RULES.binary_search_by(|(name, _)| (*name).cmp(method));
    found
        .ok()
        .and_then(|at| RULES.get(at))
        .map(|(_, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The methods of a service, as its source has them.
    fn methods(source: &str) -> Vec<String> {
        let (_, service) = source.split_once("pub trait ").unwrap();
        let (name, body) = service.split_once(" {").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let lines = body.lines().map(str::trim);
        let methods = lines.filter_map(|line| line.strip_prefix("async fn "));
        let names = methods.filter_map(|line| line.split_once('('));
        names
            .map(|(method, _)| format!("{name}.{method}"))
            .collect()
    }

    #[test]
    fn every_method_has_one_rule_and_every_rule_a_method() {
        let sources = [
            include_str!("cluster.rs"),
            include_str!("enrol.rs"),
            include_str!("login.rs"),
            include_str!("metadata.rs"),
        ];
        let methods: BTreeSet<String> = sources.iter().flat_map(|s| methods(s)).collect();
        let ruled: Vec<String> = RULES.iter().map(|(name, _)| (*name).to_owned()).collect();
        // In the order in which they are looked up.
        assert_eq!(ruled, methods.into_iter().collect::<Vec<_>>());
        assert!(ruled.iter().all(|method| rule(method).is_some()));
        assert_eq!(rule("MetadataRpc.format_everything"), None);
    }

    #[test]
    fn every_service_has_its_methods_in_the_table() {
        // Those of `proto`, as its files declare them.
        let sources = include_str!("mod.rs").lines();
        let modules = sources.filter_map(|line| line.strip_prefix("pub mod "));
        let known = ["cluster;", "enrol;", "login;", "metadata;"];
        let others = [
            "chunk_stream;",
            "erasure;",
            "error;",
            "hello;",
            "peers;",
            "rules;",
            "transport;",
        ];
        for module in modules {
            assert!(
                known.contains(&module) || others.contains(&module),
                "does `{module}` declare a service?"
            );
        }
    }
}
