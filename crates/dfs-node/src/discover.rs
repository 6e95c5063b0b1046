//! Finding masters on a LAN, by multicast DNS.
//!
//! ```text
//! master ── _dfs._tcp: address, cluster, fingerprint of its authority ──▶ LAN ──▶ who looks
//! ```
//!
//! Nothing secret is announced, and an announcement is believed by nobody: whoever comes to the
//! address shows its token or papers only to a master of the authority that it knows. So a false
//! one costs a connection that fails.
//!
//! The library has sockets and a thread of its own, which is why it stays in this program and
//! behind a feature.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dfs_core::proto::peers::ADDRESS_LEN_MAX;
use dfs_core::security::Fingerprint;
use dfs_core::types::ClusterId;
use serde::Serialize;
use tokio::time::sleep;

use crate::args::DiscoverArgs;
use crate::failure::{Failure, REFUSED};
use crate::run::say;

/// Most announcements that are remembered: the newest.
const FOUND_MAX: usize = 64;

/// A master that was announced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Found {
    /// Of which cluster.
    pub(crate) cluster: String,
    /// The fingerprint of the authority that its papers are of; none without security.
    pub(crate) authority: Option<String>,
    /// Where it listens.
    pub(crate) address: String,
}

impl Found {
    /// What was announced, if it makes sense.
    fn new(cluster: Option<&str>, authority: Option<&str>, address: Option<&str>) -> Option<Found> {
        let cluster: ClusterId = cluster?.parse().ok()?;
        let authority = match authority {
            Some(text) => Some(text.parse::<Fingerprint>().ok()?.to_string()),
            None => None,
        };
        let address = address.filter(|address| address.len() <= ADDRESS_LEN_MAX)?;
        let (host, port) = address.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        // It is printed.
        let is_plain = |c: char| c.is_ascii_graphic();
        (!host.is_empty() && host.chars().all(is_plain)).then(|| Found {
            cluster: cluster.to_string(),
            authority,
            address: address.to_owned(),
        })
    }
}

/// Looks for masters, for as long as it is kept.
pub(crate) struct Finder {
    found: Arc<Mutex<VecDeque<Found>>>,
    _looking: mdns::Looking,
}

impl Finder {
    /// Begins to look.
    ///
    /// # Errors
    /// This machine cannot, or this program was built without.
    pub(crate) fn start() -> Result<Finder, Failure> {
        let found: Arc<Mutex<VecDeque<Found>>> = Arc::default();
        let note = Arc::clone(&found);
        let looking = mdns::look(move |new| {
            let mut found = note.lock().unwrap_or_else(PoisonError::into_inner);
            if !found.contains(&new) {
                tracing::info!(
                    master = new.address,
                    cluster = new.cluster,
                    "found a master"
                );
            }
            found.retain(|known| *known != new);
            found.push_front(new);
            found.truncate(FOUND_MAX);
        })?;
        Ok(Finder {
            found,
            _looking: looking,
        })
    }

    /// The masters that were found, the newest first.
    pub(crate) fn all(&self) -> Vec<Found> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().cloned().collect()
    }

    /// The addresses of those whose papers are, as they say, of an authority.
    pub(crate) fn of_authority(&self, authority: Fingerprint) -> Vec<String> {
        let authority = Some(authority.to_string());
        let all = self.all().into_iter();
        let of_it = all.filter(|found| found.authority == authority);
        of_it.map(|found| found.address).collect()
    }

    /// The addresses of those that are, as they say, of a cluster.
    pub(crate) fn of_cluster(&self, cluster: ClusterId) -> Vec<String> {
        let cluster = cluster.to_string();
        let all = self.all().into_iter();
        let of_it = all.filter(|found| found.cluster == cluster);
        of_it.map(|found| found.address).collect()
    }
}

/// Announces a master, for as long as it is kept.
pub(crate) struct Announced {
    _announced: mdns::Announced,
}

/// Announces where a master is.
///
/// # Errors
/// This machine cannot, or this program was built without.
pub(crate) fn announce(
    address: &str,
    cluster: ClusterId,
    authority: Option<Fingerprint>,
) -> Result<Announced, Failure> {
    let found = Found {
        cluster: cluster.to_string(),
        authority: authority.map(|authority| authority.to_string()),
        address: address.to_owned(),
    };
    let announced = mdns::announce(&found)?;
    tracing::info!(address, "announced on the local network");
    Ok(Announced {
        _announced: announced,
    })
}

/// Lists the masters that announce themselves.
pub(crate) async fn discover(args: DiscoverArgs) -> Result<(), Failure> {
    let finder = Finder::start()?;
    sleep(args.wait.0).await;
    let mut found = finder.all();
    found.sort();
    if args.json {
        let document = serde_json::json!({ "version": 1, "entries": found });
        return say(&document.to_string());
    }
    if found.is_empty() {
        let failure = Failure::new(REFUSED, "no master announces itself here");
        return Err(failure.hint("masters do that if they run with `--discover`"));
    }
    for Found {
        cluster,
        authority,
        address,
    } in found
    {
        let authority = authority.as_deref().unwrap_or("insecure");
        say(&format!("{cluster}  {address}  {authority}"))?;
    }
    Ok(())
}

#[cfg(feature = "discover")]
mod mdns {
    //! With the library.

    use std::net::IpAddr;

