//! All connections and what is on its way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use super::rules::Rules;
use super::{HostId, Link};
use crate::sim::trace::Trace;

const BACKLOG_MAX: usize = 1024;

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Dialer,
    Acceptor,
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::Dialer => Side::Acceptor,
            Side::Acceptor => Side::Dialer,
        }
    }
}

pub(super) struct State {
    now: u64,
    names: BTreeMap<String, HostId>,
    hosts: Vec<Host>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    /// When something arrives, in order: the time, a number, the connection and the end.
    arrivals: BinaryHeap<Reverse<(u64, u64, u64, Side)>>,
    sequence: u64,
    /// Ends that something is kept from.
    stalled: BTreeSet<(u64, Side)>,
    /// Ends that have read something of which the other end does not know yet.
    read: BTreeSet<(u64, Side)>,
    pub(super) rules: Rules,
    trace: Trace,
    wakers: Vec<Waker>,
}

struct Host {
    name: String,
    window: usize,
    on: bool,
    listeners: BTreeMap<u16, Listening>,
}

#[derive(Default)]
struct Listening {
    life: u64,
    backlog: VecDeque<u64>,
    waker: Option<Waker>,
}

struct Connection {
    dialer: End,
    acceptor: End,
    port: u16,
    window: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not yet.
    Dialing,
    Open,
    /// Its process has closed it, or is gone.
    Gone,
}

struct End {
    host: HostId,
    stage: Stage,
    /// On the way to this end, and when each arrives.
    incoming: VecDeque<(u64, Segment)>,
    received: VecDeque<Bytes>,
    /// Bytes sent to this end that the sender does not know to have been read.
    outstanding: usize,
    read: usize,
    /// The other end will send no more.
    finished: bool,
    reset: bool,
    /// This end has said that it sends no more.
    shut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
enum Segment {
    Open,
    Opened,
    Bytes(Bytes),
    Finish,
    Reset,
}

impl End {
    fn new(host: HostId) -> End {
        End {
            host,
            stage: Stage::Dialing,
            incoming: VecDeque::new(),
            received: VecDeque::new(),
            outstanding: 0,
            read: 0,
            finished: false,
            reset: false,
            shut: false,
            reader: None,
            writer: None,
        }
    }
}

impl Connection {
    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Dialer => &mut self.dialer,
            Side::Acceptor => &mut self.acceptor,
        }
    }

    /// The way to an end.
    fn link_to(&self, side: Side) -> Link {
        match side {
            Side::Dialer => (self.acceptor.host, self.dialer.host),
            Side::Acceptor => (self.dialer.host, self.acceptor.host),
        }
    }
}

impl State {
    pub(super) fn new(seed: u64, trace: Trace) -> State {
        State {
            now: 0,
            names: BTreeMap::new(),
            hosts: Vec::new(),
            connections: BTreeMap::new(),
            next: 0,
            arrivals: BinaryHeap::new(),
            sequence: 0,
            stalled: BTreeSet::new(),
            read: BTreeSet::new(),
            rules: Rules::new(seed),
            trace,
            wakers: Vec::new(),
        }
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }

    pub(super) fn add_host(&mut self, name: &str, window: usize) -> HostId {
        let id = self.hosts.len();
        self.names.insert(name.to_owned(), id);
        self.hosts.push(Host {
            name: name.to_owned(),
            window,
            on: true,
            listeners: BTreeMap::new(),
        });
        id
    }

    pub(super) fn set_power(&mut self, host: HostId, on: bool) {
        self.hosts[host].on = on;
        if on {
            self.resume();
        }
    }

    pub(super) fn heal(&mut self, links: &[Link]) {
        self.rules.heal(links);
        self.resume();
    }

