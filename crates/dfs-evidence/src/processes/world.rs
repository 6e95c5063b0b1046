//! The world of a run: namespaces of its own for mounts, network and processes.
//!
//! A program [`enter`]s by running itself again under `unshare`. Inside, it is process 1: when it
//! ends, however it ends, the kernel ends all processes of the run and takes away its mounts,
//! loop devices, interfaces and rules. Nothing has a name outside, so runs do not meet.

use std::ffi::OsString;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{Command, ExitStatus};

use super::tool;

/// Every tool that is used, and the Debian package that has it.
pub const TOOLS: [(&str, &str); 14] = [
    ("bridge", "iproute2"),
    ("faketime", "faketime"),
    ("ip", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mount", "mount"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("prlimit", "util-linux"),
    ("setpriv", "util-linux"),
    ("strace", "strace"),
    ("umount", "mount"),
    ("unshare", "util-linux"),
    ("xfs_io", "xfsprogs"),
];

/// Set in the environment of a program that is inside.
const INSIDE: &str = "DFS_CHAOS_INSIDE";

/// Why no world can be entered here, whatever tools there are: only root may make namespaces and
/// mounts, and not in every container.
pub fn forbidden() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may make namespaces and mounts");
    }
    let tried = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "true"])
        .output();
    let is_refused = tried.is_ok_and(|output| !output.status.success());
    is_refused.then_some("this container may not make namespaces and mounts")
}

/// Whether this program runs inside a world.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The packages to install for tools that are missing, each once.
pub fn missing_packages() -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<_> = std::env::split_paths(&path).collect();
    let is_there = |tool: &str| places.iter().any(|place| place.join(tool).exists());
    let missing = TOOLS.iter().filter(|(tool, _)| !is_there(tool));
    let mut packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Runs this program again with these arguments, inside a world, until it ends.
///
/// # Errors
/// A tool is missing, or this program may not make namespaces.
pub fn enter(arguments: &[OsString]) -> Result<ExitStatus> {
    let missing = missing_packages();
    if !missing.is_empty() {
        let missing = missing.join(" ");
        return Err(Error::other(format!(
            "tools are missing: `apt-get install {missing}`"
        )));
    }
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--kill-child"])
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .env(INSIDE, "1")
        .status()
}

/// Furnishes a world that was just entered.
pub(super) async fn furnish() -> Result<()> {
    // Names of network namespaces are mounts here: in a place of our own.
    std::fs::create_dir_all("/run/netns")?;
    if !Path::new("/run/netns/.ours").exists() {
        tool::run("mount -t tmpfs tmpfs /run/netns").await?;
        std::fs::write("/run/netns/.ours", "")?;
    }
    tool::run("ip link set lo up").await?;
    Ok(())
}
