//! Settings of a data node: plain data, checked once.

use std::path::PathBuf;
use std::time::Duration;

use super::scrub::ScrubConfig;
use super::store::{StoreConfig, VOLUMES_MAX};
use crate::node::Security;
use crate::proto::chunk_stream::Deadlines;
use crate::types::limits::{BLOCK_LEN, FRAME_PAYLOAD_MAX};
use crate::types::{Topology, VolumeId};

/// Settings of a [`DataNode`](super::DataNode).
#[derive(Debug, Clone)]
pub struct DataNodeConfig {
    /// Where replicas are kept, and how. This directory has the papers and the audit log, too.
    pub store: StoreConfig,
    /// Directories of more volumes, each best a disk of its own. Those that are new to the node and
    /// empty become volumes of it.
    pub more: Vec<PathBuf>,
    /// Those of the directories that are to be taken out, and are emptied first.
    pub leave: Vec<PathBuf>,
    /// Volumes that are gone for good, and are not missed any more.
    pub forget: Vec<VolumeId>,
    /// How it proves who it is.
    pub security: Security,
    /// Where to listen for chunk streams, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// The address others reach it at, `host:port`; none if that is where it listens.
    pub advertise: Option<String>,
    /// Masters to begin with; they tell of the others.
    pub masters: Vec<String>,
    /// Its failure domains.
    pub topology: Topology,
    /// Bytes that the audit log may take in `store.directory`; the oldest lines go.
    pub audit_bytes: u64,
    /// How it reads its replicas through.
    pub scrub: ScrubConfig,
    /// How often it gossips with another data node.
    pub gossip_interval: Duration,
    /// How much it takes on.
    pub limits: DataNodeLimits,
    /// How long it waits for others.
    pub deadlines: Deadlines,
}

/// How much a data node takes on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataNodeLimits {
    /// Open connections; beyond that the one that was idle longest is closed.
    pub connections: usize,
    /// Chunks being received.
    pub writes: usize,
    /// Memory for bytes of chunks on their way, over all streams.
    pub buffer_bytes: usize,
    /// How long a request waits for its turn before it is told that the node is busy.
    pub admission: Duration,
    /// How long a write may bring no bytes before it is cut off when its place is needed.
    pub write_idle: Duration,
    /// Replicas being copied from other nodes.
    pub copies: usize,
    /// Replicas being verified or deleted.
    pub chores: usize,
    /// Tasks taken on; the masters give the rest again later.
    pub tasks: usize,
    /// How long running streams may take to end at shutdown.
    pub shutdown: Duration,
}

/// What a write holds in memory: a few frames for the disk, a few for the next node.
pub(super) const WRITE_BUFFER: usize = 10 * FRAME_PAYLOAD_MAX;
/// What a read holds in memory: a frame that is sent, one read ahead, one in between.
pub(super) const READ_BUFFER: usize = 3 * FRAME_PAYLOAD_MAX;

impl Default for DataNodeLimits {
    fn default() -> DataNodeLimits {
        DataNodeLimits {
            connections: 4096,
            writes: 64,
            buffer_bytes: 1 << 30,
            admission: Duration::from_millis(500),
            write_idle: Duration::from_secs(5),
            copies: 4,
            chores: 2,
            tasks: 1024,
            shutdown: Duration::from_secs(2),
        }
    }
}

impl DataNodeConfig {
    /// A node that keeps replicas in `directory` and turns to `masters`, at a free port.
    pub fn new(directory: impl Into<PathBuf>, masters: Vec<String>) -> DataNodeConfig {
        DataNodeConfig {
            store: StoreConfig::new(directory),
            more: Vec::new(),
            leave: Vec::new(),
            forget: Vec::new(),
            security: Security::Papers,
            listen: "127.0.0.1:0".to_owned(),
            advertise: None,
            masters,
            topology: Topology::default(),
            audit_bytes: 64 << 20,
            scrub: ScrubConfig::DEFAULT,
            gossip_interval: Duration::from_secs(1),
            limits: DataNodeLimits::default(),
            deadlines: Deadlines::default(),
        }
    }

