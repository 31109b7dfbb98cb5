//! One node's socket, and the monitor that tells how it fares.
//!
//! Owns the life of a DEALER: opened, shaken hands, lost, and replaced by a new one after a
//! handshake that failed, for libzmq gives some of these up for good and never changes the key of a
//! socket. It knows bytes, not requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zmq::{Context, PollItem, Socket, SocketEvent, DONTWAIT, PAIR, POLLIN};

use crate::credentials::Credentials;
use crate::error::Failure;

const REPLY_BYTES_MAX: i64 = 32 << 20;
const REOPEN_MIN: Duration = Duration::from_millis(50);
const REOPEN_MAX: Duration = Duration::from_secs(1);

const CONNECTED: u16 = SocketEvent::CONNECTED as u16;
const CONNECT_RETRIED: u16 = SocketEvent::CONNECT_RETRIED as u16;
const HANDSHAKE_SUCCEEDED: u16 = SocketEvent::HANDSHAKE_SUCCEEDED as u16;
const WATCHED: u16 = CONNECTED
    | CONNECT_RETRIED
    | HANDSHAKE_SUCCEEDED
    | SocketEvent::DISCONNECTED as u16
    | SocketEvent::HANDSHAKE_FAILED_NO_DETAIL as u16
    | SocketEvent::HANDSHAKE_FAILED_PROTOCOL as u16
    | SocketEvent::HANDSHAKE_FAILED_AUTH as u16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Connecting,
    ShakingHands,
    Ready,
}

/// Why it was not ready when it last tried.
#[derive(Clone, Copy)]
enum Trouble {
    Unanswered,
    Stranger,
    Unopened,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Up,
    Down,
}

struct Open {
    socket: Socket,
    monitor: Socket,
}

/// The monitor ends first: libzmq's thread waits for ever to tell an event to one that is gone. The
/// crate cannot say so; another monitor, of no events, takes its place.
impl Drop for Open {
    fn drop(&mut self) {
        let nobody = format!("inproc://dkv-nobody-{}", fastrand::u64(..));
        let _ended = self.socket.monitor(&nobody, 0);
    }
}

pub(crate) struct Connection {
    pub id: u64,
    pub address: String,
    /// Named by the application, not learned.
    pub configured: bool,
    /// The node's name, once it has said it.
    pub name: Option<String>,
    /// Why the node does not take the certificate.
    pub refusal: Option<Failure>,
    pub presented: Option<Instant>,
    /// Better not asked until then.
    pub avoid_until: Instant,
    open: Option<Open>,
    phase: Phase,
    trouble: Trouble,
    open_at: Instant,
    key: usize,
    failures: u32,
}

