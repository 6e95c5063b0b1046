//! Opening and making files.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{File, Known, Reading};
use crate::client::transfer::WHOLE;
use crate::client::write::{Target, Upload};
use crate::client::{Client, FileWriter, IntoLocation, changed_attr};
use crate::error::{Error, Result};
use crate::types::change::{NewAttr, WriteOffset};
use crate::types::{Attr, Change, FileKind, Location, Refusal, RefusalKind};

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct OpenOptions {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) append: bool,
    create: bool,
    create_new: bool,
    truncate: bool,
}

impl OpenOptions {
    /// Nothing allowed yet.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// Allows to read.
    pub fn read(mut self, read: bool) -> OpenOptions {
        self.read = read;
        self
    }

    /// Allows to write and to append.
    pub fn write(mut self, write: bool) -> OpenOptions {
        self.write = write;
        self
    }

    /// Allows to append, and to write nowhere else.
    pub fn append(mut self, append: bool) -> OpenOptions {
        self.append = append;
        self
    }

    /// Makes the file if it is missing.
    pub fn create(mut self, create: bool) -> OpenOptions {
        self.create = create;
        self
    }

    /// Makes the file, which must be missing.
    pub fn create_new(mut self, create_new: bool) -> OpenOptions {
        self.create_new = create_new;
        self
    }

    /// Empties the file.
    pub fn truncate(mut self, truncate: bool) -> OpenOptions {
        self.truncate = truncate;
        self
    }

    fn validate(self) -> Result<()> {
        let changes = self.write || self.append;
        if !self.read && !changes {
            return Err(Error::invalid("a file is opened to read, to write or both"));
        }
        if !changes && (self.create || self.create_new) || !self.write && self.truncate {
            let message = "a file that may not be written to is not made or emptied";
            return Err(Error::invalid(message));
        }
        Ok(())
    }
}

impl Client {
    /// Opens a file to read.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is no file.
    pub async fn open(&self, path: impl IntoLocation) -> Result<File> {
        self.open_with(path, OpenOptions::new().read(true)).await
    }

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`, `Exists`; `Invalid` if it is no file, or options contradict each other.
    pub async fn open_with(&self, path: impl IntoLocation, options: OpenOptions) -> Result<File> {
        options.validate()?;
        let at = path.into_location()?;
        let mut known = match options.create || options.create_new {
            true => {
                let attr = self.create_file(at, options.create_new).await?;
                Known { attr, window: None }
            }
            false => {
                let window = self.window(&at, WHOLE).await?;
                Known {
                    attr: window.attr.clone(),
                    window: Some(Arc::new(window)),
                }
            }
        };
        let at = Location::from(&known.attr);
        require_file(&known.attr, &at)?;
        if options.truncate && known.attr.size > 0 {
            let change = Change::Truncate {
                at: at.clone(),
                size: 0,
            };
            known.attr = changed_attr(self.change(change).await?)?;
            known.window = None;
        }
        Ok(File {
            client: self.clone(),
            at,
            options,
            known: Mutex::new(known),
            position: 0,
            current: Bytes::new(),
            reading: Reading::Idle(None),
            seeking: None,
        })
    }

    /// Begins a file. It appears, and replaces one that exists, when the writer is closed.
    ///
    /// # Errors
    /// `NotFound` if the directory is missing.
    pub async fn create(&self, path: impl IntoLocation) -> Result<FileWriter> {
        let attr = self.config().identity.file();
        self.create_with(path, attr, true).await
    }

    /// Begins a file that must not exist when the writer is closed.
    ///
    /// # Errors
    /// `NotFound` if the directory is missing.
    pub async fn create_new(&self, path: impl IntoLocation) -> Result<FileWriter> {
        let attr = self.config().identity.file();
        self.create_with(path, attr, false).await
    }

    /// Begins a file with these attributes; `replace` says whether one that exists is replaced.
    ///
    /// # Errors
    /// `NotFound` if the directory is missing.
    pub async fn create_with(
        &self,
        path: impl IntoLocation,
        attr: NewAttr,
        replace: bool,
    ) -> Result<FileWriter> {
        let at = path.into_location()?;
        let policy = self.policy_for(&at).await?;
        let target = Target::New { at, attr, replace };
        Ok(FileWriter::new(Upload::new(
            self.clone(),
            target,
            policy,
            None,
        )))
    }

    /// Begins to add bytes at the end of a file; they are added when the writer is flushed and
    /// when it is closed.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is no file.
    pub async fn appender(&self, path: impl IntoLocation) -> Result<FileWriter> {
        let attr = self.metadata(path).await?;
        let at = Location::from(&attr);
        require_file(&attr, &at)?;
        let target = Target::Existing {
            at,
            offset: WriteOffset::End,
        };
        let upload = Upload::new(self.clone(), target, attr.policy, None);
        Ok(FileWriter::new(upload))
    }
}

fn require_file(attr: &Attr, at: &Location) -> Result<()> {
    let kind = match attr.kind {
        FileKind::File => return Ok(()),
        FileKind::Directory => RefusalKind::IsADirectory,
        FileKind::Symlink => RefusalKind::NotAFile,
    };
    Err(Refusal::new(kind, at).into())
}
