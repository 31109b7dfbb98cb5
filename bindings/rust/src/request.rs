//! Requests as a program builds them, and their results.
//!
//! Owns the translation between Rust's types and the protocol's fields. It knows nothing of nodes,
//! attempts and sessions.

use std::time::{Duration, Instant};

use rmpv::{Value, ValueRef};

use crate::call::{Call, Kind, Owner};
use crate::client::Client;
use crate::error::{Applied, Error, Failure, Result, Retry};
use crate::pending::{self, Pending};
use crate::wire::{self, bytes, Fields, Reply};

/// A key and what is known of it. `value` is `None` in a list of keys only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    /// The revision of its last put.
    pub key_revision: u64,
    /// The revision at which it came to be.
    pub created: u64,
    /// How many times it was put since then, from 1.
    pub version: u64,
    /// The certificate name that put it; empty in a list.
    pub author: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub deleted: bool,
    /// At which revision the key was; 0 if it was absent.
    pub key_revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub items: Vec<Item>,
    /// The store's revision that all items are of.
    pub revision: u64,
}

#[derive(Clone, Debug)]
pub struct Status {
    /// Who answered.
    pub node: String,
    /// Its maps `node`, `gateway`, `consensus`, `log` and `machine`.
    pub fields: Value,
}

/// Which keys a list is of.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    prefix: Option<Vec<u8>>,
    start: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
}

impl Keys {
    /// Every key.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those that begin so.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Keys { prefix: Some(prefix.into()), ..Self::default() }
    }

    /// From this one on, itself included.
    pub fn from(start: impl Into<Vec<u8>>) -> Self {
        Keys { start: Some(start.into()), ..Self::default() }
    }

    /// Up to this one, which is not included.
    #[must_use]
    pub fn until(mut self, end: impl Into<Vec<u8>>) -> Self {
        self.end = Some(end.into());
        self
    }
}

type Convert<T> = Box<dyn FnOnce(&mut Fields, &str) -> Option<T> + Send>;

/// Starts a call whose reply `convert` reads.
fn start<T: Send + 'static>(
    client: &Client,
    mut call: impl FnMut(Owner) -> Call,
    applied: Applied,
    convert: impl FnOnce(Reply) -> Option<T> + Send + 'static,
) -> Pending<T> {
    let (promise, pending) = pending::pair(applied);
    let done = move |outcome: Result<Reply>| {
        promise.settle(outcome.and_then(|reply| {
            convert(reply).ok_or_else(|| {
                let words =
                    "The node's answer lacks a field. Compare its version with the client's.";
                let mut failure = Failure::new("bad_reply", Retry::Never, words);
                failure.applied = applied;
                Error::from(failure)
            })
        }));
    };
    client.submit(call(Owner::Application(Box::new(done))));
    pending
}

/// A write that has not been sent yet.
#[must_use = "nothing is sent before `wait` or `send`"]
pub struct Write<'a, T> {
    client: &'a Client,
    op: &'static str,
    key: &'a [u8],
    value: Option<&'a [u8]>,
    expected: Option<u64>,
    in_session: bool,
    timeout: Option<Duration>,
    convert: fn(&Fields) -> Option<T>,
}

impl<'a> Write<'a, u64> {
    pub(crate) fn put(client: &'a Client, key: &'a [u8], value: &'a [u8]) -> Self {
        Self::new(client, "put", key, Some(value), |it| it.int("key_revision"))
    }
}

impl<'a> Write<'a, Deleted> {
    pub(crate) fn delete(client: &'a Client, key: &'a [u8]) -> Self {
        Self::new(client, "delete", key, None, |it| {
            let key_revision = it.int("key_revision")?;
            Some(Deleted { deleted: it.int("deleted")? > 0, key_revision })
        })
    }
}

impl<'a, T: Send + 'static> Write<'a, T> {
    fn new(
        client: &'a Client,
        op: &'static str,
        key: &'a [u8],
        value: Option<&'a [u8]>,
        convert: fn(&Fields) -> Option<T>,
    ) -> Self {
        Write { client, op, key, value, expected: None, in_session: true, timeout: None, convert }
    }

    /// Only if the key is at this revision; 0: only if it is absent. Otherwise it is `Rejected`, and
    /// [`Error::conflict`] says where the key is.
    pub fn expected(mut self, revision: u64) -> Self {
        self.expected = Some(revision);
        self
    }

    /// Outside the client's session: sent again only where a node says that it did nothing, so that
    /// its outcome is `Unknown` after any silence.
    pub fn without_session(mut self) -> Self {
        self.in_session = false;
        self
    }

    /// The call's deadline, retries included.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it, to be waited for later. What is sent together is executed in any order.
    pub fn send(self) -> Pending<T> {
        let value = self.value.map_or(ValueRef::Nil, ValueRef::Binary);
        let expected = self.expected.map_or(ValueRef::Nil, ValueRef::from);
        let key = ValueRef::Binary(self.key);
        let mut command =
            wire::command(self.op, &[("key", key), ("value", value), ("expected", expected)]);
        let kind = if self.in_session { Kind::Write } else { Kind::Single };
        let deadline = self.client.deadline(self.timeout);
        let convert = self.convert;
        let call = |owner| Call::new(kind, std::mem::take(&mut command), deadline, owner);
        start(self.client, call, Applied::Unknown, move |reply| convert(&reply.outcome.ok()?))
    }

    /// Sends it, and waits for its outcome.
    pub fn wait(self) -> Result<T> {
        self.send().wait()
    }
}

