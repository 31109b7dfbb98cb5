//! The client: what a program calls.
//!
//! Owns the one thread that owns every socket. Sessions, retries, certificates and finding the
//! leader are that thread's affair.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::call::Call;
use crate::credentials::Credentials;
use crate::engine::{Engine, Inbox};
use crate::error::{Error, Result};
use crate::nodes::Nodes;
use crate::request::{Deleted, Item, Keys, List, Read, Status, Write};

const TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one cluster, to be shared by all threads of a program.
///
/// Every request is a small builder: refine it, then [`wait`](Write::wait) for its outcome or
/// [`send`](Write::send) it and wait later. What is sent at the same time travels in one message;
/// at most 4,096 calls may be outstanding (beyond: `Rejected`, `busy`). Keys and values are bytes.
/// Dropping the client ends every call that is under way and closes the session, within half a
/// second.
pub struct Client {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
    timeout: Duration,
}

impl Client {
    /// A client of the cluster of these nodes, each `host:port`; one is enough, the others are
    /// learned. Waits for nothing: if no node can be reached, calls say why.
    pub fn connect<I>(endpoints: I, credentials: Credentials) -> Result<Self>
    where
        I: IntoIterator<Item: Into<String>>,
    {
        Self::start(endpoints, Some(Arc::new(credentials)))
    }

    /// A client of a cluster without encryption.
    pub fn connect_insecure<I>(endpoints: I) -> Result<Self>
    where
        I: IntoIterator<Item: Into<String>>,
    {
        Self::start(endpoints, None)
    }

    fn start<I>(endpoints: I, credentials: Option<Arc<Credentials>>) -> Result<Self>
    where
        I: IntoIterator<Item: Into<String>>,
    {
        let endpoints: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        if endpoints.is_empty() {
            return Err(Error::rejected("bad_request", "Name at least one node, as host:port."));
        }
        for address in &endpoints {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() {
                let words = format!("'{address}' is no address. Write host:port.");
                return Err(Error::rejected("bad_request", words));
            }
        }
        let exhausted = |why: String| {
            Error::rejected("lost", format!("The client cannot start: {why}. Free some resources."))
        };
        let context = zmq::Context::new();
        let (inbox, woken) = Inbox::new(&context).map_err(|it| exhausted(it.to_string()))?;
        let inbox = Arc::new(inbox);
        let nodes = Nodes::new(context, &endpoints, credentials.clone());
        let engine = Engine::new(inbox.clone(), woken, nodes, credentials);
        let thread = thread::Builder::new().name("dkv".into()).spawn(move || engine.run());
        let thread = Some(thread.map_err(|it| exhausted(it.to_string()))?);
        Ok(Client { inbox, thread, timeout: TIMEOUT })
    }

    /// The deadline of calls that name none, retries included; 5 s if this is not called.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Puts a key. Its outcome is the key's new revision.
    pub fn put<'a, K, V>(&'a self, key: &'a K, value: &'a V) -> Write<'a, u64>
    where
        K: AsRef<[u8]> + ?Sized,
        V: AsRef<[u8]> + ?Sized,
    {
        Write::put(self, key.as_ref(), value.as_ref())
    }

    /// Deletes a key. Its outcome says whether there was one.
    pub fn delete<'a, K>(&'a self, key: &'a K) -> Write<'a, Deleted>
    where
        K: AsRef<[u8]> + ?Sized,
    {
        Write::delete(self, key.as_ref())
    }

    /// Gets a key; `None` if it is absent.
    pub fn get<'a, K>(&'a self, key: &'a K) -> Read<'a, Option<Item>>
    where
        K: AsRef<[u8]> + ?Sized,
    {
        Read::get(self, key.as_ref())
    }

    /// Lists keys in their order, all of one revision, held in memory.
    pub fn list(&self, keys: Keys) -> List<'_> {
        List::new(self, keys)
    }

    /// How the answering node is.
    pub fn status(&self) -> Read<'_, Status> {
        Read::status(self)
    }

    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + timeout.unwrap_or(self.timeout)
    }

    pub(crate) fn submit(&self, call: Call) {
        self.inbox.submit(call);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.inbox.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // one that has panicked has ended, too
        }
    }
}
