//! The nodes that are known: who leads, who is well, whom to ask.
//!
//! Owns the connections and the choice among them. It knows nothing of calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rmpv::Value;
use zmq::{Context, PollItem};

use crate::connection::{Change, Connection};
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::wire::Fields;

const CONNECTIONS_MAX: usize = 16;
const AVOID: Duration = Duration::from_secs(2);

pub(crate) struct Nodes {
    context: Context,
    credentials: Option<Arc<Credentials>>,
    all: Vec<Connection>,
    leader: String,
    last_id: u64,
    turn: usize,
}

impl Nodes {
    pub fn new(
        context: Context,
        endpoints: &[String],
        credentials: Option<Arc<Credentials>>,
    ) -> Self {
        let leader = String::new();
        let mut nodes = Nodes { context, credentials, all: vec![], leader, last_id: 0, turn: 0 };
        for address in endpoints {
            nodes.add(address, true);
        }
        nodes
    }

    fn add(&mut self, address: &str, configured: bool) {
        if self.all.iter().all(|it| it.address != address) {
            self.last_id += 1;
            let now = Instant::now();
            self.all.push(Connection::new(self.last_id, address, configured, now));
        }
    }

    pub fn ids(&self) -> Vec<u64> {
        self.all.iter().map(|it| it.id).collect()
    }

    pub fn get(&mut self, id: u64) -> Option<&mut Connection> {
        self.all.iter_mut().find(|it| it.id == id)
    }

    pub fn poll_items(&self) -> impl Iterator<Item = PollItem<'_>> {
        self.all.iter().flat_map(Connection::poll_items)
    }

    pub fn watch(&mut self, id: u64, now: Instant) -> Option<Change> {
        let connection = self.all.iter_mut().find(|it| it.id == id)?;
        connection.watch(&self.context, self.credentials.as_ref(), now)
    }

    pub fn next_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// The best node to ask now. Writes go to the leader, if it is known and well; reads to one
    /// after the other, a node a turn.
    pub fn choose(&self, write: bool, preferred: Option<&str>, now: Instant) -> Option<u64> {
        if let Some(preferred) =
            preferred.and_then(|it| self.by_name(it)).filter(|it| it.is_ready())
        {
            return Some(preferred.id);
        }
        let well = |it: &&Connection| it.is_ready() && now >= it.avoid_until;
        if let Some(leader) = self.by_name(&self.leader).filter(|it| write && well(it)) {
            return Some(leader.id);
        }
        let (after, before) = self.all.split_at(self.turn % self.all.len());
        let ready = || before.iter().chain(after).filter(|it| it.is_ready());
        let found = ready().find(well).or_else(|| ready().min_by_key(|it| it.avoid_until));
        found.map(|it| it.id)
    }

    /// Prefers others to it for a while.
    pub fn avoid(&mut self, id: u64, now: Instant) {
        if let Some(connection) = self.get(id) {
            connection.avoid_until = now + AVOID;
        }
    }

    /// What a refusal said of the leader.
    pub fn hint(&mut self, failure: &Failure) {
        if !failure.leader.is_empty() || matches!(failure.code.as_str(), "not_leader" | "no_leader")
        {
            self.leader.clone_from(&failure.leader);
        }
    }

    /// Takes the result of `members`. Returns the connections that are no longer needed.
    pub fn learn(&mut self, result: &Fields) -> Vec<u64> {
        self.leader = result.text("leader").into();
        let Some(Value::Array(members)) = result.get("members") else {
            return Vec::new();
        };
        let members = members.iter().filter_map(|it| Fields::of(it.clone()));
        let known: Vec<_> = members
            .map(|it| (it.text("name").to_string(), it.text("client_address").to_string()))
            .filter(|(_, address)| !address.is_empty())
            .collect();
        if known.is_empty() {
            return Vec::new();
        }
        for (name, address) in &known {
            // A node may be known under another address than the one that it advertises.
            if self.by_name(name).is_none() && self.all.len() < CONNECTIONS_MAX {
                self.add(address, false);
            }
        }
        let needed =
            |it: &Connection| it.configured || known.iter().any(|(_, at)| *at == it.address);
        self.all.iter().filter(|it| !needed(it)).map(|it| it.id).collect()
    }

    pub fn remove(&mut self, id: u64) {
        self.all.retain(|it| it.id != id);
    }

    pub fn leader_is_ready(&self) -> bool {
        self.by_name(&self.leader).is_some_and(Connection::is_ready)
    }

    /// Why none of them answers, for a person.
    pub fn trouble(&self) -> String {
        let secured = self.credentials.is_some();
        let each: Vec<_> = self.all.iter().map(|it| it.trouble(secured)).collect();
        format!("No node has answered in time: {}.", each.join("; "))
    }

    fn by_name(&self, name: &str) -> Option<&Connection> {
        self.all.iter().find(|it| it.name.as_deref() == Some(name))
    }
}
