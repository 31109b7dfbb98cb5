//! The engine's hand: gives writes their place in a session, and sends what is ready.

use std::collections::BTreeMap;

use super::{Engine, COMMAND_BYTES_SAFE};
use crate::call::{Call, Kind, Owner, State};
use crate::error::{Failure, Retry};
use crate::session::Session;
use crate::wire;

const BATCH_BYTES_MAX: usize = 64 * 1024;
const BATCH_REQUESTS_MAX: usize = 1024;

impl Engine {
    pub(super) fn dispatch(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        self.nodes.next_turn();
        let mut batches: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for id in std::mem::take(&mut self.ready) {
            let Some(call) = self.calls.get(&id) else {
                continue;
            };
            if call.state != State::Queued || self.now >= call.deadline {
                continue;
            }
            let bytes = call.command.len();
            if self.command_bytes_max.is_some_and(|most| bytes > most) {
                // A node ends the connection on which too large a frame comes, and with it what
                // others wait for.
                let words = "Too large to be sent. Store it in parts.";
                self.end(id, Failure::new("too_large", Retry::Never, words));
                continue;
            }
            let may_leave = self.command_bytes_max.is_some() || bytes <= COMMAND_BYTES_SAFE;
            let write = call.kind != Kind::Read;
            let to = self.nodes.choose(write, call.node.as_deref(), self.now);
            match to.filter(|_| may_leave) {
                Some(to) if self.has_place(id) => batches.entry(to).or_default().push(id),
                _ if self.calls.get(&id).is_some_and(|it| it.state == State::Queued) => {
                    self.ready.push(id);
                }
                _ => {}
            }
        }
        for (to, calls) in batches {
            for part in self.cut(&calls) {
                self.send(to, part);
            }
        }
    }

    /// Whether the call may be sent: a write needs its place in a session, and keeps it for good.
    /// Sent under a second session it could happen twice.
    fn has_place(&mut self, id: u64) -> bool {
        let Some(call) = self.calls.get_mut(&id) else {
            return false;
        };
        if call.kind != Kind::Write || call.sequence.is_some() {
            return true;
        }
        let current = self.session.and_then(|it| self.sessions.get_mut(&it));
        match current.filter(|it| !it.is_idle(self.now)) {
            Some(session) => {
                call.sequence = session.number();
                call.session = call.sequence.map(|_| session.id);
                call.sequence.is_some()
            }
            None => {
                call.state = State::WaitingForSession;
                let deadline = call.deadline;
                self.leave_session(); // the cluster may have forgotten it
                self.open_session(deadline);
                false
            }
        }
    }

    /// Once for all who wait; whoever may wait longer than the first asks again, if need be.
    fn open_session(&mut self, deadline: std::time::Instant) {
        if self.opening.is_none() {
            let command = wire::command("open_session", &[]);
            let call = Call::new(Kind::Control, command, deadline, Owner::OpenSession);
            self.opening = Some(self.activate(call));
        }
    }

    /// A batch as messages of bounded size; a larger command goes alone.
    fn cut<'a>(&self, batch: &'a [u64]) -> Vec<&'a [u64]> {
        let size = |id: &u64| self.calls.get(id).map_or(0, |it| it.command.len());
        let mut parts = Vec::new();
        let (mut from, mut bytes) = (0, 0);
        for (at, id) in batch.iter().enumerate() {
            let full = bytes + size(id) > BATCH_BYTES_MAX || at - from >= BATCH_REQUESTS_MAX;
            if full && at > from {
                parts.push(&batch[from..at]);
                (from, bytes) = (at, 0);
            }
            bytes += size(id);
        }
        parts.push(&batch[from..]);
        parts
    }

    fn send(&mut self, to: u64, calls: &[u64]) {
        let message = self.in_flight.new_id();
        let lowest = |call: &Call| {
            let session = call.session.and_then(|it| self.sessions.get(&it));
            session.map_or(0, Session::lowest)
        };
        let batch = calls.iter().filter_map(|id| self.calls.get(id));
        let requests: Vec<_> = batch.map(|it| it.request(lowest(it), self.now)).collect();
        let frame = wire::frame(message, &requests);
        if !self.nodes.get(to).is_some_and(|it| it.send(&frame)) {
            return calls.iter().for_each(|id| self.unsent(*id));
        }
        self.in_flight.add(message, to, self.now, calls);
        for (position, id) in calls.iter().enumerate() {
            let Some(call) = self.calls.get_mut(id) else {
                continue;
            };
            call.sent(message, position, self.now);
            if let Some(session) = call.session.and_then(|it| self.sessions.get_mut(&it)) {
                session.used = self.now;
            }
        }
    }
}