    pub(super) fn listen(&mut self, host: HostId, address: &str) -> io::Result<(u16, u64)> {
        let (name, port) = self.parse(address)?;
        if name != host {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        self.next += 1;
        let life = self.next;
        let listeners = &mut self.hosts[host].listeners;
        if listeners.contains_key(&port) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let listening = Listening {
            life,
            ..Listening::default()
        };
        listeners.insert(port, listening);
        Ok((port, life))
    }

    pub(super) fn unlisten(&mut self, host: HostId, port: u16, life: u64) {
        let listeners = &mut self.hosts[host].listeners;
        if listeners.get(&port).is_some_and(|l| l.life == life) {
            let listening = listeners.remove(&port).unwrap_or_default();
            for connection in listening.backlog {
                self.close(connection, Side::Acceptor);
            }
        }
    }

    pub(super) fn poll_accept(
        &mut self,
        host: HostId,
        port: u16,
        cx: &mut Context<'_>,
    ) -> Poll<(u64, String)> {
        let Some(listening) = self.hosts[host].listeners.get_mut(&port) else {
            return Poll::Pending;
        };
        let Some(connection) = listening.backlog.pop_front() else {
            listening.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let dialer = self.connections.get(&connection).map(|c| c.dialer.host);
        let name = dialer.map_or("nobody", |host| &self.hosts[host].name);
        Poll::Ready((connection, format!("{name}:{connection}")))
    }

    pub(super) fn dial(&mut self, from: HostId, address: &str) -> io::Result<u64> {
        let (to, port) = self.parse(address)?;
        self.next += 1;
        let id = self.next;
        let connection = Connection {
            dialer: End::new(from),
            acceptor: End::new(to),
            port,
            window: self.hosts[to].window,
        };
        self.connections.insert(id, connection);
        self.send(id, Side::Acceptor, Segment::Open);
        Ok(id)
    }

    pub(super) fn poll_connected(
        &mut self,
        connection: u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&connection) else {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        };
        let end = &mut connection.dialer;
        match end.stage {
            _ if end.reset => Poll::Ready(Err(ErrorKind::ConnectionRefused.into())),
            Stage::Open => Poll::Ready(Ok(())),
            Stage::Gone => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
            Stage::Dialing => {
                end.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_read(
        &mut self,
        id: u64,
        side: Side,
        cx: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        };
        let end = connection.end(side);
        if end.reset {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        let mut read = 0;
        while let Some(bytes) = end.received.front_mut() {
            let some = bytes.len().min(into.remaining());
            if some == 0 {
                break;
            }
            into.put_slice(&bytes[..some]);
            bytes.advance(some);
            read += some;
            if bytes.is_empty() {
                end.received.pop_front();
            }
        }
        if read > 0 {
            end.read += read;
            self.read.insert((id, side));
            return Poll::Ready(Ok(()));
        }
        if end.finished {
            return Poll::Ready(Ok(()));
        }
        end.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn poll_write(
        &mut self,
        id: u64,
        side: Side,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        };
        let window = connection.window;
        let end = connection.end(side);
        if end.reset {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        if end.shut || end.stage == Stage::Gone {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let other = connection.end(side.other());
        let some = window.saturating_sub(other.outstanding).min(bytes.len());
        if some == 0 && !bytes.is_empty() {
            connection.end(side).writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        other.outstanding += some;
        let segment = Segment::Bytes(Bytes::copy_from_slice(&bytes[..some]));
        self.send(id, side.other(), segment);
        Poll::Ready(Ok(some))
    }

    pub(super) fn shut(&mut self, id: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let end = connection.end(side);
        if !end.shut && !end.reset && end.stage == Stage::Open {
            end.shut = true;
            self.send(id, side.other(), Segment::Finish);
        }
    }

    /// The process has no more use for its end.
    pub(super) fn close(&mut self, id: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let other_is_gone = connection.end(side.other()).stage == Stage::Gone;
        let end = connection.end(side);
        if end.stage == Stage::Gone {
            return;
        }
        let was = std::mem::replace(&mut end.stage, Stage::Gone);
        self.wakers.extend(end.reader.take());
        self.wakers.extend(end.writer.take());
        let quietly = end.received.is_empty();
        let told = end.shut || end.reset;
        end.received.clear();
        if other_is_gone {
            self.connections.remove(&id);
            return;
        }
        match (was, quietly, told) {
            (Stage::Open, true, false) => self.send(id, side.other(), Segment::Finish),
            (Stage::Open, false, _) => self.send(id, side.other(), Segment::Reset),
            _ => {}
        }
    }

    pub(super) fn close_all(&mut self, host: HostId, silently: bool) {
        self.hosts[host].listeners.clear();
        let all: Vec<u64> = self.connections.keys().copied().collect();
        for id in all {
            for side in [Side::Dialer, Side::Acceptor] {
                let Some(connection) = self.connections.get_mut(&id) else {
                    continue;
                };
                let end = connection.end(side);
                if end.host != host || (side == Side::Acceptor && end.stage == Stage::Dialing) {
                    continue;
                }
                if silently {
                    // What is said after a loss of power is said by nobody, and what was kept
                    // back is not sent again.
                    end.shut = true;
                    end.received.clear();
                    let link = connection.link_to(side.other());
                    if self.rules.is_cut(link) {
                        connection.end(side.other()).incoming.clear();
                    }
                }
                self.close(id, side);
            }
        }
    }

    pub(super) fn reset(&mut self, links: &[Link]) {
        let mut wakers = Vec::new();
        for connection in self.connections.values_mut() {
            let link = connection.link_to(Side::Acceptor);
            if links.contains(&link) || links.contains(&(link.1, link.0)) {
                for side in [Side::Dialer, Side::Acceptor] {
                    let end = connection.end(side);
                    end.reset = true;
                    wakers.extend(end.reader.take());
                    wakers.extend(end.writer.take());
                }
            }
        }
        self.wakers.extend(wakers);
    }

    /// Puts something on its way to an end.
    fn send(&mut self, id: u64, to: Side, segment: Segment) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let link = connection.link_to(to);
        let usual = self.now + self.rules.latency(link, id, self.now);
        let end = connection.end(to);
        let before = end.incoming.back().map(|(time, _)| *time);
        let arrival = before.map_or(usual, |before| before.max(usual));
        end.incoming.push_back((arrival, segment));
        if before != Some(arrival) {
            self.sequence += 1;
            let arrival = (arrival, self.sequence, id, to);
            self.arrivals.push(Reverse(arrival));
        }
    }

    fn is_blocked(&self, link: Link) -> bool {
        self.rules.is_cut(link) || !self.hosts[link.1].on
    }

    /// What was kept goes on where nothing keeps it any more.
    fn resume(&mut self) {
        for (id, side) in std::mem::take(&mut self.stalled) {
            let Some(connection) = self.connections.get(&id) else {
                continue;
            };
            if self.is_blocked(connection.link_to(side)) {
                self.stalled.insert((id, side));
                continue;
            }
            let earliest = self.now + self.rules.retransmission(id, self.now);
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            for (time, _) in &mut connection.end(side).incoming {
                *time = earliest.max(*time);
                self.sequence += 1;
                let arrival = (*time, self.sequence, id, side);
                self.arrivals.push(Reverse(arrival));
            }
        }
    }

    pub(super) fn deliver(&mut self, now: u64) {
        self.now = now;
        while let Some(Reverse((time, _, id, side))) = self.arrivals.peek().copied() {
            if time > now {
                break;
            }
            self.arrivals.pop();
            let Some(connection) = self.connections.get(&id) else {
                continue;
            };
            if self.is_blocked(connection.link_to(side)) {
                self.stalled.insert((id, side));
                continue;
            }
            self.trace.note([now, id, side as u64]);
            while let Some(segment) = self.due(id, side) {
                self.receive(id, side, segment);
            }
        }
        self.tell_of_reads();
    }

    fn due(&mut self, id: u64, side: Side) -> Option<Segment> {
        let now = self.now;
        let end = self.connections.get_mut(&id)?.end(side);
        let due = end.incoming.front().is_some_and(|(time, _)| *time <= now);
        due.then(|| end.incoming.pop_front()).flatten().map(|s| s.1)
    }

    fn receive(&mut self, id: u64, side: Side, segment: Segment) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let port = connection.port;
        let end = connection.end(side);
        match segment {
            Segment::Open => {
                let listener = self.hosts[end.host].listeners.get_mut(&port);
                let room = |l: &&mut Listening| l.backlog.len() < BACKLOG_MAX;
                match listener.filter(room) {
                    Some(listening) => {
                        end.stage = Stage::Open;
                        listening.backlog.push_back(id);
                        self.wakers.extend(listening.waker.take());
                        self.send(id, side.other(), Segment::Opened);
                    }
                    None => {
                        end.stage = Stage::Gone;
                        self.send(id, side.other(), Segment::Reset);
                    }
                }
            }
            _ if end.stage == Stage::Gone => {
                if connection.end(side.other()).stage == Stage::Gone {
                    self.connections.remove(&id);
                } else if !matches!(segment, Segment::Reset | Segment::Finish) {
                    self.send(id, side.other(), Segment::Reset);
                }
            }
            Segment::Opened => {
                end.stage = Stage::Open;
                self.wakers.extend(end.reader.take());
            }
            Segment::Bytes(bytes) => {
                end.received.push_back(bytes);
                self.wakers.extend(end.reader.take());
            }
            Segment::Finish => {
                end.finished = true;
                self.wakers.extend(end.reader.take());
            }
            Segment::Reset => {
                end.reset = true;
                end.received.clear();
                self.wakers.extend(end.reader.take());
                self.wakers.extend(end.writer.take());
            }
        }
    }

    /// Senders learn what was read, if they can hear of it.
    fn tell_of_reads(&mut self) {
        for (id, side) in std::mem::take(&mut self.read) {
            let Some(connection) = self.connections.get(&id) else {
                continue;
            };
            if self.is_blocked(connection.link_to(side.other())) {
                self.read.insert((id, side));
                continue;
            }
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            let end = connection.end(side);
            end.outstanding -= std::mem::take(&mut end.read);
            let writer = connection.end(side.other()).writer.take();
            self.wakers.extend(writer);
        }
    }

    fn parse(&self, address: &str) -> io::Result<(HostId, u16)> {
        let parts = address.rsplit_once(':');
        let known = parts.and_then(|(name, port)| {
            let host = self.names.get(name)?;
            Some((*host, port.parse().ok()?))
        });
        known.ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("no host {address}")))
    }
}