    use mdns_sd::{ServiceDaemon, ServiceEvent, ServiceInfo};

    use super::{Failure, Fingerprint, Found, REFUSED};

    const SERVICE: &str = "_dfs._tcp.local.";
    const CLUSTER: &str = "cluster";
    const AUTHORITY: &str = "authority";
    const ADDRESS: &str = "address";
    /// Longest text in a record.
    const TEXT_LEN_MAX: usize = 255;

    /// Stops the library's thread when it is dropped.
    struct Daemon(ServiceDaemon);

    impl Drop for Daemon {
        fn drop(&mut self) {
            // It says goodbye to the network; if it cannot, entries expire.
            if let Err(error) = self.0.shutdown() {
                tracing::debug!(%error, "multicast DNS did not stop in order");
            }
        }
    }

    pub(super) struct Looking {
        _daemon: Daemon,
    }

    pub(super) struct Announced {
        _daemon: Daemon,
    }

    fn failed(what: &str, error: &mdns_sd::Error) -> Failure {
        Failure::new(REFUSED, format!("multicast DNS: cannot {what}: {error}"))
            .hint("leave out `--discover`, and name the masters")
    }

    fn daemon() -> Result<Daemon, Failure> {
        let daemon = ServiceDaemon::new();
        daemon.map(Daemon).map_err(|error| failed("start", &error))
    }

    pub(super) fn look(note: impl Fn(Found) + Send + 'static) -> Result<Looking, Failure> {
        let daemon = daemon()?;
        let events = daemon.0.browse(SERVICE);
        let events = events.map_err(|error| failed("look", &error))?;
        // It ends with the daemon.
        tokio::spawn(async move {
            while let Ok(event) = events.recv_async().await {
                let ServiceEvent::ServiceResolved(service) = event else {
                    continue;
                };
                let of = |key| service.get_property_val_str(key);
                if let Some(found) = Found::new(of(CLUSTER), of(AUTHORITY), of(ADDRESS)) {
                    note(found);
                }
            }
        });
        Ok(Looking { _daemon: daemon })
    }

    pub(super) fn announce(found: &Found) -> Result<Announced, Failure> {
        let text = [
            (CLUSTER, Some(&found.cluster)),
            (AUTHORITY, found.authority.as_ref()),
            (ADDRESS, Some(&found.address)),
        ];
        let text = text.map(|(key, value)| value.map(|value| (key, value.as_str())));
        let text: Vec<(&str, &str)> = text.into_iter().flatten().collect();
        let host_and_port = found.address.rsplit_once(':');
        let port = host_and_port.and_then(|(_, port)| port.parse::<u16>().ok());
        let (Some((host, _)), Some(port)) = (host_and_port, port) else {
            let what = format!("{} cannot be announced", found.address);
            return Err(Failure::new(REFUSED, what));
        };
        if found.address.len() + ADDRESS.len() >= TEXT_LEN_MAX {
            let what = format!("{} is too long to be announced", found.address);
            return Err(Failure::new(REFUSED, what));
        }
        // One name for one address, short enough for a label.
        let name = Fingerprint::of(found.address.as_bytes()).to_string();
        let name = format!("dfs-{}", name.get(..24).unwrap_or_default());
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let ips: Vec<IpAddr> = ip.into_iter().collect();
        let machine = format!("{name}.local.");
        let info = ServiceInfo::new(SERVICE, &name, &machine, ips.as_slice(), port, &text[..]);
        let info = info.map_err(|error| failed("announce", &error))?;
        let info = match ips.is_empty() {
            true => info.enable_addr_auto(),
            false => info,
        };
        let daemon = daemon()?;
        let registered = daemon.0.register(info);
        registered.map_err(|error| failed("announce", &error))?;
        Ok(Announced { _daemon: daemon })
    }
}

#[cfg(not(feature = "discover"))]
mod mdns {
    //! Without it.

    use super::{Failure, Found, REFUSED};

    pub(super) struct Looking;

    pub(super) struct Announced;

    fn none<T>() -> Result<T, Failure> {
        let what = "this program was built without the feature `discover`";
        Err(Failure::new(REFUSED, what))
    }

    pub(super) fn look(_: impl Fn(Found) + Send + 'static) -> Result<Looking, Failure> {
        none()
    }

    pub(super) fn announce(_: &Found) -> Result<Announced, Failure> {
        none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_not_found() {
        let cluster = ClusterId(7).to_string();
        let authority = Fingerprint([7; 32]).to_string();
        let of = |cluster, authority, address| Found::new(Some(cluster), authority, Some(address));
        let good = of(&cluster, Some(&*authority), "10.0.0.1:7400").unwrap();
        assert_eq!(good.authority.as_deref(), Some(&*authority));
        assert!(of(&cluster, None, "m1:7400").is_some());
        let long = format!("{}:1", "x".repeat(ADDRESS_LEN_MAX));
        for (cluster, authority, address) in [
            ("no hex", None, "m1:7400"),
            (&*cluster, Some("7"), "m1:7400"),
            (&*cluster, None, "m1"),
            (&*cluster, None, ":7400"),
            (&*cluster, None, "m1\u{1b}[2J:7400"),
            (&*cluster, None, &*long),
        ] {
            assert_eq!(of(cluster, authority, address), None, "{address:?}");
        }
        assert_eq!(Found::new(None, None, Some("m1:1")), None);
    }
}
