//! The conformance kit's hand inside this binding: does what a line of stdin says with the ordinary
//! calls of the library, a thread a line, and writes what came of it to stdout. It adds nothing.

use std::env;
use std::io::{self, BufRead, Write as _};
use std::thread;
use std::time::Duration;

use dkv::{Client, Credentials, Error, Item, Keys};
use serde_json::{json, Value};

fn main() {
    let client = client_of_environment();
    let name = concat!("dkv-rust ", env!("CARGO_PKG_VERSION"));
    say(&json!({"ready": name, "outstanding": 64}));
    thread::scope(|scope| {
        for text in io::stdin().lock().lines().map_while(Result::ok) {
            let client = client.as_ref();
            scope.spawn(move || {
                let line: Value = serde_json::from_str(&text).expect("a line of JSON");
                let answer = client.map_err(Clone::clone).and_then(|it| carry_out(it, &line));
                let (field, said) = match answer {
                    Ok(ok) => ("ok", ok),
                    Err(error) => ("error", told(&error)),
                };
                say(&json!({"n": line["n"], field: said}));
            });
        }
    });
}

fn say(line: &Value) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody reads this");
}

fn client_of_environment() -> dkv::Result<Client> {
    let given = |name: &str| env::var(name).unwrap_or_default();
    let endpoints: Vec<_> = given("DKV_ENDPOINTS").split(',').map(String::from).collect();
    let timeout_ms = given("DKV_TIMEOUT_MS").parse().unwrap_or(5000);
    let client = if given("DKV_INSECURE") == "1" {
        Client::connect_insecure(endpoints)?
    } else {
        let (trust, certificate) = (given("DKV_TRUST"), given("DKV_CERTIFICATE"));
        Client::connect(endpoints, Credentials::read(trust, certificate, given("DKV_KEY"))?)?
    };
    Ok(client.with_timeout(Duration::from_millis(timeout_ms)))
}

fn carry_out(client: &Client, line: &Value) -> dkv::Result<Value> {
    let key = bytes(&line["key"]).unwrap_or_default();
    let value = bytes(&line["value"]).unwrap_or_default();
    match line["op"].as_str() {
        Some("put") => {
            let key_revision = refined(client.put(&key, &value), line).wait()?;
            Ok(json!({"key_revision": key_revision}))
        }
        Some("delete") => {
            let done = refined(client.delete(&key), line).wait()?;
            Ok(json!({"deleted": u8::from(done.deleted), "key_revision": done.key_revision}))
        }
        Some("get") => {
            let mut get = client.get(&key);
            if let Some(timeout) = timeout(line) {
                get = get.timeout(timeout);
            }
            if line["level"] == "serializable" {
                get = get.serializable();
            }
            Ok(get.wait()?.map_or(json!({"found": false}), found))
        }
        Some("list") => list(client, line),
        _ => {
            let status = client.status();
            let status = match timeout(line) {
                Some(timeout) => status.timeout(timeout),
                None => status,
            };
            Ok(json!({"node": status.wait()?.node}))
        }
    }
}

fn refined<'a, T: Send + 'static>(mut write: dkv::Write<'a, T>, line: &Value) -> dkv::Write<'a, T> {
    if let Some(expected) = line["expected"].as_u64() {
        write = write.expected(expected);
    }
    if line["session"] == false {
        write = write.without_session();
    }
    match timeout(line) {
        Some(timeout) => write.timeout(timeout),
        None => write,
    }
}

fn list(client: &Client, line: &Value) -> dkv::Result<Value> {
    let keys = match (bytes(&line["prefix"]), bytes(&line["start"]), bytes(&line["end"])) {
        (Some(prefix), _, _) => Keys::prefix(prefix),
        (None, start, end) => {
            let keys = start.map_or_else(Keys::all, Keys::from);
            end.map_or(keys.clone(), |end| keys.until(end))
        }
    };
    let mut list = client.list(keys);
    if let Some(limit) = line["limit"].as_u64() {
        list = list.page(limit);
    }
    if let Some(timeout) = timeout(line) {
        list = list.timeout(timeout);
    }
    if line["level"] == "serializable" {
        list = list.serializable();
    }
    let listing = list.wait()?;
    let items: Vec<_> = listing
        .items
        .iter()
        .map(|it| {
            json!([
                hex(&it.key),
                it.value.as_deref().map(hex),
                it.key_revision,
                it.created,
                it.version
            ])
        })
        .collect();
    Ok(json!({"items": items, "revision": listing.revision}))
}

fn found(item: Item) -> Value {
    json!({
        "found": true, "value": item.value.as_deref().map(hex), "author": item.author,
        "key_revision": item.key_revision, "created": item.created, "version": item.version,
    })
}

fn told(error: &Error) -> Value {
    let class = match error {
        Error::Rejected(_) => "rejected",
        Error::Unknown(_) => "uncertain",
    };
    let failure = error.failure();
    json!({
        "class": class, "code": failure.code, "applied": failure.applied.as_str(),
        "retry": failure.retry.as_str(), "leader": failure.leader, "words": failure.words,
        "key_revision": failure.key_revision,
    })
}

fn timeout(line: &Value) -> Option<Duration> {
    line["timeout_ms"].as_u64().map(Duration::from_millis)
}

fn bytes(hex: &Value) -> Option<Vec<u8>> {
    let hex = hex.as_str()?;
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits");
    Some((0..hex.len()).step_by(2).map(byte).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}
