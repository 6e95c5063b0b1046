//! A profile: where a cluster is and how to log in, as it is kept in a file.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Access, HeldTicket, Login};
use crate::client::config::ClientConfig;
use crate::env::Timestamp;
use crate::error::{Error, Result};
use crate::security::{ApiKey, Fingerprint};

/// Where a cluster is and how to log in. It is for its owner alone: whoever has it is let in.
/// Nothing secret of it is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Addresses of masters, `host:port`.
    pub masters: Vec<String>,
    /// The fingerprint of the cluster's authority; none for a cluster without security.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Who logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// With this key of the user;
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// or with this ticket, until it is void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<Ticket>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ticket {
    /// The secret key that it is for.
    holder: String,
    /// What was signed.
    signed: String,
    /// Microseconds since 1970.
    expires: u64,
}

impl Profile {
    /// One for a cluster.
    pub fn new(masters: Vec<String>, access: Option<&Access>) -> Profile {
        let (key, ticket) = match access.map(Access::login) {
            None => (None, None),
            Some(Login::Key(key)) => (Some(key.reveal().to_string()), None),
            Some(Login::Ticket(held)) => {
                let ticket = Ticket {
                    holder: Fingerprint(held.key).to_string(),
                    signed: held.ticket.iter().map(|b| format!("{b:02x}")).collect(),
                    expires: held.expires.0,
                };
                (None, Some(ticket))
            }
        };
        Profile {
            masters,
            authority: access.map(|access| access.authority().to_string()),
            user: access.map(|access| access.user().to_string()),
            key,
            ticket,
        }
    }

    /// How to log in; none for a cluster without security.
    ///
    /// # Errors
    /// `Invalid`: a part is missing or damaged; says which.
    pub fn access(&self) -> Result<Option<Access>> {
        let wrong = |what: &str| Error::invalid(format!("the profile's {what}"));
        let Some(authority) = &self.authority else {
            let is_open = self.user.is_none() && self.key.is_none() && self.ticket.is_none();
            return match is_open {
                true => Ok(None),
                false => Err(wrong("`authority` is missing")),
            };
        };
        let authority = authority.parse();
        let authority = authority.map_err(|_| wrong("`authority` is no fingerprint"))?;
        let user = self
            .user
            .as_ref()
            .ok_or_else(|| wrong("`user` is missing"))?;
        let user = user.parse().map_err(|_| wrong("`user` is no name"))?;
        if let Some(key) = &self.key {
            let key = ApiKey::parse(key).map_err(|_| wrong("`key` is none"))?;
            return Ok(Some(Access::with_key(authority, user, key)));
        }
        let ticket = self.ticket.as_ref();
        let ticket = ticket.ok_or_else(|| wrong("`key` or `ticket` is missing"))?;
        let holder: Fingerprint = ticket
            .holder
            .parse()
            .map_err(|_| wrong("`ticket.holder` is no key"))?;
        let signed = bytes(&ticket.signed).ok_or_else(|| wrong("`ticket.signed` is none"))?;
        let held = HeldTicket {
            key: holder.0,
            ticket: signed,
            expires: Timestamp(ticket.expires),
        };
        Ok(Some(Access::with_ticket(authority, user, held)))
    }

    /// The settings of a client that logs in so.
    ///
    /// # Errors
    /// `Invalid`: a part is missing or damaged; says which.
    pub fn config(&self) -> Result<ClientConfig> {
        let config = ClientConfig {
            access: self.access()?,
            ..ClientConfig::new(self.masters.clone())
        };
        config.validate()?;
        Ok(config)
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| {
        let value = digit(*high)? << 4 | digit(*low)?;
        u8::try_from(value).ok()
    };
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<u8>>>()?;
    rest.is_empty().then_some(bytes)
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("masters", &self.masters)
            .field("authority", &self.authority)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRandom;

    fn profile(access: Option<&Access>) -> Profile {
        Profile::new(vec!["m1:7400".to_owned()], access)
    }

    #[test]
    fn what_is_kept_opens_again_and_its_secrets_are_not_shown() {
        let authority = Fingerprint([5; 32]);
        let key = ApiKey::generate(&SeededRandom::new(7));
        let user = || "alice".parse().unwrap();
        let with_key = Access::with_key(authority, user(), key.clone());
        let held = HeldTicket {
            key: [9; 32],
            ticket: vec![1, 2, 255],
            expires: Timestamp(77),
        };
        let with_ticket = Access::with_ticket(authority, user(), held);
        for access in [with_key, with_ticket] {
            let kept = profile(Some(&access));
            let opened = kept.access().unwrap().unwrap();
            assert_eq!(profile(Some(&opened)), kept);
            let shown = format!("{kept:?} {opened:?}");
            assert!(
                !shown.contains(&*key.reveal()) && !shown.contains("0909"),
                "{shown}"
            );
        }
        assert!(profile(None).access().unwrap().is_none());
    }

    #[test]
    fn what_is_missing_or_damaged_is_named() {
        let key = ApiKey::generate(&SeededRandom::new(7));
        let user = "alice".parse().unwrap();
        let good = profile(Some(&Access::with_key(Fingerprint([5; 32]), user, key)));
        let changed = |change: &dyn Fn(&mut Profile)| {
            let mut profile = good.clone();
            change(&mut profile);
            profile.config().unwrap_err().to_string()
        };
        assert!(changed(&|p| p.authority = Some("x".to_owned())).contains("authority"));
        assert!(changed(&|p| p.authority = None).contains("authority"));
        assert!(changed(&|p| p.user = None).contains("user"));
        assert!(changed(&|p| p.key = None).contains("ticket"));
        assert!(changed(&|p| p.key = Some("dfskey1-00".to_owned())).contains("key"));
        assert!(changed(&|p| p.masters.clear()).contains("masters"));
    }
}
