//! Makes a master of a backup, where all masters were lost.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use dfs_core::env::Env;
use dfs_core::master::{Restored, restore as restore_from, verify_backup};
use dfs_core::node::Security;

use crate::failure::{Failure, REFUSED};
use crate::master::master_config;
use crate::run::say;
use crate::settings::MasterSettings;

/// Reads a backup through and tells what it is of.
pub(crate) fn verify(from: &Path) -> Result<(), Failure> {
    tell("it is whole: metadata", &verify_backup(open(from)?)?)
}

/// Makes the directory of a master.
pub(crate) async fn restore(settings: MasterSettings, from: PathBuf) -> Result<(), Failure> {
    let (mut config, _) = master_config(&settings)?;
    if !config.security.is_insecure() {
        // It gets its papers from the authority in the backup.
        config.security = Security::Papers;
    }
    let shown = config.replica.directory.display().to_string();
    let listen = config.listen.clone();
    let restored = restore_from(config, &Env::real(), open(&from)?).await?;
    tell("restored metadata", &restored)?;
    say(&format!(
        "next: dfs-node master --directory {shown} --listen {listen}"
    ))
}

#[allow(clippy::disallowed_methods, reason = "the operator's file, read once")]
fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let file = File::open(path);
    let file = file.map_err(|e| {
        let path = path.display();
        Failure::new(REFUSED, format!("cannot read the backup {path}: {e}"))
    })?;
    Ok(BufReader::new(file))
}

fn tell(what: &str, restored: &Restored) -> Result<(), Failure> {
    let Restored {
        cluster,
        rev,
        rows,
        masters,
    } = restored;
    say(&format!(
        "{what} of cluster {cluster} as of {rev}: {rows} rows, masters at {}",
        masters.join(", ")
    ))
}
