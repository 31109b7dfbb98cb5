//! The engine's ear: replies, connections that come and go, and certificates.

use std::time::Duration;

use super::{Engine, TICK};
use crate::call::{State, Verdict};
use crate::connection::Change;
use crate::error::{Failure, Retry};
use crate::wire::{self, Reply, Request};

const PRESENT_TTL_MS: u64 = 5000;

impl Engine {
    /// Replies first, and only then what the monitor says: an answer that came before the
    /// connection ended is an answer.
    pub(super) fn hear(&mut self) {
        for id in self.nodes.ids() {
            while let Some(frames) = self.nodes.get(id).and_then(|it| it.receive()) {
                for reply in wire::replies(&frames) {
                    self.answered(id, reply);
                }
            }
            match self.nodes.watch(id, self.now) {
                Some(Change::Up) => {
                    self.lost(id);
                    self.present(id);
                }
                Some(Change::Down) => self.lost(id),
                None => {}
            }
        }
    }

    /// Calls whose live attempt went there will not hear of it any more.
    pub(super) fn lost(&mut self, connection: u64) {
        for (message, calls) in self.in_flight.lost(connection) {
            for id in calls {
                let live = self.calls.get(&id).and_then(|it| it.live);
                if live.is_some_and(|(live, _)| live == message) {
                    self.unanswered(id, "lost", "The connection ended before the answer came.");
                }
            }
        }
    }

    fn present(&mut self, to: u64) {
        let Some(credentials) = self.credentials.clone() else {
            return;
        };
        let text = rmpv::ValueRef::Binary(&credentials.certificate);
        let command = wire::command("present", &[("certificate", text)]);
        let request = Request { command: &command, ttl_ms: PRESENT_TTL_MS, ..Default::default() };
        let message = self.in_flight.new_id();
        let Some(connection) = self.nodes.get(to) else {
            return;
        };
        if connection.send(&wire::frame(message, &[request])) {
            connection.presented = Some(self.now);
            self.in_flight.add(message, to, self.now, &[]);
        }
    }

    fn answered(&mut self, from: u64, reply: Reply) {
        let message = self.in_flight.get(reply.message).filter(|it| it.connection == from);
        let (Some(message), Some(connection)) = (message, self.nodes.get(from)) else {
            return;
        };
        if !reply.node.is_empty() && connection.name.as_ref() != Some(&reply.node) {
            connection.name = Some(reply.node.clone());
        }
        if message.is_present() {
            connection.refusal = reply.outcome.err().filter(|it| it.retry == Retry::Never);
            return self.in_flight.remove(reply.message);
        }
        let sent = message.sent;
        let is_error = reply.outcome.is_err();
        let calls = self.in_flight.take(reply.message, reply.position, is_error);
        for id in &calls {
            if let Some(call) = self.calls.get_mut(id) {
                call.live = call.live.filter(|(live, _)| *live != reply.message);
            }
        }
        match (&reply.outcome, calls.as_slice()) {
            (Ok(_), [id]) => self.finish(*id, Ok(reply)),
            (Ok(_), _) => {}
            (Err(failure), calls) => {
                let failure = self.of_certificates(from, sent, failure.clone());
                for id in calls {
                    self.refused(*id, from, failure.clone());
                }
            }
        }
    }

    /// A guest presents again, unless the node has seen the certificate and will not have it: then
    /// that is the reason to tell.
    fn of_certificates(
        &mut self,
        from: u64,
        sent: std::time::Instant,
        failure: Failure,
    ) -> Failure {
        if failure.code != "certificate_needed" || self.credentials.is_none() {
            return failure;
        }
        match self.nodes.get(from) {
            Some(connection) if connection.refusal.is_some() => {
                connection.refusal.clone().unwrap_or(failure)
            }
            Some(connection) => {
                if connection.presented.is_none_or(|it| sent >= it) {
                    self.present(from);
                }
                failure
            }
            None => failure,
        }
    }

    fn refused(&mut self, id: u64, from: u64, failure: Failure) {
        self.nodes.hint(&failure);
        if failure.retry == Retry::Other {
            self.nodes.avoid(from, self.now);
        }
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let lost_session = failure.code == "session_lost" && call.session == self.session;
        let verdict = call.refuse(failure);
        let waits = call.state != State::InFlight;
        if lost_session {
            self.leave_session();
        }
        match verdict {
            Verdict::Settled => self.give_up(id),
            Verdict::Wait => {}
            Verdict::Again if waits => {} // for its turn, already
            Verdict::Again => self.pause(id),
        }
    }

    fn pause(&mut self, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        match call.pause() {
            Duration::ZERO => self.queue(id),
            pause => call.state = State::Paused(self.now + pause),
        }
    }

    /// Nothing has left: this was no attempt.
    pub(super) fn unsent(&mut self, id: u64) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.state = State::Paused(self.now + TICK);
        }
    }
}