/// A read that has not been sent yet.
#[must_use = "nothing is sent before `wait` or `send`"]
pub struct Read<'a, T> {
    client: &'a Client,
    command: Vec<u8>,
    serializable: bool,
    timeout: Option<Duration>,
    convert: Convert<T>,
}

impl<'a> Read<'a, Option<Item>> {
    pub(crate) fn get(client: &'a Client, key: &'a [u8]) -> Self {
        let command = wire::command("get", &[("key", ValueRef::Binary(key))]);
        let key = key.to_vec();
        Self::new(
            client,
            command,
            Box::new(move |fields, _| {
                if !fields.flag("found")? {
                    return Some(None);
                }
                Some(Some(Item {
                    key,
                    value: Some(fields.take_bytes("value")?),
                    key_revision: fields.int("key_revision")?,
                    created: fields.int("created")?,
                    version: fields.int("version")?,
                    author: fields.text("author").into(),
                }))
            }),
        )
    }
}

impl<'a> Read<'a, Status> {
    pub(crate) fn status(client: &'a Client) -> Self {
        Self::new(
            client,
            wire::command("status", &[]),
            Box::new(|fields, node| {
                let fields = std::mem::replace(fields, Fields::of(Value::Map(vec![]))?);
                Some(Status { node: node.into(), fields: fields.into_value() })
            }),
        )
    }
}

impl<'a, T: Send + 'static> Read<'a, T> {
    fn new(client: &'a Client, command: Vec<u8>, convert: Convert<T>) -> Self {
        let (serializable, timeout) = (false, None);
        Read { client, command, serializable, timeout, convert }
    }

    /// What the asked node has, as it is, instead of every write acknowledged before.
    pub fn serializable(mut self) -> Self {
        self.serializable = true;
        self
    }

    /// The call's deadline, retries included.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it, to be waited for later.
    pub fn send(self) -> Pending<T> {
        let deadline = self.client.deadline(self.timeout);
        let (mut command, convert) = (self.command, self.convert);
        let call = |owner| {
            let mut call = Call::new(Kind::Read, std::mem::take(&mut command), deadline, owner);
            call.serializable = self.serializable;
            call
        };
        start(self.client, call, Applied::No, move |reply| {
            convert(&mut reply.outcome.ok()?, &reply.node)
        })
    }

    /// Sends it, and waits for the answer.
    pub fn wait(self) -> Result<T> {
        self.send().wait()
    }
}

/// A list that has not been asked for yet.
#[must_use = "nothing is sent before `wait`"]
pub struct List<'a> {
    client: &'a Client,
    keys: Keys,
    page: u64,
    keys_only: bool,
    serializable: bool,
    timeout: Option<Duration>,
}

struct Page {
    items: Vec<Item>,
    token: Option<Vec<u8>>,
    revision: u64,
    node: String,
}

impl<'a> List<'a> {
    pub(crate) fn new(client: &'a Client, keys: Keys) -> Self {
        let (keys_only, serializable, timeout) = (false, false, None);
        List { client, keys, page: 1000, keys_only, serializable, timeout }
    }

    /// Keys asked for at a time, 1 to 10,000; 1,000 if this is not called.
    pub fn page(mut self, keys: u64) -> Self {
        self.page = keys;
        self
    }

    /// Leaves out the values.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// What the asked node has, as it is, instead of every write acknowledged before.
    pub fn serializable(mut self) -> Self {
        self.serializable = true;
        self
    }

    /// The deadline for all pages together.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Asks for all pages.
    pub fn wait(self) -> Result<Listing> {
        let deadline = self.client.deadline(self.timeout);
        let mut page = self.ask(None, None, deadline)?;
        let mut items = std::mem::take(&mut page.items);
        while let Some(token) = page.token.take() {
            page = self.ask(Some(token), Some(page.node), deadline)?;
            items.append(&mut page.items);
        }
        Ok(Listing { items, revision: page.revision })
    }

    /// The pages of a serializable list are of one node: another may be behind its token.
    fn ask(&self, token: Option<Vec<u8>>, node: Option<String>, deadline: Instant) -> Result<Page> {
        fn given(bytes: &Option<Vec<u8>>) -> ValueRef<'_> {
            bytes.as_deref().map_or(ValueRef::Nil, ValueRef::Binary)
        }
        let keys_only = if self.keys_only { ValueRef::Boolean(true) } else { ValueRef::Nil };
        let mut command = wire::command(
            "list",
            &[
                ("prefix", given(&self.keys.prefix)),
                ("start", given(&self.keys.start)),
                ("end", given(&self.keys.end)),
                ("limit", self.page.into()),
                ("token", given(&token)),
                ("keys_only", keys_only),
            ],
        );
        let call = |owner| {
            let mut call = Call::new(Kind::Read, std::mem::take(&mut command), deadline, owner);
            call.serializable = self.serializable;
            call.node.clone_from(&node);
            call
        };
        start(self.client, call, Applied::No, page).wait()
    }
}

fn page(reply: Reply) -> Option<Page> {
    let mut fields = reply.outcome.ok()?;
    let Some(Value::Array(items)) = fields.take("items") else {
        return None;
    };
    let items = items.into_iter().map(item).collect::<Option<_>>()?;
    let token = fields.take_bytes("token");
    Some(Page { items, token, revision: reply.revision, node: reply.node })
}

fn item(value: Value) -> Option<Item> {
    let Value::Array(fields) = value else {
        return None;
    };
    let mut fields = fields.into_iter();
    Some(Item {
        key: bytes(fields.next()?)?,
        value: bytes(fields.next()?),
        key_revision: fields.next()?.as_u64()?,
        created: fields.next()?.as_u64()?,
        version: fields.next()?.as_u64()?,
        author: String::new(),
    })
}