impl Connection {
    pub fn new(id: u64, address: &str, configured: bool, now: Instant) -> Self {
        Connection {
            id,
            address: address.into(),
            configured,
            name: None,
            refusal: None,
            presented: None,
            avoid_until: now,
            open: None,
            phase: Phase::Closed,
            trouble: Trouble::Unanswered,
            open_at: now,
            key: 0,
            failures: 0,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    pub fn poll_items(&self) -> impl Iterator<Item = PollItem<'_>> {
        let sockets = self.open.iter().flat_map(|it| [&it.socket, &it.monitor]);
        sockets.map(|it| it.as_poll_item(POLLIN))
    }

    /// Opens the socket where that is due, and reads what the monitor has noticed.
    pub fn watch(
        &mut self,
        context: &Context,
        credentials: Option<&Arc<Credentials>>,
        now: Instant,
    ) -> Option<Change> {
        if self.open.is_none() && now >= self.open_at {
            self.open(context, credentials, now);
        }
        let mut change = None;
        while let Some(event) = self.next_event() {
            change = self.notice(event).or(change);
            if self.phase == Phase::Closed {
                self.replace(now);
            }
        }
        change
    }

    pub fn send(&self, frame: &[u8]) -> bool {
        let socket = self.open.as_ref().filter(|_| self.is_ready());
        socket.is_some_and(|it| it.socket.send(frame, DONTWAIT).is_ok())
    }

    /// The frames of one message.
    pub fn receive(&self) -> Option<Vec<Vec<u8>>> {
        self.open.as_ref()?.socket.recv_multipart(DONTWAIT).ok()
    }

    /// Why it is not ready, for a person.
    pub fn trouble(&self, secured: bool) -> String {
        let address = &self.address;
        match self.trouble {
            _ if self.is_ready() => format!("{address} does not answer in time"),
            Trouble::Unanswered => format!("nothing answers at {address}"),
            Trouble::Unopened => {
                format!("no socket can be opened to {address} (no address, or too many open files)")
            }
            Trouble::Stranger if secured => {
                format!("what listens at {address} does not prove the server key of the trust file")
            }
            Trouble::Stranger => {
                format!("what listens at {address} is no node without encryption")
            }
        }
    }

    fn open(&mut self, context: &Context, credentials: Option<&Arc<Credentials>>, now: Instant) {
        match self.sockets(context, credentials) {
            Ok(open) => {
                self.open = Some(open);
                self.phase = Phase::Connecting;
            }
            Err(_) => {
                self.trouble = Trouble::Unopened;
                self.open_at = now + REOPEN_MAX;
            }
        }
    }

    fn sockets(
        &self,
        context: &Context,
        credentials: Option<&Arc<Credentials>>,
    ) -> zmq::Result<Open> {
        let socket = context.socket(zmq::DEALER)?;
        socket.set_linger(0)?;
        socket.set_immediate(true)?;
        socket.set_handshake_ivl(2000)?;
        socket.set_connect_timeout(2000)?;
        socket.set_heartbeat_ivl(1000)?;
        socket.set_heartbeat_timeout(3000)?;
        socket.set_heartbeat_ttl(3000)?;
        socket.set_reconnect_ivl(50)?;
        socket.set_reconnect_ivl_max(1000)?;
        socket.set_maxmsgsize(REPLY_BYTES_MAX)?;
        if let Some(credentials) = credentials {
            let keys = &credentials.server_keys;
            socket.set_curve_serverkey(&keys[self.key % keys.len()])?;
            socket.set_curve_publickey(&credentials.public_key)?;
            socket.set_curve_secretkey(&credentials.secret_key)?;
        }
        let watcher = format!("inproc://dkv-monitor-{}-{}", self.id, fastrand::u64(..));
        socket.monitor(&watcher, i32::from(WATCHED))?;
        let monitor = context.socket(PAIR)?;
        monitor.set_linger(0)?;
        monitor.connect(&watcher)?;
        socket.connect(&format!("tcp://{}", self.address))?;
        Ok(Open { socket, monitor })
    }

    fn next_event(&self) -> Option<u16> {
        let frames = self.open.as_ref()?.monitor.recv_multipart(DONTWAIT).ok()?;
        let event = frames.first()?.first_chunk()?;
        Some(u16::from_ne_bytes(*event))
    }

    fn notice(&mut self, event: u16) -> Option<Change> {
        match event {
            CONNECTED => self.phase = Phase::ShakingHands,
            CONNECT_RETRIED => {
                if self.phase == Phase::Connecting {
                    self.trouble = Trouble::Unanswered;
                }
            }
            HANDSHAKE_SUCCEEDED => {
                self.phase = Phase::Ready;
                self.failures = 0;
                self.refusal = None;
                return Some(Change::Up);
            }
            // Disconnected, or told that hands will not be shaken.
            _ if self.is_ready() => {
                self.phase = Phase::Connecting; // libzmq connects again by itself
                self.trouble = Trouble::Unanswered;
                return Some(Change::Down);
            }
            _ => self.phase = Phase::Closed,
        }
        None
    }

    fn replace(&mut self, now: Instant) {
        self.open = None;
        self.trouble = Trouble::Stranger;
        self.key += 1; // while the servers' pair is being replaced, the trust file names two
        let whole = REOPEN_MAX.min(REOPEN_MIN * (1 << self.failures));
        if whole < REOPEN_MAX {
            self.failures += 1;
        }
        self.open_at = now + whole.mul_f64(0.5 + fastrand::f64() / 2.0);
    }
}
