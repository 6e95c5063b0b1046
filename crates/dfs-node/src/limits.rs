//! How much a node takes on, on the machine it is on.

/// File handles that are kept for other things than connections.
const HANDLES_KEPT: u64 = 256;
/// However few handles there are, a node takes so many connections.
const CONNECTIONS_MIN: usize = 16;

/// How many connections a node takes that wants so many, each of which needs some file handles:
/// who has none left could not open its own files any more.
pub(crate) fn affordable(wanted: usize, handles_each: u64, handles: Option<u64>) -> usize {
    let Some(handles) = handles else {
        return wanted;
    };
    let most = handles.saturating_sub(HANDLES_KEPT) / handles_each.max(1);
    let most = usize::try_from(most)
        .unwrap_or(usize::MAX)
        .max(CONNECTIONS_MIN);
    if most < wanted {
        tracing::warn!(
            handles,
            connections = most,
            "few files may be open at a time, so fewer connections are taken; raise `ulimit -n`"
        );
    }
    wanted.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_file_handles_for_files() {
        assert_eq!(affordable(4096, 3, None), 4096);
        assert_eq!(affordable(4096, 3, Some(524_288)), 4096);
        assert_eq!(affordable(4096, 3, Some(1024)), 256);
        assert_eq!(affordable(4096, 1, Some(1024)), 768);
        assert_eq!(affordable(4096, 3, Some(64)), CONNECTIONS_MIN);
        assert_eq!(affordable(10, 3, Some(64)), 10);
    }
}
