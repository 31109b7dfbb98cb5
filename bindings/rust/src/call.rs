//! One call of the application, over all its attempts.
//!
//! Owns the arithmetic of outcomes: what a refusal of one attempt says of the call as a whole. An
//! attempt that was sent and not answered `applied: no` may have happened, whatever later ones say.
//! It knows nothing of sockets and nodes.

use std::time::{Duration, Instant};

use crate::error::{Applied, Error, Failure, Retry};
use crate::wire::{Reply, Request};

const QUICK_RETRIES: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
const TTL_MS_MAX: u128 = 600_000;

/// What may be done with an attempt that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes nothing: sent again at will.
    Read,
    /// Has its place in a session: sent again under it.
    Write,
    /// A write without a session: sent again only after `applied: no`.
    Single,
    /// Opens or closes a session: sent again at will.
    Control,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Queued,
    WaitingForSession,
    Paused(Instant),
    InFlight,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Settled,
    Again,
    /// A later attempt is under way: its answer decides.
    Wait,
}

pub(crate) type Done = Box<dyn FnOnce(Result<Reply, Error>) + Send>;

/// Whose call it is.
pub(crate) enum Owner {
    Application(Done),
    OpenSession,
    CloseSession,
    Members,
}

pub(crate) struct Call {
    pub kind: Kind,
    pub command: Vec<u8>,
    pub deadline: Instant,
    pub serializable: bool,
    /// Whom to ask, if it can be.
    pub node: Option<String>,
    pub owner: Owner,
    pub session: Option<u64>,
    pub sequence: Option<u64>,
    pub state: State,
    /// The message of the latest attempt, while that is waited for, and when it left.
    pub live: Option<(u64, Instant)>,
    /// Every attempt: message and position.
    pub attempts: Vec<(u64, usize)>,
    /// Why the last attempt was none.
    pub last: Option<Failure>,
    in_doubt: u32,
    quick: u32,
    slow: u32,
}

impl Call {
    pub fn new(kind: Kind, command: Vec<u8>, deadline: Instant, owner: Owner) -> Self {
        Call {
            kind,
            command,
            deadline,
            serializable: false,
            node: None,
            owner,
            session: None,
            sequence: None,
            state: State::Queued,
            live: None,
            attempts: Vec::new(),
            last: None,
            in_doubt: 0,
            quick: 0,
            slow: 0,
        }
    }

    pub fn sent(&mut self, message: u64, position: usize, now: Instant) {
        self.state = State::InFlight;
        self.live = Some((message, now));
        self.in_doubt += 1;
        self.attempts.push((message, position));
    }

    /// The request for the next attempt. `lowest`: of its session.
    pub fn request(&self, lowest: u64, now: Instant) -> Request<'_> {
        let left = self.deadline.saturating_duration_since(now).as_millis();
        Request {
            command: &self.command,
            ttl_ms: left.clamp(1, TTL_MS_MAX) as u64,
            session: self.session,
            place: self.sequence.map(|it| (it, lowest)),
            retry: self.kind == Kind::Write && self.in_doubt > 0,
            serializable: self.serializable,
            burst: true,
        }
    }

    /// Takes a node's refusal of one attempt, which is no longer live.
    pub fn refuse(&mut self, failure: Failure) -> Verdict {
        if failure.applied == Applied::No {
            self.in_doubt -= 1;
        }
        let settled = matches!(failure.code.as_str(), "condition_failed" | "invalid");
        if settled {
            self.in_doubt = 0; // the cluster has answered for this very sequence
        }
        let (applied, retry) = (failure.applied, failure.retry);
        self.last = Some(failure);
        if settled || applied == Applied::Yes {
            Verdict::Settled
        } else if self.live.is_some() {
            Verdict::Wait
        } else if retry == Retry::Never || (applied != Applied::No && self.kind == Kind::Single) {
            Verdict::Settled
        } else {
            Verdict::Again
        }
    }

    /// How long to wait before the next attempt, after a refusal that says `retry`.
    pub fn pause(&mut self) -> Duration {
        if self.last.as_ref().is_none_or(|it| it.retry != Retry::Later) {
            self.quick += 1;
            if self.quick <= QUICK_RETRIES {
                return Duration::ZERO;
            }
        }
        let whole = PAUSE_MAX.min(PAUSE_MIN * (1 << self.slow));
        if whole < PAUSE_MAX {
            self.slow += 1;
        }
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// What the whole call comes to if it ends with `last`.
    pub fn outcome(&self) -> Error {
        let nothing = || Failure::new("timeout", Retry::Same, "There was no time for an attempt.");
        let mut failure = self.last.clone().unwrap_or_else(nothing);
        let harmless = matches!(self.kind, Kind::Read | Kind::Control);
        if harmless || (self.in_doubt == 0 && failure.applied != Applied::Yes) {
            failure.applied = Applied::No;
        } else if failure.applied == Applied::No {
            failure.applied = Applied::Unknown;
            failure.words +=
                " An earlier attempt may have been carried out: read before you repeat it.";
        }
        failure.into()
    }
}

#[cfg(test)]
#[path = "call_test.rs"]
mod tests;
