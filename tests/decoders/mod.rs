//! Every decoder of bytes that come from a network, a disk or a person, by its name.

use dfs_core::client::Profile;
use dfs_evidence::history;
pub use dfs_raft::testing::decoders::Decoder;

/// All of them.
pub fn decoders() -> Vec<Decoder> {
    let here: [Decoder; 2] = [("profile", profile), ("history", history)];
    let below = [
        dfs_raft::testing::decoders::DECODERS,
        dfs_core::testing::decoders::DECODERS,
    ];
    [&below.concat()[..], &here].concat()
}

fn profile(bytes: &[u8]) {
    let Ok(Ok(profile)) = str::from_utf8(bytes).map(toml::from_str::<Profile>) else {
        return;
    };
    let text = toml::to_string(&profile).ok();
    let again = text.and_then(|text| toml::from_str::<Profile>(&text).ok());
    assert_eq!(again.as_ref(), Some(&profile));
    if let Ok(access) = profile.access() {
        let again = Profile::new(profile.masters, access.as_ref());
        assert!(again.access().is_ok(), "a profile that opens is made again");
    }
}

fn history(bytes: &[u8]) {
    if let Ok(Ok(read)) = str::from_utf8(bytes).map(history::read) {
        let text = history::write(&read.header.unwrap_or_default(), &read.events);
        let again = history::read(&text).map(|again| again.events);
        assert_eq!(again, Ok(read.events));
    }
}
