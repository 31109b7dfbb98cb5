//! Counts by compare-and-put while nodes die, and says whether every acknowledged step is there.
//!
//! Each of `--counters` keys is incremented by a thread of its own. A step that was acknowledged
//! counts as 1; one whose outcome is unknown is looked up before the next, as an application must.
//! Where the look-up does not show it, it is in doubt: it may yet be carried out, until the key has
//! moved on. At the end each counter must be exactly what its thread expects: prints `exact`, ends
//! with 0.

mod arguments;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use arguments::number;
use dkv::{Client, Error};

/// The cluster may be without a leader for longer than a call's deadline.
const READING: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Tally {
    acknowledged: u64,
    unknown: u64,
    late: u64,
    refused: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.late += other.late;
        self.refused += other.refused;
    }
}

fn main() -> Result<ExitCode, Error> {
    let kv = arguments::client()?;
    let stop_at = Instant::now() + Duration::from_secs(number("seconds", 20));
    let keys: Vec<_> = (0..number("counters", 4)).map(|it| format!("counter/{it}")).collect();
    let mut counters: Vec<_> = keys.iter().map(|key| Counter::new(&kv, key)).collect();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let start = |it| scope.spawn(move || Counter::run(it, stop_at));
        let threads: Vec<_> = counters.iter_mut().map(start).collect();
        threads.into_iter().map(|it| it.join().expect("a counter's thread")).collect()
    });
    let mut sum = Tally::default();
    counters.iter().for_each(|it| sum.add(&it.tally));
    outcomes.iter().filter_map(|it| it.as_ref().err()).for_each(|words| eprintln!("{words}"));
    let exact = outcomes.iter().all(Result::is_ok);
    let Tally { acknowledged, unknown, late, refused } = sum;
    println!(
        "{}: {acknowledged} acknowledged, {unknown} unknown ({late} of them done late), {refused} \
         refused",
        if exact { "exact" } else { "NOT EXACT" },
    );
    Ok(if exact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One key, and what its thread believes of it.
struct Counter<'a> {
    kv: &'a Client,
    key: &'a str,
    count: u64,
    revision: u64,
    /// Steps from this revision have an unknown outcome, and were not there when looked for.
    in_doubt: bool,
    tally: Tally,
}

impl<'a> Counter<'a> {
    fn new(kv: &'a Client, key: &'a str) -> Self {
        let tally = Tally::default();
        Counter { kv, key, count: 0, revision: 0, in_doubt: false, tally }
    }

    fn run(&mut self, stop_at: Instant) -> Result<(), String> {
        let (count, revision) = self.read()?;
        self.is_at(count, revision);
        while Instant::now() < stop_at {
            self.step()?;
        }
        self.look()
    }

    fn step(&mut self) -> Result<(), String> {
        let next = (self.count + 1).to_string();
        match self.kv.put(self.key, &next).expected(self.revision).wait() {
            Ok(at) => {
                self.tally.acknowledged += 1;
                self.is_at(self.count + 1, at);
            }
            Err(error) if error.conflict().is_some() => {
                self.look()?;
                if error.conflict() != Some(self.revision) {
                    return Err(format!("{}: {error}", self.told()));
                }
                self.tally.late += 1;
            }
            Err(Error::Rejected(_)) => self.tally.refused += 1,
            Err(Error::Unknown(_)) => {
                self.tally.unknown += 1;
                self.in_doubt = true;
                self.look()?;
            }
        }
        Ok(())
    }

    /// Where the key is. Nobody else writes it, and steps in doubt are all from one revision, so it
    /// is where it was, or one step further.
    fn look(&mut self) -> Result<(), String> {
        match self.read()? {
            found if found == (self.count, self.revision) => {}
            (count, revision) if self.in_doubt && count == self.count + 1 => {
                self.is_at(count, revision);
            }
            (count, revision) => {
                return Err(format!("{} It is {count} at {revision}", self.told()))
            }
        }
        Ok(())
    }

    /// The key has moved on: what was in doubt is done, or never will be.
    fn is_at(&mut self, count: u64, revision: u64) {
        (self.count, self.revision, self.in_doubt) = (count, revision, false);
    }

    /// What it believes, for a person.
    fn told(&self) -> String {
        let Counter { key, count, revision, tally, .. } = self;
        let doubt = if self.in_doubt { " or one step further" } else { "" };
        format!(
            "{key} should be {count} at {revision}{doubt}, after {} acknowledged, {} unknown, {} \
             refused.",
            tally.acknowledged, tally.unknown, tally.refused
        )
    }

    fn read(&self) -> Result<(u64, u64), String> {
        let give_up = Instant::now() + READING;
        loop {
            match self.kv.get(self.key).wait() {
                Ok(None) => return Ok((0, 0)),
                Ok(Some(item)) => {
                    let text =
                        String::from_utf8_lossy(&item.value.unwrap_or_default()).into_owned();
                    let holds = |_| format!("{} holds {text:?}", self.key);
                    return Ok((text.parse().map_err(holds)?, item.key_revision));
                }
                Err(error) if Instant::now() >= give_up => {
                    return Err(format!("{} cannot be read: {error}", self.key));
                }
                Err(_) => {}
            }
        }
    }
}
