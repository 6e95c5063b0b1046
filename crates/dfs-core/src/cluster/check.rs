//! Is everything as it should be? What every test ends with.

use std::fmt;
use std::time::Duration;

use super::Cluster;
use crate::error::{Error, ErrorKind, Result};

/// How long a cluster may take to become healthy.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(60);

/// What is wrong with a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsound(
    /// One line for each thing.
    pub Vec<String>,
);

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Unsound {}

impl Cluster {
    /// Waits until the cluster is healthy: all masters that run have the same state, every chunk
    /// is confirmed on as many data nodes as it should be. Then verifies every invariant of the
    /// metadata on each master.
    ///
    /// # Errors
    /// [`Unsound`] as the source says what is wrong, or is still wrong when patience ends.
    pub async fn check(&self) -> Result<()> {
        let mut last = Vec::new();
        let healthy = self.wait_for("health", HEALTH_TIMEOUT, || async {
            let found = self.ailments().await?;
            Ok(found.is_empty().then_some(()))
        });
        if let Err(error) = healthy.await {
            last.push(error.to_string());
            last.extend(self.ailments().await?);
        }
        for slot in &self.parts.masters {
            if let Some(master) = slot.lock().await.as_ref() {
                let checked = Box::pin(master.check()).await?;
                let what = checked.violations.iter();
                last.extend(what.map(|v| format!("{}: {v}", master.address())));
            }
        }
        if last.is_empty() {
            return Ok(());
        }
        let message = "the cluster is unsound";
        Err(Error::with_source(
            ErrorKind::Internal,
            message,
            Unsound(last),
        ))
    }

    /// What is not as it should be, now.
    async fn ailments(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut states = Vec::new();
        let mut led = false;
        for slot in &self.parts.masters {
            let slot = slot.lock().await;
            let Some(master) = slot.as_ref() else {
                continue;
            };
            let address = master.address();
            match master.status()? {
                Some(status) => states.push((status.applied, status.digest, address.to_owned())),
                None => found.push(format!("{address} belongs to no cluster")),
            }
            if let Some(unhealthy) = master.unhealthy_chunks().await? {
                led = true;
                found.extend(unhealthy);
            }
        }
        if !led {
            found.push("nobody leads".to_owned());
        }
        if let Some((applied, digest, _)) = states.first().cloned() {
            let differ = states.iter();
            let differ = differ.filter(|(a, d, _)| (*a, *d) != (applied, digest));
            found.extend(differ.map(|(a, d, address)| {
                format!("{address} has state {d} of entry {a}, not {digest} of {applied}")
            }));
        }
        Ok(found)
    }
}
