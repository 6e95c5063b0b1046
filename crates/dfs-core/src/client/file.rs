//! Open files.

use super::{Client, FileWriter, IntoLocation};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Attr;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct OpenOptions {
    read: bool,
    write: bool,
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
}

/// An open file: [`AsyncRead`](tokio::io::AsyncRead), [`AsyncSeek`](tokio::io::AsyncSeek), and
/// reads and writes at offsets. It stays the same file when its name changes.
#[derive(Debug)]
pub struct File {
    client: Client,
    attr: Attr,
}

impl File {
    /// The attributes it had when its bytes were last looked up.
    pub fn attr(&self) -> &Attr {
        &self.attr
    }

    /// The client it was opened by.
    pub fn client(&self) -> &Client {
        &self.client
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
        let _ = (path, options);
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// Begins a file. It appears, and replaces one that exists, when the writer is shut down.
    ///
    /// # Errors
    /// `NotFound` if the directory is missing.
    pub async fn create(&self, path: impl IntoLocation) -> Result<FileWriter> {
        let _ = path;
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// Begins a file that must not exist when the writer is shut down.
    ///
    /// # Errors
    /// `NotFound` if the directory is missing.
    pub async fn create_new(&self, path: impl IntoLocation) -> Result<FileWriter> {
        let _ = path;
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }
}
