//! Data nodes without room.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dfs_core::cluster::Cluster;
use dfs_core::env::{Disk, DiskFile, DiskLock, Entry, Env, OpenMode, Space};

use crate::machine::{Machine, Run, pattern};

const GIB: u64 = 1 << 30;
const WITHIN: Duration = Duration::from_secs(30);

/// The disk of this machine, with as much room for data nodes as a test says.
#[derive(Debug)]
struct Narrow {
    disk: Arc<dyn Disk>,
    available: Arc<AtomicU64>,
}

impl Disk for Narrow {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path, mode)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.create_directory(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let is_master = path.ends_with("m1");
        Ok(Space {
            total: 100 * GIB,
            available: match is_master {
                true => 100 * GIB,
                false => self.available.load(Ordering::Relaxed),
            },
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

/// Puts `a` as `path` until that ends with `code`; data nodes tell of their room now and then.
fn put_until(code: i32, put: impl Fn() -> Run) -> Run {
    let end = Instant::now() + WITHIN;
    loop {
        let run = put();
        if run.code == Some(code) {
            return run;
        }
        assert!(Instant::now() < end, "{} {:?}", run.stderr, run.code);
    }
}

#[test]
fn full_data_nodes_refuse_with_a_reason_and_take_writes_again_when_there_is_room() {
    let machine = Machine::new();
    let available = Arc::new(AtomicU64::new(50 * GIB));
    let disk = Narrow {
        disk: Env::real().disk,
        available: available.clone(),
    };
    let env = Env {
        disk: Arc::new(disk),
        ..Env::real()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let builder = Cluster::builder().masters(1).env(env).insecure();
    let start = builder.start(machine.home());
    let cluster = runtime.block_on(start).unwrap();
    let masters = cluster.addresses().join(",");
    let dfs = |args: &[&str]| machine.dfs(&[args, &["--insecure", "--masters", &masters]].concat());
    let bytes = pattern(3_000_000);
    machine.write("a", &bytes);
    machine.write("d/a", &bytes);
    assert_eq!(dfs(&["put", "a", "/before"]).code, Some(0));

    available.store(0, Ordering::Relaxed);
    put_until(1, || dfs(&["put", "a", "/before"]));

    let run = dfs(&["put", "a", "/a"]);
    assert_eq!(run.code, Some(1), "{}", machine.show(&run));
    assert_eq!(
        machine.show(&run).replace(&masters, "[MASTERS]"),
        "$ dfs put a /a --insecure --masters [MASTERS]\n\
         stderr: warning: INSECURE: no encryption and no logins: every program on this machine \
         can read, change and delete everything\n\
         stderr: error: cannot write `/a`: out of space: 2 copies of 67108864 bytes, 0 of 3 data \
         nodes have room\n\
         stderr: hint: `dfs status` shows the room on each data node\n\
         stderr: hint: `dfs trash ls` shows what is kept in the trash; `dfs trash drop` frees it\n\
         exit status: 1\n"
    );
    let run = dfs(&["put", "-r", "d", "/d"]);
    assert_eq!(run.code, Some(1), "{}", machine.show(&run));
    assert!(run.stderr.contains("out of space"), "{}", run.stderr);
    let names = dfs(&["ls", "-R", "/"]).stdout;
    let names = String::from_utf8(names).unwrap();
    assert!(!names.contains("a\n"), "half a file is there: {names}");
    // What is there stays, and what frees or needs no room works.
    assert!(dfs(&["cat", "/before"]).stdout == bytes);
    machine.write("short", "in the metadata\n");
    assert_eq!(dfs(&["put", "short", "/short"]).code, Some(0));
    assert_eq!(dfs(&["rm", "--skip-trash", "/before"]).code, Some(0));

    available.store(50 * GIB, Ordering::Relaxed);
    put_until(0, || dfs(&["put", "a", "/a"]));
    assert!(dfs(&["cat", "/a"]).stdout == bytes);
    runtime.block_on(cluster.check()).unwrap();
    runtime.block_on(cluster.shutdown()).unwrap();
}
