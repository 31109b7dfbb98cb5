//! Where calls come in, from any thread.
//!
//! Owns what the engine's thread and the application's share: the calls not taken yet, how many are
//! outstanding, and the socket that wakes the engine.

use std::sync::{Mutex, MutexGuard, PoisonError};

use zmq::{Context, Socket, DONTWAIT, PAIR};

use crate::call::{Call, Owner};
use crate::error::{Error, Failure, Retry};

const OUTSTANDING_MAX: usize = 4096;

struct Waiting {
    calls: Vec<Call>,
    outstanding: usize,
    stopping: bool,
    waker: Socket,
}

pub(crate) struct Inbox(Mutex<Waiting>);

impl Inbox {
    /// The inbox, and the socket that becomes readable when something has come.
    pub fn new(context: &Context) -> zmq::Result<(Self, Socket)> {
        let woken = context.socket(PAIR)?;
        woken.bind("inproc://dkv-inbox")?;
        let waker = context.socket(PAIR)?;
        waker.set_linger(0)?;
        waker.connect("inproc://dkv-inbox")?;
        let waiting = Waiting { calls: Vec::new(), outstanding: 0, stopping: false, waker };
        Ok((Inbox(Mutex::new(waiting)), woken))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn submit(&self, call: Call) {
        let mut waiting = self.lock();
        let refusal = if waiting.stopping {
            Failure::new("lost", Retry::Never, "The client has ended. Make a new one.")
        } else if waiting.outstanding >= OUTSTANDING_MAX {
            let words = "Too many calls are outstanding. Wait for some of them.";
            Failure::new("busy", Retry::Later, words)
        } else {
            waiting.outstanding += 1;
            waiting.calls.push(call);
            if waiting.calls.len() == 1 {
                wake(&waiting);
            }
            return;
        };
        drop(waiting);
        if let Owner::Application(done) = call.owner {
            done(Err(Error::from(refusal)));
        }
    }

    /// What has come since the last time, and whether the client is being closed.
    pub fn take(&self) -> (Vec<Call>, bool) {
        let mut waiting = self.lock();
        (std::mem::take(&mut waiting.calls), waiting.stopping)
    }

    pub fn finished(&self) {
        self.lock().outstanding -= 1;
    }

    pub fn stop(&self) {
        let mut waiting = self.lock();
        waiting.stopping = true;
        wake(&waiting);
    }
}

/// A pipe that is full has woken it already.
fn wake(waiting: &Waiting) {
    let _ = waiting.waker.send("", DONTWAIT);
}
