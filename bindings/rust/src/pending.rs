//! The answer to a call that has been started.
//!
//! Owns the meeting of the engine's thread, which settles, and whoever waits. A promise that is
//! dropped unsettled settles itself, so nobody waits for ever.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::{Applied, Error, Failure, Result, Retry};

struct Slot<T> {
    result: Option<Result<T>>,
    waker: Option<Waker>,
}

struct Shared<T> {
    slot: Mutex<Slot<T>>,
    settled: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a call that has been started: [`wait`](Pending::wait) for it, or `.await` it, in
/// whatever runtime. Dropping it does not undo the call.
#[must_use = "a call's outcome is known only to who waits for it"]
pub struct Pending<T>(Arc<Shared<T>>);

impl<T> Pending<T> {
    /// Waits for the answer: a quarter of a second beyond the call's deadline at most.
    pub fn wait(self) -> Result<T> {
        let mut slot = self.0.lock();
        loop {
            if let Some(result) = slot.result.take() {
                return result;
            }
            slot = self.0.settled.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.lock();
        match slot.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The other end: who settles.
pub(crate) struct Promise<T> {
    shared: Option<Arc<Shared<T>>>,
    applied: Applied,
}

/// `applied`: what may be said of a call that is dropped unsettled.
pub(crate) fn pair<T>(applied: Applied) -> (Promise<T>, Pending<T>) {
    let slot = Mutex::new(Slot { result: None, waker: None });
    let shared = Arc::new(Shared { slot, settled: Condvar::new() });
    (Promise { shared: Some(shared.clone()), applied }, Pending(shared))
}

impl<T> Promise<T> {
    pub fn settle(mut self, result: Result<T>) {
        self.put(result);
    }

    fn put(&mut self, result: Result<T>) {
        if let Some(shared) = self.shared.take() {
            let mut slot = shared.lock();
            slot.result = Some(result);
            let waker = slot.waker.take();
            drop(slot);
            shared.settled.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        let mut failure =
            Failure::new("lost", Retry::Never, "The client has ended. Make a new one.");
        failure.applied = self.applied;
        self.put(Err(Error::from(failure)));
    }
}
