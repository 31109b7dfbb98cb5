//! Bytes: commands and requests as the protocol wants them, and what a node's frames say.
//!
//! Owns the shapes on the wire. It never sends, and it trusts nothing it reads: whatever does not
//! have the shape of a reply is nothing.

use rmpv::{Value, ValueRef};

use crate::error::{Applied, Failure, Retry};

const PROTOCOL: &[u8] = b"DKV1";
const ID_BYTES: usize = 8;
const DEPTH_MAX: usize = 64;

/// One reply to one request.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The id of the message that it answers.
    pub message: u64,
    pub position: Option<usize>,
    pub outcome: Result<Fields, Failure>,
    pub revision: u64,
    pub node: String,
}

/// A map as a node has said it. A field of another type than asked for is as if it were absent.
#[derive(Debug)]
pub(crate) struct Fields(Vec<(Value, Value)>);

impl Fields {
    pub fn of(value: Value) -> Option<Self> {
        match value {
            Value::Map(fields) => Some(Fields(fields)),
            _ => None,
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        let field = self.0.iter().find(|(key, _)| key.as_str() == Some(name));
        field.map(|(_, value)| value).filter(|it| !it.is_nil())
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(key, _)| key.as_str() == Some(name))?;
        Some(self.0.swap_remove(at).1).filter(|it| !it.is_nil())
    }

    pub fn int(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)?.as_bool()
    }

    pub fn text(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or("")
    }

    pub fn take_bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        self.take(name).and_then(bytes)
    }

    pub fn take_map(&mut self, name: &str) -> Option<Fields> {
        self.take(name).and_then(Fields::of)
    }

    pub fn into_value(self) -> Value {
        Value::Map(self.0)
    }
}

pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Binary(bytes) => Some(bytes),
        _ => None,
    }
}

/// What a field of a request or a command can be.
pub(crate) type Given<'a> = ValueRef<'a>;

fn map<'a>(fields: &[(&'a str, Given<'a>)]) -> ValueRef<'a> {
    let present = fields.iter().filter(|(_, value)| *value != ValueRef::Nil);
    ValueRef::Map(present.map(|(name, value)| ((*name).into(), value.clone())).collect())
}

fn pack(value: &ValueRef<'_>, into: &mut Vec<u8>) {
    rmpv::encode::write_value_ref(into, value).expect("memory takes every byte");
}

/// A command's bytes: packed once, for they are the same in every attempt. Nil fields are left out.
pub(crate) fn command(op: &str, fields: &[(&str, Given<'_>)]) -> Vec<u8> {
    let mut all = vec![("op", ValueRef::from(op))];
    all.extend_from_slice(fields);
    let mut packed = Vec::new();
    pack(&map(&all), &mut packed);
    packed
}

/// What surrounds a command in one attempt.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    pub command: &'a [u8],
    pub ttl_ms: u64,
    pub session: Option<u64>,
    /// This write's sequence, and the lowest without an answer.
    pub place: Option<(u64, u64)>,
    pub retry: bool,
    pub serializable: bool,
    pub burst: bool,
}

impl<'a> Request<'a> {
    fn value(&self) -> ValueRef<'a> {
        let int = |number: Option<u64>| number.map_or(ValueRef::Nil, ValueRef::from);
        let set = |is: bool, value: ValueRef<'static>| if is { value } else { ValueRef::Nil };
        map(&[
            ("command", ValueRef::Binary(self.command)),
            ("session", int(self.session)),
            ("sequence", int(self.place.map(|it| it.0))),
            ("lowest", int(self.place.map(|it| it.1))),
            ("retry", set(self.retry, ValueRef::Boolean(true))),
            ("ttl_ms", self.ttl_ms.into()),
            ("level", set(self.serializable, "serializable".into())),
            ("burst", set(self.burst, ValueRef::Boolean(true))),
        ])
    }
}

/// A joined frame: `DKV1`, the id, and one request or an array of them.
pub(crate) fn frame(id: u64, requests: &[Request<'_>]) -> Vec<u8> {
    let mut frame = PROTOCOL.to_vec();
    frame.push(ID_BYTES as u8);
    frame.extend_from_slice(&id.to_be_bytes());
    match requests {
        [request] => pack(&request.value(), &mut frame),
        _ => pack(&ValueRef::Array(requests.iter().map(Request::value).collect()), &mut frame),
    }
    frame
}

/// Every reply of a message, joined or in three frames, burst or not.
pub(crate) fn replies(frames: &[Vec<u8>]) -> Vec<Reply> {
    let Some((id, mut body)) = split(frames) else {
        return Vec::new();
    };
    match rmpv::decode::read_value_with_max_depth(&mut body, DEPTH_MAX) {
        Ok(Value::Array(all)) => all.into_iter().filter_map(|it| reply(it, None)).collect(),
        Ok(one) => reply(one, number(id)).into_iter().collect(),
        Err(_) => Vec::new(), // nothing that a node of dkv has said
    }
}

fn split(frames: &[Vec<u8>]) -> Option<(&[u8], &[u8])> {
    match frames {
        [protocol, id, body] if protocol == PROTOCOL => Some((id, body)),
        [joined] => {
            let (length, rest) = joined.strip_prefix(PROTOCOL)?.split_first()?;
            rest.split_at_checked(usize::from(*length))
        }
        _ => None,
    }
}

fn number(id: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(id.try_into().ok()?))
}

fn reply(said: Value, id: Option<u64>) -> Option<Reply> {
    let mut said = Fields::of(said)?;
    if said.flag("partial") == Some(true) {
        return None;
    }
    let message = match id {
        Some(id) => id,
        None => number(&said.take_bytes("id")?)?,
    };
    let position = match said.get("position") {
        Some(position) => Some(usize::try_from(position.as_u64()?).ok()?),
        None => None,
    };
    let outcome = match said.take_map("result") {
        Some(result) => Ok(result),
        None => Err(failure(&said.take_map("error")?)),
    };
    let revision = said.int("revision").unwrap_or(0);
    Some(Reply { message, position, outcome, revision, node: said.text("node").into() })
}

/// What says neither of the two definite words claims nothing.
fn failure(error: &Fields) -> Failure {
    Failure {
        code: error.text("code").into(),
        applied: match error.text("applied") {
            "no" => Applied::No,
            "yes" => Applied::Yes,
            _ => Applied::Unknown,
        },
        retry: match error.text("retry") {
            "same" => Retry::Same,
            "later" => Retry::Later,
            "other" => Retry::Other,
            _ => Retry::Never,
        },
        leader: error.text("leader").into(),
        words: error.text("words").into(),
        key_revision: error.int("key_revision"),
    }
}

#[cfg(test)]
#[path = "wire_test.rs"]
mod tests;
