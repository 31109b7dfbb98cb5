//! The client's thread: takes calls, sends attempts, hears replies, and ends every call.
//!
//! Owns the sockets (through [`Nodes`]), the sessions, and every call from its submission to its
//! outcome. One turn: wait, read replies, note lost connections, look at the clock, send what is
//! ready in one message a node. It knows nothing of what a command means.

mod dispatch;
mod hear;
mod inbox;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zmq::Socket;

use crate::call::{Call, Kind, Owner, State};
use crate::credentials::Credentials;
use crate::error::{Applied, Error, Failure, Retry};
use crate::in_flight::InFlight;
use crate::nodes::Nodes;
use crate::session::Session;
use crate::wire::{self, Fields, Reply};

pub(crate) use inbox::Inbox;

const TICK: Duration = Duration::from_millis(20);
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// After it, another node is asked.
const SILENCE: Duration = Duration::from_millis(1500);
/// A node answers at the deadline: wait for that.
const GRACE: Duration = Duration::from_millis(250);
const MEMBERS_EVERY: Duration = Duration::from_secs(5);
const MEMBERS_SOONER: Duration = Duration::from_millis(300);
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(2);
const CLOSING_TIMEOUT: Duration = Duration::from_millis(500);
/// Every node takes a command as long as this.
const COMMAND_BYTES_SAFE: usize = (4 << 20) - (64 << 10);

pub(crate) struct Engine {
    inbox: Arc<Inbox>,
    woken: Socket,
    credentials: Option<Arc<Credentials>>,
    nodes: Nodes,
    in_flight: InFlight,
    calls: BTreeMap<u64, Call>,
    last_call: u64,
    ready: Vec<u64>,
    sessions: HashMap<u64, Session>,
    /// The session of the writes to come.
    session: Option<u64>,
    opening: Option<u64>,
    asking_members: bool,
    command_bytes_max: Option<usize>,
    now: Instant,
    next_tick: Instant,
    next_members: Instant,
    closing: bool,
}

impl Engine {
    pub fn new(
        inbox: Arc<Inbox>,
        woken: Socket,
        nodes: Nodes,
        credentials: Option<Arc<Credentials>>,
    ) -> Self {
        let now = Instant::now();
        Engine {
            inbox,
            woken,
            credentials,
            nodes,
            in_flight: InFlight::default(),
            calls: BTreeMap::new(),
            last_call: 0,
            ready: Vec::new(),
            sessions: HashMap::new(),
            session: None,
            opening: None,
            asking_members: false,
            command_bytes_max: None,
            now,
            next_tick: now,
            next_members: now,
            closing: false,
        }
    }

    /// Works until the client is closed.
    pub fn run(mut self) {
        while !(self.closing && self.calls.is_empty()) {
            self.wait();
            self.now = Instant::now();
            self.hear();
            self.take();
            if self.now >= self.next_tick {
                self.tick();
            }
            self.dispatch();
        }
    }

    fn wait(&self) {
        let wait = if self.calls.is_empty() { IDLE_WAIT } else { TICK };
        let mut items = vec![self.woken.as_poll_item(zmq::POLLIN)];
        items.extend(self.nodes.poll_items());
        // An interrupted wait is a short one.
        let _ = zmq::poll(&mut items, wait.as_millis() as i64);
        while self.woken.recv_bytes(zmq::DONTWAIT).is_ok() {}
    }

    fn take(&mut self) {
        let (calls, stopping) = self.inbox.take();
        for call in calls {
            self.activate(call);
        }
        if stopping && !self.closing {
            self.close();
        }
    }

    fn close(&mut self) {
        self.closing = true;
        for id in self.ids() {
            let words = "The client was closed before the answer came.";
            self.end(id, Failure::new("lost", Retry::Never, words));
        }
        if let Some(session) = self.session {
            let deadline = self.now + CLOSING_TIMEOUT;
            let command = wire::command("close_session", &[]);
            let mut call = Call::new(Kind::Control, command, deadline, Owner::CloseSession);
            call.session = Some(session);
            self.activate(call);
        }
    }

    fn tick(&mut self) {
        self.next_tick = self.now + TICK;
        for id in self.ids() {
            self.look_at(id);
        }
        if !self.nodes.leader_is_ready() {
            self.next_members = self.next_members.min(self.now + MEMBERS_SOONER);
        }
        let due = self.now >= self.next_members && !self.asking_members && !self.closing;
        if due && !self.calls.is_empty() {
            self.next_members = self.now + MEMBERS_EVERY;
            self.asking_members = true;
            let deadline = self.now + MEMBERS_TIMEOUT;
            let command = wire::command("members", &[]);
            self.activate(Call::new(Kind::Read, command, deadline, Owner::Members));
        }
    }

