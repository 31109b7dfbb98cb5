//! Counts by compare-and-put while nodes die, and says whether every acknowledged step is there.
//!
//! Each of `--counters` keys is incremented by a thread of its own. A step that was acknowledged
//! counts as 1; one whose outcome is unknown is looked up before the next, as an application must.
//! At the end each counter must be exactly what its thread expects: prints `exact`, ends with 0.

mod arguments;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use arguments::number;
use dkv::{Client, Error};

const READS_MAX: u32 = 20;

#[derive(Default)]
struct Tally {
    acknowledged: u64,
    unknown: u64,
    refused: u64,
}

fn main() -> Result<ExitCode, Error> {
    let kv = arguments::client()?;
    let stop_at = Instant::now() + Duration::from_secs(number("seconds", 20));
    let counters: Vec<_> = (0..number("counters", 4)).map(|it| format!("counter/{it}")).collect();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let kv = &kv;
        let start = |key| scope.spawn(move || count(kv, key, stop_at));
        let threads: Vec<_> = counters.iter().map(start).collect();
        threads.into_iter().map(|it| it.join().expect("a counter's thread")).collect()
    });
    let mut sum = Tally::default();
    let mut exact = true;
    for outcome in outcomes {
        match outcome {
            Ok(tally) => {
                sum.acknowledged += tally.acknowledged;
                sum.unknown += tally.unknown;
                sum.refused += tally.refused;
            }
            Err(words) => {
                eprintln!("{words}");
                exact = false;
            }
        }
    }
    println!(
        "{}: {} acknowledged, {} unknown, {} refused",
        if exact { "exact" } else { "NOT EXACT" },
        sum.acknowledged,
        sum.unknown,
        sum.refused
    );
    Ok(if exact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A failed condition ends the run: nobody else writes this key, so a step has happened twice, or
/// one was lost.
fn count(kv: &Client, key: &String, stop_at: Instant) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let (mut expected, mut revision) = read(kv, key)?;
    while Instant::now() < stop_at {
        match kv.put(key, &(expected + 1).to_string()).expected(revision).wait() {
            Ok(at) => {
                tally.acknowledged += 1;
                (expected, revision) = (expected + 1, at);
            }
            Err(error) if error.conflict().is_some() => {
                let Tally { acknowledged, unknown, refused } = tally;
                let (found, at) = read(kv, key)?;
                return Err(format!(
                    "{key}: {error} It is {found} at {at}, expected {expected} at {revision}, after \
                     {acknowledged} acknowledged, {unknown} unknown, {refused} refused"
                ));
            }
            Err(Error::Rejected(_)) => tally.refused += 1,
            Err(Error::Unknown(_)) => {
                tally.unknown += 1;
                let (found, at) = read(kv, key)?;
                if found != expected && found != expected + 1 {
                    return Err(format!("{key} is at {found}, expected {expected}"));
                }
                (expected, revision) = (found, at);
            }
        }
    }
    match read(kv, key)?.0 {
        last if last == expected => Ok(tally),
        last => Err(format!("{key} is at {last}, expected {expected}")),
    }
}

/// Reads until it can: the cluster may be without a leader for longer than a call's deadline.
fn read(kv: &Client, key: &String) -> Result<(u64, u64), String> {
    let mut why = String::new();
    for _ in 0..READS_MAX {
        match kv.get(key).wait() {
            Ok(None) => return Ok((0, 0)),
            Ok(Some(item)) => {
                let text = String::from_utf8_lossy(&item.value.unwrap_or_default()).into_owned();
                let count = text.parse().map_err(|_| format!("{key} holds {text:?}"))?;
                return Ok((count, item.key_revision));
            }
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!("{key} cannot be read: {why}"))
}
