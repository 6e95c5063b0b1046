//! What `dfs-node init` leaves and says.

use std::path::Path;

use dfs_core::client::{Client, Profile};
use dfs_core::env::Env;

use super::process::command;

/// A cluster that was founded. Its master does not run yet.
pub(crate) struct Founded {
    /// Where its master will be.
    pub(crate) address: String,
    /// How its administrator logs in.
    pub(crate) profile: Profile,
    /// What masters join with; none without security.
    pub(crate) master_token: Option<String>,
    /// What data nodes join with; none without security.
    pub(crate) data_token: Option<String>,
}

impl Founded {
    /// Runs `dfs-node init` for `directory`.
    pub(crate) async fn init(directory: &Path, extra: &[&str]) -> std::io::Result<Founded> {
        let home = directory.to_string_lossy();
        let init = ["init", "--directory", &home, "--listen", "127.0.0.1:0"];
        let output = command(&[&init[..], extra].concat()).output().await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{complained}");
        let value = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let next = value("next:").unwrap_or_default();
        let address = next.rsplit(' ').next().unwrap_or_default().to_owned();
        let profile = match value("administrator:") {
            Some(path) => {
                let text = std::fs::read_to_string(path)?;
                toml::from_str(&text).map_err(std::io::Error::other)?
            }
            None => Profile::new(vec![address.clone()], None),
        };
        Ok(Founded {
            address,
            profile,
            master_token: value("token for masters:"),
            data_token: value("token for data nodes:"),
        })
    }

    /// Whether it has no security.
    pub(crate) fn is_insecure(&self) -> bool {
        self.master_token.is_none()
    }

    /// A client of its administrator, at the address that `init` said or another.
    pub(crate) async fn client(&self, address: &str) -> dfs_core::error::Result<Client> {
        let mut config = self.profile.config()?;
        config.masters = vec![address.to_owned()];
        Client::connect(config, Env::real()).await
    }
}
