//! A first walk: `cargo run --example greeting -- 127.0.0.1:3000 ../../.local/certs`, beside
//! `make run`.

use std::path::Path;

use dkv::{Client, Credentials, Error, Keys};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    let certs = arguments.next().unwrap_or_else(|| ".local/certs".into());
    let at = |name: &str| Path::new(&certs).join(name);
    let identity = Credentials::read(at("trust"), at("admin.cert"), at("admin.key"))?;
    let kv = Client::connect([endpoint], identity)?;

    let revision = kv.put("greeting", "hello").wait()?;
    kv.put("greeting", "hi").expected(revision).wait()?;
    match kv.put("greeting", "too late").expected(revision).wait() {
        Err(error) if error.conflict().is_some() => println!("somebody was faster: {error}"),
        other => println!("unexpected: {other:?}"),
    }
    for item in kv.list(Keys::prefix("greet")).wait()?.items {
        let value = item.value.unwrap_or_default();
        println!("{} = {}", String::from_utf8_lossy(&item.key), String::from_utf8_lossy(&value));
    }
    kv.delete("greeting").wait()?;
    Ok(())
}
