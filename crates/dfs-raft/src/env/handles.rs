//! How many files and connections a process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Lets this process have as many files and connections open as it may without asking anyone,
/// and says how many that is; none if there is no limit.
///
/// Systems begin with a low limit for the sake of old programs. Out of handles, a node can
/// neither accept connections nor open files, so a program that runs nodes calls this first.
pub fn raise_handle_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current,
        // As it was.
        Err(_) => getrlimit(Resource::Nofile).current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_it_can_be_afterwards() {
        let raised = raise_handle_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(raised, limit.current);
        assert_eq!(limit.current, limit.maximum);
    }
}
