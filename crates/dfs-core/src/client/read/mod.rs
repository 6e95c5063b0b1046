//! Reading: ranges of replicas in parallel, verified, delivered in order.
//!
//! ```text
//! layout ─▶ part 1 part 2 part 3 …     as many ahead as the budget allows, at least one
//!              │      │      │
//!            fetch  fetch  fetch        any replica, a second one if the first is slow; of a
//!              │      │      │            member of a stripe, the others, and for all that is
//!              │      │      │            wanted of the stripe at once
//!              ▼      ▼      ▼
//!           next() ─ in order ─▶ caller
//! ```
//!
//! Rules:
//! - A part is handed out when all of its bytes have been verified.
//! - The length that the layout promised is delivered, or an error is.
//! - When no replica of a chunk can be read the layout is asked for again: the chunk may have
//!   been moved. When a member of a stripe had to be made from others it is asked for beside the
//!   reading, once in a while: the member may have been made again elsewhere. While no master
//!   answers, the layout known goes on being read.
//!
//! Not done here: which bytes a user may read.

mod beside;
mod degraded;
mod fetch;
mod hedge;
mod layout;
mod renewal;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

pub(super) use beside::aside_max;
pub(super) use degraded::DECODINGS_MAX;
pub(super) use hedge::Hedge;
pub(super) use layout::Window;

use super::budget::Hold;
use super::metadata::backoff;
use super::{Client, SLICE_LEN};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Attr, ByteRange, Location};
use beside::Aside;
use fetch::{Fetched, Loss, Piece};
use layout::Part;

/// Parts fetched at a time.
const AHEAD_MAX: usize = 8;
/// The first part is short so that it comes soon; each is twice as long as the one before.
const PART_LEN_FIRST: u64 = 256 * 1024;
const PART_LEN_MAX: u64 = 4 << 20;
/// Zeroes handed out at a time.
const ZEROES_LEN: usize = 64 * 1024;
static ZEROES: [u8; ZEROES_LEN] = [0; ZEROES_LEN];

/// The bytes of a range of a file, in order.
#[derive(Debug)]
pub(super) struct RangeReader {
    client: Client,
    at: Location,
    window: Arc<Window>,
    /// Only this revision of the contents is wanted.
    revision: Option<u64>,
    /// The next byte to hand out.
    position: u64,
    /// The next byte to fetch.
    scheduled: u64,
    end: u64,
    part_len: u64,
    parts: VecDeque<Coming>,
    /// What comes with them, and follows later.
    aside: Aside,
    ready: VecDeque<Bytes>,
    /// What is to be done when a part turns out to be lost: once it is told, and the parts ahead
    /// are begun again in the knowledge of it.
    loss: Loss,
    /// When reading at `position` first failed, and how often it did.
    failing: Option<(Instant, u32)>,
}

/// A part on its way.
#[derive(Debug)]
struct Coming {
    length: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Zeroes,
    Ready(Bytes),
    Fetching {
        task: AbortOnDropHandle<Result<Fetched>>,
        _holds: Vec<Hold>,
    },
}

impl RangeReader {
    /// A reader of `range` of the file at `at`, as far as the file goes; with `window` what is
    /// known of its layout. If `pinned`, all bytes are of one revision of the file.
    ///
    /// # Errors
    /// The layout is not known and cannot be had.
    pub(super) async fn open(
        client: Client,
        at: Location,
        range: ByteRange,
        window: Option<Arc<Window>>,
        pinned: bool,
    ) -> Result<RangeReader> {
        let window = match window {
            Some(window) => window,
            None => Arc::new(client.window(&at, range).await?),
        };
        // The name may get another file; what was begun is read to its end.
        let at = Location::from(&window.attr);
        let end = range.end().min(window.attr.size);
        Ok(RangeReader {
            client,
            at,
            revision: pinned.then_some(window.attr.revision),
            window,
            position: range.offset,
            scheduled: range.offset,
            end,
            part_len: PART_LEN_FIRST,
            parts: VecDeque::new(),
            aside: Aside::default(),
            loss: Loss::Tell,
            ready: VecDeque::new(),
            failing: None,
        })
    }

    /// The file, as the layout in use has it.
    pub(super) fn attr(&self) -> &Attr {
        &self.window.attr
    }

    /// What is known of the layout.
    pub(super) fn window(&self) -> &Arc<Window> {
        &self.window
    }

