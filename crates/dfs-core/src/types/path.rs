//! Names and paths, checked at the edge: what exists is valid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::attr::Attr;
use super::handle::Handle;
use super::id::InodeId;
use super::limits::{NAME_LEN_MAX, PATH_DEPTH_MAX, PATH_LEN_MAX};

/// Why something is not a name or a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A name is empty.
    #[error("a name is empty")]
    EmptyName,
    /// A name is `.` or `..`.
    #[error("`{0}` is not a name")]
    Dots(String),
    /// A name contains `/` or NUL.
    #[error("the name {0:?} contains `/` or NUL")]
    ForbiddenCharacter(String),
    /// A name is longer than [`NAME_LEN_MAX`] bytes.
    #[error("a name of {0} bytes is longer than {NAME_LEN_MAX}: {1:.32}…")]
    NameTooLong(usize, String),
    /// A path does not begin with `/`.
    #[error("the path {0:?} does not begin with `/`")]
    NotAbsolute(String),
    /// A path is longer than [`PATH_LEN_MAX`] bytes or deeper than [`PATH_DEPTH_MAX`] names.
    #[error("a path of {0} bytes is longer than {PATH_LEN_MAX}, or deeper than {PATH_DEPTH_MAX}")]
    PathTooLong(usize),
}

/// A name in a directory: 1 to 255 bytes of UTF-8 without `/` and NUL, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(name: impl Into<String>) -> Result<Name, PathError> {
        let name = name.into();
        match name.as_str() {
            "" => Err(PathError::EmptyName),
            "." | ".." => Err(PathError::Dots(name)),
            text if text.len() > NAME_LEN_MAX => Err(PathError::NameTooLong(text.len(), name)),
            text if text.contains(['/', '\0']) => Err(PathError::ForbiddenCharacter(name)),
            _ => Ok(Name(name)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for Name {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Name, PathError> {
        Name::new(text)
    }
}

/// What arrives from a network or a disk is checked like what arrives from a person.
impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        Name::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl dfs_raft::state::Key for Name {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Name, dfs_raft::Fatal> {
        let text = String::decode(bytes)?;
        Name::new(text).map_err(|e| dfs_raft::Fatal::with_source("a stored name is damaged", e))
    }
}

/// An absolute path: the names from the root down, none of them `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DfsPath(Vec<Name>);

impl DfsPath {
    /// The root directory, `/`.
    pub fn root() -> DfsPath {
        DfsPath(Vec::new())
    }

    /// A path of names, which may be no more than [`PATH_DEPTH_MAX`].
    ///
    /// # Errors
    /// It is too long or too deep.
    pub fn from_names(names: Vec<Name>) -> Result<DfsPath, PathError> {
        let length: usize = names.iter().map(|n| n.as_str().len() + 1).sum();
        if length > PATH_LEN_MAX || names.len() > PATH_DEPTH_MAX {
            return Err(PathError::PathTooLong(length));
        }
        Ok(DfsPath(names))
    }

    /// The names from the root down.
    pub fn names(&self) -> &[Name] {
        &self.0
    }

    /// The last name; none for the root.
    pub fn name(&self) -> Option<&Name> {
        self.0.last()
    }

    /// The directory it is in; none for the root.
    pub fn parent(&self) -> Option<DfsPath> {
        let (_, above) = self.0.split_last()?;
        Some(DfsPath(above.to_vec()))
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// It would be too long or too deep.
    pub fn join(&self, name: Name) -> Result<DfsPath, PathError> {
        let mut names = self.0.clone();
        names.push(name);
        DfsPath::from_names(names)
    }

    /// Whether it is `other` or lies below it.
    pub fn starts_with(&self, other: &DfsPath) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl FromStr for DfsPath {
    type Err = PathError;

    /// Repeated and closing slashes are ignored, as everywhere; `.` and `..` are refused,
    /// because what they mean would depend on links.
    fn from_str(text: &str) -> Result<DfsPath, PathError> {
        if !text.starts_with('/') {
            return Err(PathError::NotAbsolute(text.to_owned()));
        }
        if text.len() > PATH_LEN_MAX {
            return Err(PathError::PathTooLong(text.len()));
        }
        let parts = text.split('/').filter(|part| !part.is_empty());
        DfsPath::from_names(parts.map(Name::new).collect::<Result<_, _>>()?)
    }
}

impl fmt::Display for DfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

impl fmt::Debug for DfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for DfsPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DfsPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DfsPath, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A place in the tree: a path seen from an inode.
///
/// Everyone who works with paths starts at the root. Who holds inodes (an open file, a mounted
/// file system) starts there, with no name or one. Resolution happens where the change is
/// applied, so nothing moves in between.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Where the path starts.
    pub base: InodeId,
    /// The names to follow from there; none is the inode itself.
    pub path: DfsPath,
    /// What vouches for the inode that it starts at. It travels beside.
    #[serde(skip)]
    pub handle: Option<Handle>,
}

impl From<DfsPath> for Location {
    fn from(path: DfsPath) -> Location {
        Location {
            base: InodeId::ROOT,
            path,
            handle: None,
        }
    }
}

impl From<InodeId> for Location {
    fn from(base: InodeId) -> Location {
        Location {
            base,
            path: DfsPath::root(),
            handle: None,
        }
    }
}

impl From<&Attr> for Location {
    fn from(attr: &Attr) -> Location {
        Location {
            handle: attr.handle,
            ..Location::from(attr.inode)
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.base == InodeId::ROOT {
            return write!(f, "{}", self.path);
        }
        write!(
            f,
            "{}{}",
            self.base,
            if self.path.names().is_empty() {
                ""
            } else {
                ":"
            }
        )?;
        if self.path.names().is_empty() {
            Ok(())
        } else {
            write!(f, "{}", self.path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_each_for_its_reason() {
        assert_eq!(Name::new(""), Err(PathError::EmptyName));
        assert!(matches!(Name::new(".."), Err(PathError::Dots(_))));
        assert!(matches!(
            Name::new("a/b"),
            Err(PathError::ForbiddenCharacter(_))
        ));
        assert!(matches!(
            Name::new("a\0b"),
            Err(PathError::ForbiddenCharacter(_))
        ));
        assert!(matches!(
            Name::new("é".repeat(128)),
            Err(PathError::NameTooLong(256, _))
        ));
        assert!(Name::new("x".repeat(255)).is_ok());
    }

    #[test]
    fn a_path_prints_as_it_parses() {
        for (text, printed) in [("/", "/"), ("/a", "/a"), ("//a///b/", "/a/b"), ("/ü", "/ü")] {
            assert_eq!(
                text.parse::<DfsPath>().map(|p| p.to_string()),
                Ok(printed.to_owned())
            );
        }
        for text in ["", "a", "/a/../b", "/.", "/a\0"] {
            assert!(text.parse::<DfsPath>().is_err(), "{text:?}");
        }
        assert!("/a".repeat(2049).parse::<DfsPath>().is_err());
    }

    #[test]
    fn a_damaged_name_is_refused_when_decoded() {
        let bytes = postcard::to_stdvec("..").unwrap_or_default();
        assert!(postcard::from_bytes::<Name>(&bytes).is_err());
    }
}
