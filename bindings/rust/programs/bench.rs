//! How many puts a second, with so many outstanding: `dkv-bench --outstanding 64 --seconds 3`.

mod arguments;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arguments::number;

fn main() -> Result<ExitCode, dkv::Error> {
    let kv = arguments::client()?;
    let most = number("outstanding", 64) as usize;
    let value = vec![b'v'; number("bytes", 64) as usize];
    kv.put("bench/warm", &value).wait()?;
    let begun = Instant::now();
    let stop_at = begun + Duration::from_secs(number("seconds", 3));
    let mut outstanding = VecDeque::new();
    let mut latencies_ms = Vec::new();
    let (mut errors, mut n) = (0, 0);
    loop {
        while outstanding.len() < most && Instant::now() < stop_at {
            n += 1;
            let key = format!("bench/{}", n % 10_000);
            outstanding.push_back((kv.put(&key, &value).send(), Instant::now()));
        }
        let Some((put, at)) = outstanding.pop_front() else {
            break;
        };
        match put.wait() {
            Ok(_) => latencies_ms.push(at.elapsed().as_secs_f64() * 1000.0),
            Err(_) => errors += 1,
        }
    }
    let took = begun.elapsed().as_secs_f64();
    latencies_ms.sort_by(f64::total_cmp);
    let done = latencies_ms.len();
    let share = |part: f64| {
        let at = part * done.saturating_sub(1) as f64;
        latencies_ms.get(at as usize).copied().unwrap_or(0.0)
    };
    println!(
        "{:.0} puts/s, {done} done, {errors} errors, p50 {:.1} ms, p99 {:.1} ms",
        done as f64 / took,
        share(0.5),
        share(0.99)
    );
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
