//! What the programs share: where the cluster is, and as whom, from the environment
//! (`DKV_ENDPOINTS`, `DKV_TRUST`, `DKV_CERTIFICATE`, `DKV_KEY`); and `--NAME N` options.

use std::env;

use dkv::{Client, Credentials};

pub fn client() -> dkv::Result<Client> {
    let given = |name: &str| env::var(name).unwrap_or_default();
    let endpoints: Vec<_> = given("DKV_ENDPOINTS").split(',').map(String::from).collect();
    let (trust, certificate, key) =
        (given("DKV_TRUST"), given("DKV_CERTIFICATE"), given("DKV_KEY"));
    Client::connect(endpoints, Credentials::read(trust, certificate, key)?)
}

pub fn number(name: &str, default: u64) -> u64 {
    let mut arguments = env::args().skip_while(|it| it.strip_prefix("--") != Some(name));
    let given = arguments.nth(1);
    given.map_or(default, |it| it.parse().expect("a whole number follows the option"))
}
