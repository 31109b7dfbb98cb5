//! What was sent and is not answered: under which id, to which node, for which calls.
//!
//! Owns the ids, each of which is used for one message only, so that a late reply is known for what
//! it is. It never sends, and decides nothing of a call.

use std::collections::HashMap;
use std::time::Instant;

pub(crate) struct Message {
    /// Where it went.
    pub connection: u64,
    pub sent: Instant,
    /// Calls by their position; none: answered, or settled otherwise. Empty: a `present`.
    calls: Vec<Option<u64>>,
    left: usize,
}

impl Message {
    pub fn is_present(&self) -> bool {
        self.calls.is_empty()
    }
}

#[derive(Default)]
pub(crate) struct InFlight {
    messages: HashMap<u64, Message>,
    last_id: u64,
}

impl InFlight {
    pub fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub fn add(&mut self, id: u64, connection: u64, sent: Instant, calls: &[u64]) {
        let calls: Vec<_> = calls.iter().copied().map(Some).collect();
        let left = calls.len();
        self.messages.insert(id, Message { connection, sent, calls, left });
    }

    pub fn get(&self, id: u64) -> Option<&Message> {
        self.messages.get(&id)
    }

    pub fn remove(&mut self, id: u64) {
        self.messages.remove(&id);
    }

    /// Takes the calls that a reply is of out of their message. An error without a position is that
    /// of every request of an array.
    pub fn take(&mut self, id: u64, position: Option<usize>, is_error: bool) -> Vec<u64> {
        let Some(message) = self.messages.get(&id) else {
            return Vec::new();
        };
        let positions = match position {
            Some(position) => position..position.saturating_add(1),
            None if message.calls.len() == 1 || is_error => 0..message.calls.len(),
            None => 0..0,
        };
        positions.filter_map(|at| self.take_one(id, at)).collect()
    }

    pub fn take_one(&mut self, id: u64, position: usize) -> Option<u64> {
        let message = self.messages.get_mut(&id)?;
        let call = message.calls.get_mut(position)?.take()?;
        message.left -= 1;
        if message.left == 0 {
            self.messages.remove(&id);
        }
        Some(call)
    }

    /// Forgets what was sent there. Returns the messages, each with the calls not answered.
    pub fn lost(&mut self, connection: u64) -> Vec<(u64, Vec<u64>)> {
        let gone = self.messages.extract_if(|_, it| it.connection == connection);
        gone.map(|(id, it)| (id, it.calls.into_iter().flatten().collect())).collect()
    }
}