    /// How many bytes are still to come.
    pub(super) fn left(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    /// The next bytes, never empty; none after the last.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`, `Conflict`.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.position += bytes.len() as u64;
                return Ok(Some(bytes));
            }
            if self.position >= self.end {
                return Ok(None);
            }
            self.look_ahead().await?;
            let Some(mut first) = self.parts.pop_front() else {
                continue;
            };
            match &mut first.what {
                What::Ready(bytes) => self.ready.push_back(std::mem::take(bytes)),
                What::Zeroes => {
                    let length = first.length.min(ZEROES_LEN as u64);
                    let zeroes = ZEROES.get(..length as usize).unwrap_or(&ZEROES);
                    self.ready.push_back(Bytes::from_static(zeroes));
                    first.length -= length;
                    if first.length > 0 {
                        self.parts.push_front(first);
                    }
                }
                What::Fetching { task, .. } => match joined(task.await) {
                    Ok(Fetched::Read(parts)) => self.take(parts),
                    Ok(Fetched::Made(parts)) => {
                        self.client.renew(&self.window);
                        self.take(parts);
                    }
                    Ok(Fetched::Lost) => {
                        self.loss = Loss::Make;
                        self.begin_again();
                    }
                    Err(error) => self.recover(error).await?,
                },
            }
        }
    }

    fn take(&mut self, parts: Vec<Bytes>) {
        self.failing = None;
        self.loss = Loss::Tell;
        self.ready.extend(parts);
    }

    /// Forgets what is under way from the next byte on; what was set aside and has come stays.
    fn begin_again(&mut self) {
        self.parts.clear();
        self.aside.keep_come();
        self.scheduled = self.position;
        self.part_len = PART_LEN_FIRST;
    }

    /// Begins to fetch what comes next, as much as may be under way.
    async fn look_ahead(&mut self) -> Result<()> {
        if let Some(newer) = self.window.newest() {
            // If it is of another revision than is wanted, what was begun is read to its end.
            self.adopt(newer).ok();
        }
        if self.parts.is_empty() && self.scheduled < self.end && self.window.is_old() {
            match self.load().await {
                Err(conflict) if conflict.kind() == ErrorKind::Conflict => return Err(conflict),
                // Without a master what is known must do.
                Ok(()) | Err(_) => {}
            }
        }
        while self.parts.len() < AHEAD_MAX && self.scheduled < self.end {
            let coming = match self.aside.take(self.scheduled) {
                Some(coming) => coming,
                None => match self.part_ahead() {
                    Part::Unknown if self.parts.is_empty() => {
                        self.load().await?;
                        continue;
                    }
                    Part::Unknown => break,
                    Part::Hole(length) => Coming {
                        length,
                        what: What::Zeroes,
                    },
                    Part::Inline(bytes) => Coming {
                        length: bytes.len() as u64,
                        what: What::Ready(bytes),
                    },
                    Part::Chunk(piece) => match self.begin(piece) {
                        Some(coming) => coming,
                        None => break,
                    },
                },
            };
            self.scheduled += coming.length;
            self.parts.push_back(coming);
        }
        Ok(())
    }

    /// What comes next, as much as is fetched at a time and not yet on its way.
    fn part_ahead(&self) -> Part {
        let until = self.aside.next(self.scheduled).unwrap_or(self.end);
        let length = until.min(self.end) - self.scheduled;
        let length = length.min(self.part_len);
        self.window.part_at(self.scheduled, length)
    }

    /// Begins to fetch a piece, and what of its stripe comes with it. None if there is no room for
    /// it now.
    fn begin(&mut self, piece: Piece) -> Option<Coming> {
        let length = piece.range.length;
        // The part that is due needs no budget: it cannot wait for anyone.
        let hold = self.client.inner.read_budget.try_take(length);
        if hold.is_none() && !self.parts.is_empty() {
            return None;
        }
        let beside = self.set_aside(&piece);
        let (client, loss) = (self.client.clone(), self.loss);
        let task = tokio::spawn(async move { fetch::fetch(&client, &piece, beside, loss).await });
        self.part_len = (self.part_len * 2).min(PART_LEN_MAX);
        let what = What::Fetching {
            task: AbortOnDropHandle::new(task),
            _holds: hold.into_iter().collect(),
        };
        Some(Coming { length, what })
    }

    /// Asks for the layout from the next byte to fetch on.
    async fn load(&mut self) -> Result<()> {
        let rest = ByteRange::new(self.scheduled, self.end - self.scheduled);
        let window = self.client.window(&self.at, rest).await?;
        self.adopt(Arc::new(window))
    }

    /// Goes on by another layout.
    fn adopt(&mut self, window: Arc<Window>) -> Result<()> {
        let revision = window.attr.revision;
        if self.revision.is_some_and(|pinned| pinned != revision) {
            let message = format!("{} was changed while it was read", self.at);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        if revision != self.window.attr.revision {
            self.aside.clear();
        }
        self.end = self.end.min(window.attr.size);
        self.window = window;
        Ok(())
    }

    /// After no replica could be read: asks where the bytes are now and begins there again.
    async fn recover(&mut self, error: Error) -> Result<()> {
        let (since, times) = self.failing.unwrap_or((Instant::now(), 0));
        let corrupt = error.kind() == ErrorKind::Corrupt;
        let patience = self.client.config().deadlines.operation;
        if (corrupt && times > 0) || since.elapsed() >= patience {
            return Err(error);
        }
        self.failing = Some((since, times + 1));
        if times > 0 {
            sleep(backoff(times, &*self.client.inner.env.random)).await;
        }
        self.begin_again();
        self.aside.clear();
        match self.load().await {
            Ok(()) => Ok(()),
            Err(conflict) if conflict.kind() == ErrorKind::Conflict => Err(conflict),
            // Without a master what is known must do; why it does not is the better error.
            Err(_) => Err(error),
        }
    }

    /// All of the rest in one piece.
    ///
    /// # Errors
    /// As [`RangeReader::next`].
    pub(super) async fn collect(&mut self) -> Result<Bytes> {
        let Some(first) = self.next().await? else {
            return Ok(Bytes::new());
        };
        if self.left() == 0 {
            return Ok(first);
        }
        // No more is reserved than has come, whatever was promised.
        let mut all = Vec::with_capacity(first.len().max(SLICE_LEN.min(self.left() as usize)));
        all.extend_from_slice(&first);
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(Bytes::from(all))
    }
}

impl Client {
    /// The extents of a range of a file.
    pub(super) async fn window(&self, at: &Location, range: ByteRange) -> Result<Window> {
        let layout = self.layout_at(at.clone(), range).await?;
        Window::new(layout, range).ok_or_else(|| {
            let message = format!("a master gave a layout of {at} that makes no sense");
            Error::new(ErrorKind::Internal, message)
        })
    }
}

fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|stopped| {
        let message = "a read was stopped";
        Err(Error::with_source(ErrorKind::Internal, message, stopped))
    })
}
