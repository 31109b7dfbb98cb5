//! A session at the cluster: numbers its writes, and knows which have no final answer yet.
//!
//! Owns the arithmetic of `sequence` and `lowest`. It never sends.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const WINDOW: u64 = 1024;

#[derive(Debug)]
pub(crate) struct Session {
    pub id: u64,
    ttl: Duration,
    pub used: Instant,
    next: u64,
    unsettled: BTreeSet<u64>,
}

impl Session {
    pub fn new(id: u64, ttl: Duration, now: Instant) -> Self {
        Session { id, ttl, used: now, next: 1, unsettled: BTreeSet::new() }
    }

    /// The lowest sequence without a final answer.
    pub fn lowest(&self) -> u64 {
        self.unsettled.first().copied().unwrap_or(self.next)
    }

    pub fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// Whether the cluster may soon have forgotten it.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.is_settled() && now > self.used + self.ttl / 2
    }

    /// The next sequence, if there is room for one.
    pub fn number(&mut self) -> Option<u64> {
        if self.next - self.lowest() >= WINDOW {
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        self.unsettled.insert(sequence);
        Some(sequence)
    }

    pub fn settle(&mut self, sequence: u64) {
        self.unsettled.remove(&sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session::new(7, Duration::from_secs(600), Instant::now())
    }

    #[test]
    fn lowest_never_passes_what_has_no_answer() {
        let mut session = session();
        assert_eq!(
            (session.number(), session.number(), session.number()),
            (Some(1), Some(2), Some(3))
        );
        session.settle(2);
        assert_eq!(session.lowest(), 1);
        session.settle(1);
        assert_eq!(session.lowest(), 3);
        session.settle(3);
        assert_eq!(session.lowest(), 4);
    }

    #[test]
    fn a_write_waits_where_the_window_is_full() {
        let mut session = session();
        assert!((1..=WINDOW).all(|it| session.number() == Some(it)));
        assert_eq!(session.number(), None);
        session.settle(2);
        assert_eq!(session.number(), None);
        session.settle(1);
        assert_eq!(session.number(), Some(WINDOW + 1));
    }

    #[test]
    fn it_is_idle_only_while_nothing_is_in_flight() {
        let mut session = session();
        let later = session.used + Duration::from_secs(301);
        assert!(session.is_idle(later));
        session.number();
        assert!(!session.is_idle(later));
    }
}
