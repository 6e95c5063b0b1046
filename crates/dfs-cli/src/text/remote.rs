//! Paths in the cluster, as typed: `/a/b` or `dfs:/a/b`.

use std::ffi::OsString;
use std::fmt;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParserFactory};
use dfs_core::types::DfsPath;

/// A path in the cluster, and whether it was typed with a closing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemotePath {
    /// The path.
    pub(crate) path: DfsPath,
    /// It ends in `/`: it must be a directory.
    pub(crate) is_directory: bool,
}

impl RemotePath {
    /// Reads what was typed.
    ///
    /// # Errors
    /// Says why it is no path, and what was perhaps meant.
    pub(crate) fn parse(typed: OsString) -> Result<RemotePath, String> {
        let typed = typed
            .into_string()
            .map_err(|_| "it is not UTF-8, and all names in the cluster are".to_owned())?;
        let text = typed.strip_prefix("dfs:").unwrap_or(&typed);
        if text.is_empty() {
            return Err("it is empty; the top directory is `/`".to_owned());
        }
        if !text.starts_with('/') {
            let text = text.trim_start_matches("./");
            return Err(format!(
                "paths in the cluster begin with `/`, like `/{text}`"
            ));
        }
        let path = text.parse::<DfsPath>().map_err(|e| e.to_string())?;
        let is_directory = text.ends_with('/');
        Ok(RemotePath { path, is_directory })
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.path, f)
    }
}

impl ValueParserFactory for RemotePath {
    type Parser = clap::builder::ValueParser;

    fn value_parser() -> Self::Parser {
        OsStringValueParser::new().try_map(RemotePath::parse).into()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        RemotePath::parse(OsString::from(text)).map(|p| p.to_string())
    }

    #[test]
    fn a_path_may_carry_a_scheme_and_closing_slashes() {
        assert_eq!(parse("/a/b"), Ok("/a/b".to_owned()));
        assert_eq!(parse("dfs:/a//b/"), Ok("/a/b".to_owned()));
        assert_eq!(parse("/"), Ok("/".to_owned()));
        let typed = RemotePath::parse(OsString::from("/a/")).unwrap();
        assert!(typed.is_directory);
    }

    #[test]
    fn what_is_no_path_is_refused_with_what_was_meant() {
        assert!(parse("./a").unwrap_err().contains("like `/a`"));
        assert!(parse("").unwrap_err().contains("empty"));
        assert!(parse("/a/../b").unwrap_err().contains("`..`"));
        assert!(parse(&format!("/{}", "x".repeat(256))).is_err());
        let bytes = OsString::from_vec(vec![b'/', 0xff]);
        assert!(RemotePath::parse(bytes).unwrap_err().contains("UTF-8"));
    }
}