    fn look_at(&mut self, id: u64) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let grace = if call.live.is_some() { GRACE } else { Duration::ZERO };
        if self.now >= call.deadline + grace {
            return self.expire(id);
        }
        match (call.state, call.live) {
            (State::Paused(until), _) if self.now >= until => self.queue(id),
            (_, Some((message, sent))) => {
                if call.kind != Kind::Single && self.now >= sent + SILENCE {
                    if let Some(message) = self.in_flight.get(message) {
                        self.nodes.avoid(message.connection, self.now);
                    }
                    self.next_members = self.next_members.min(self.now);
                    self.unanswered(id, "timeout", "The node did not answer in time.");
                }
            }
            _ => {}
        }
    }

    fn expire(&mut self, id: u64) {
        let opening = self.opening.and_then(|it| self.calls.get(&it)?.last.clone());
        let trouble = self.nodes.trouble();
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if call.state == State::WaitingForSession && opening.is_some() {
            call.last = opening;
        } else if call.live.is_some() || call.last.as_ref().is_none_or(|it| it.code == "lost") {
            call.last = Some(Failure::new("timeout", Retry::Same, trouble));
        }
        self.give_up(id);
    }

    /// The live attempt will not be answered, or not soon. It may have happened all the same.
    fn unanswered(&mut self, id: u64, code: &str, words: &str) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.live = None;
        let mut failure = Failure::new(code, Retry::Same, words);
        failure.applied = Applied::Unknown;
        call.last = Some(failure);
        match call.kind {
            Kind::Single => self.give_up(id),
            _ => self.queue(id),
        }
    }

    fn activate(&mut self, call: Call) -> u64 {
        self.last_call += 1;
        self.calls.insert(self.last_call, call);
        self.queue(self.last_call);
        self.last_call
    }

    fn ids(&self) -> Vec<u64> {
        self.calls.keys().copied().collect()
    }

    fn queue(&mut self, id: u64) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.state = State::Queued;
            self.ready.push(id);
        }
    }

    fn end(&mut self, id: u64, failure: Failure) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.last = Some(failure);
            self.give_up(id);
        }
    }

    fn give_up(&mut self, id: u64) {
        if let Some(call) = self.calls.get(&id) {
            let outcome = call.outcome();
            self.finish(id, Err(outcome));
        }
    }

    fn finish(&mut self, id: u64, outcome: Result<Reply, Error>) {
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        for (message, position) in call.attempts {
            self.in_flight.take_one(message, position);
        }
        if let Some((session, sequence)) = call.session.zip(call.sequence) {
            self.settle(session, sequence);
        }
        match call.owner {
            Owner::Application(done) => {
                self.inbox.finished();
                done(outcome);
            }
            Owner::OpenSession => self.opened(outcome),
            Owner::Members => self.told_members(outcome),
            Owner::CloseSession => {}
        }
    }

    fn settle(&mut self, id: u64, sequence: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.settle(sequence);
            if session.is_settled() && self.session != Some(id) {
                self.sessions.remove(&id);
            }
        }
    }

    /// Forgets the session of the writes to come; what is in flight in it keeps its place.
    fn leave_session(&mut self) {
        if let Some(id) = self.session.take() {
            if self.sessions.get(&id).is_some_and(Session::is_settled) {
                self.sessions.remove(&id);
            }
        }
    }

    fn opened(&mut self, outcome: Result<Reply, Error>) {
        self.opening = None;
        let fields = outcome.as_ref().ok().and_then(|it| it.outcome.as_ref().ok());
        let said = |fields: &Fields| Some((fields.int("session")?, fields.int("ttl_ms")?));
        if let Some((id, ttl_ms)) = fields.and_then(said) {
            self.sessions.insert(id, Session::new(id, Duration::from_millis(ttl_ms), self.now));
            self.session = Some(id);
        }
        for id in self.ids() {
            match &outcome {
                _ if self.calls.get(&id).is_none_or(|it| it.state != State::WaitingForSession) => {}
                Err(error) if error.failure().retry == Retry::Never => {
                    self.end(id, error.failure().clone());
                }
                _ => self.queue(id),
            }
        }
    }

    fn told_members(&mut self, outcome: Result<Reply, Error>) {
        self.asking_members = false;
        let Some(Ok(mut result)) = outcome.ok().map(|it| it.outcome) else {
            return;
        };
        for gone in self.nodes.learn(&result) {
            self.lost(gone);
            self.nodes.remove(gone);
        }
        let limits = result.take_map("limits");
        let most = limits.and_then(|it| it.int("request_bytes_max")).unwrap_or(0);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.command_bytes_max = Some(most.max(COMMAND_BYTES_SAFE));
    }
}

impl Drop for Engine {
    /// Whatever ended the thread, nobody waits for it for ever.
    fn drop(&mut self) {
        self.inbox.stop();
        self.inbox.take();
    }
}