    /// The directories of all volumes, spelled one way.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let all = [&self.store.directory].into_iter().chain(&self.more);
        all.map(|path| path.components().collect()).collect()
    }

    /// Those that are to be taken out, spelled the same way.
    pub(super) fn leaving(&self) -> Vec<PathBuf> {
        let all = self.leave.iter();
        all.map(|path| path.components().collect()).collect()
    }

    /// Masters to begin with: those that are set, then those that the join token names.
    pub(super) fn seeds(&self) -> Vec<String> {
        let mut seeds = self.masters.clone();
        let named = self.security.addresses().iter();
        seeds.extend(named.filter(|named| !self.masters.contains(named)).cloned());
        seeds
    }

    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// Names the settings that do not.
    pub fn validate(&self) -> Result<(), String> {
        self.store.validate().map_err(|e| format!("store: {e}"))?;
        self.scrub.validate()?;
        let directories = self.directories();
        for (at, directory) in directories.iter().enumerate() {
            if directories.iter().take(at).any(|other| other == directory) {
                return Err(format!("{} is named twice", directory.display()));
            }
        }
        let leaving = self.leaving();
        if let Some(unknown) = leaving.iter().find(|path| !directories.contains(path)) {
            return Err(format!(
                "{} is to be emptied, and is none of the directories: name it among them until it \
                 is empty",
                unknown.display()
            ));
        }
        if directories.iter().all(|path| leaving.contains(path)) {
            return Err("all directories are to be emptied: drain the node".to_owned());
        }
        if directories.len() > VOLUMES_MAX {
            return Err(format!("more than {VOLUMES_MAX} directories"));
        }
        self.deadlines
            .validate()
            .map_err(|e| format!("deadlines: {e}"))?;
        if self.audit_bytes == 0 {
            return Err("audit_bytes is zero".to_owned());
        }
        if self.gossip_interval.is_zero() {
            return Err("gossip_interval is zero".to_owned());
        }
        if self.seeds().is_empty() {
            return Err("masters is empty".to_owned());
        }
        let wildcard = ["0.0.0.0:", "[::]:", ":"]
            .iter()
            .any(|w| self.listen.starts_with(w));
        if wildcard && self.advertise.is_none() {
            return Err(format!(
                "listen {} needs an address to advertise",
                self.listen
            ));
        }
        let addresses = self
            .masters
            .iter()
            .chain(&self.advertise)
            .chain([&self.listen]);
        for address in addresses {
            let port = address
                .rsplit_once(':')
                .map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                return Err(format!("{address:?} is not host:port"));
            }
        }
        self.limits.validate(&self.deadlines)
    }
}

impl DataNodeLimits {
    /// How many writes are let in at a time: no more than have room in three quarters of the
    /// memory, so that some is left for reads.
    pub(super) fn writes_admitted(&self) -> usize {
        let room = self.buffer_bytes / 4 * 3 / WRITE_BUFFER;
        self.writes.min(room).max(1)
    }

    fn validate(&self, deadlines: &Deadlines) -> Result<(), String> {
        let positive = [
            ("connections", self.connections),
            ("writes", self.writes),
            ("copies", self.copies),
            ("chores", self.chores),
            ("tasks", self.tasks),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("limits.{name} is 0"));
        }
        if self.buffer_bytes < WRITE_BUFFER + READ_BUFFER {
            return Err(format!(
                "limits.buffer_bytes {} is below {}, a write and a read",
                self.buffer_bytes,
                WRITE_BUFFER + READ_BUFFER
            ));
        }
        // A node that waits says nothing, and silence is taken for a hang.
        if self.admission >= deadlines.silence {
            return Err(format!(
                "limits.admission {:?} is not below deadlines.silence {:?}",
                self.admission, deadlines.silence
            ));
        }
        Ok(())
    }
}

const _: () = assert!(
    FRAME_PAYLOAD_MAX.is_multiple_of(BLOCK_LEN),
    "frames carry whole blocks"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> DataNodeConfig {
        DataNodeConfig::new("/data", vec!["m1:7000".to_owned()])
    }

    #[test]
    fn contradictory_settings_are_named() {
        let mut wildcard = config();
        wildcard.listen = "0.0.0.0:0".to_owned();
        let mut nobody = config();
        nobody.masters.clear();
        let mut slow = config();
        slow.limits.admission = slow.deadlines.silence;
        let mut cramped = config();
        cramped.limits.buffer_bytes = FRAME_PAYLOAD_MAX;
        let mut stranger = config();
        stranger.leave = vec!["/elsewhere".into()];
        let mut last = config();
        last.leave = vec!["/data/".into()];
        let mut portless = config();
        portless.advertise = Some("n1".to_owned());
        for (config, named) in [
            (wildcard, "advertise"),
            (nobody, "masters"),
            (slow, "admission"),
            (cramped, "buffer_bytes"),
            (stranger, "/elsewhere is to be emptied"),
            (last, "drain the node"),
            (portless, "host:port"),
        ] {
            let refusal = config.validate().unwrap_err();
            assert!(refusal.contains(named), "{refusal}");
        }
        assert_eq!(config().validate(), Ok(()));
    }
}
