//! Listings: pages from a master, one fetched while the one before is read.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::future::BoxFuture;
use tokio_util::task::AbortOnDropHandle;

use crate::client::{Client, IntoLocation, mismatch};
use crate::error::{Error, ErrorKind, Result};
use crate::types::query::{Entry, TrashItem};
use crate::types::{Answer, Query};

/// Entries of a page: with attributes some 200 KiB.
const PAGE_LEN: u32 = 1000;

/// The entries of a directory, in the order of their names.
pub type ReadDir = Listing<Entry>;

/// What the trash holds, oldest first.
pub type TrashListing = Listing<TrashItem>;

/// A stream of items that masters give in pages. It holds two pages at most.
///
/// Pages are taken one after the other: of what comes and goes meanwhile some is seen.
pub struct Listing<T> {
    ready: VecDeque<T>,
    fetch: Fetch<T>,
    next: Option<AbortOnDropHandle<Result<Page<T>>>>,
}

struct Page<T> {
    items: Vec<T>,
    more: bool,
}

/// Gets the page after an item.
type Fetch<T> = Box<dyn Fn(Option<T>) -> BoxFuture<'static, Result<Page<T>>> + Send + Sync>;

impl<T: Clone + Send + 'static> Listing<T> {
    async fn begin(fetch: Fetch<T>) -> Result<Listing<T>> {
        let page = fetch(None).await?;
        let mut listing = Listing {
            ready: VecDeque::new(),
            fetch,
            next: None,
        };
        listing.take(page);
        Ok(listing)
    }

    /// The next item; none after the last.
    ///
    /// # Errors
    /// The next page cannot be had. The listing ends with it.
    pub async fn next_entry(&mut self) -> Result<Option<T>> {
        poll_fn(|cx| self.poll_item(cx)).await.transpose()
    }

    fn take(&mut self, page: Page<T>) {
        if let (true, Some(last)) = (page.more, page.items.last()) {
            let fetch = (self.fetch)(Some(last.clone()));
            self.next = Some(AbortOnDropHandle::new(tokio::spawn(fetch)));
        }
        self.ready.extend(page.items);
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            let Some(next) = &mut self.next else {
                return Poll::Ready(None);
            };
            let page = ready!(Pin::new(next).poll(cx));
            self.next = None;
            match page {
                Ok(Ok(page)) => self.take(page),
                Ok(Err(error)) => return Poll::Ready(Some(Err(error))),
                Err(stopped) => {
                    let message = "a page of a listing was not fetched";
                    let error = Error::with_source(ErrorKind::Internal, message, stopped);
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl<T: Clone + Send + Unpin + 'static> Stream for Listing<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        self.get_mut().poll_item(cx)
    }
}

impl<T> fmt::Debug for Listing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("ready", &self.ready.len())
            .field("more", &self.next.is_some())
            .finish()
    }
}

impl Client {
    /// Lists a directory, with the attributes of each entry. A symbolic link is followed.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is no directory.
    pub async fn read_dir(&self, path: impl IntoLocation) -> Result<ReadDir> {
        self.list(path, true).await
    }

    /// Lists only the names and kinds in a directory.
    ///
    /// # Errors
    /// As [`Client::read_dir`].
    pub async fn read_dir_names(&self, path: impl IntoLocation) -> Result<ReadDir> {
        self.list(path, false).await
    }

    async fn list(&self, path: impl IntoLocation, attrs: bool) -> Result<ReadDir> {
        let (client, at) = (self.clone(), path.into_location()?);
        let fetch = move |after: Option<Entry>| -> BoxFuture<'static, Result<Page<Entry>>> {
            let query = Query::List {
                at: at.clone(),
                after: after.map(|entry| entry.name),
                limit: PAGE_LEN,
                attrs,
            };
            let client = client.clone();
            Box::pin(async move {
                match client.ask(query).await? {
                    Answer::Entries(page) => Ok(Page {
                        items: page.entries,
                        more: page.more,
                    }),
                    other => Err(mismatch(&other)),
                }
            })
        };
        Listing::begin(Box::new(fetch)).await
    }

    /// Lists the trash.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list_trash(&self) -> Result<TrashListing> {
        let client = self.clone();
        let fetch = move |after: Option<TrashItem>| -> BoxFuture<'static, Result<Page<TrashItem>>> {
            let query = Query::ListTrash {
                after: after.map(|item| item.trash),
                limit: PAGE_LEN,
            };
            let client = client.clone();
            Box::pin(async move {
                match client.ask(query).await? {
                    Answer::Trash(page) => Ok(Page {
                        items: page.entries,
                        more: page.more,
                    }),
                    other => Err(mismatch(&other)),
                }
            })
        };
        Listing::begin(Box::new(fetch)).await
    }
}
