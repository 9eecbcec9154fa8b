//! The timed part of a scenario, and the row that it prints.

use crate::arguments::Arguments;
use crate::process;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Runs `work` once per stream, each on a thread of its own, all released together; answers what they made.
/// The clock runs from the release to the end of the last one.
pub(crate) fn together<T: Send>(
    arguments: &Arguments,
    work: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<(Vec<T>, Measured)> {
    process::forget_peak(arguments.pid);
    let before = process::read(arguments.pid);
    let gate = std::sync::Barrier::new(arguments.streams + 1);
    let (results, elapsed) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.streams)
            .map(|stream| {
                let (gate, work) = (&gate, &work);
                scope.spawn(move || {
                    gate.wait();
                    work(stream)
                })
            })
            .collect();
        gate.wait();
        let start = Instant::now();
        let results: Vec<_> = threads
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        (results, start.elapsed())
    });
    let after = process::read(arguments.pid);
    let mut made = Vec::new();
    for result in results {
        made.push(result.map_err(|_| anyhow::anyhow!("a stream panicked"))??);
    }
    Ok((
        made,
        Measured {
            elapsed,
            cpu_ms: after.cpu_ms.saturating_sub(before.cpu_ms),
            peak_kib: after.peak_kib,
        },
    ))
}

/// Wall time, and the server's CPU time and peak memory meanwhile.
pub(crate) struct Measured {
    pub(crate) elapsed: Duration,
    pub(crate) cpu_ms: u64,
    pub(crate) peak_kib: u64,
}

impl Measured {
    /// A row for `bytes` moved.
    pub(crate) fn throughput(&self, arguments: &Arguments, bytes: u64) -> Value {
        let seconds = self.elapsed.as_secs_f64();
        let mut row = self.row(arguments, seconds);
        row["bytes"] = json!(bytes);
        row["mb_per_s"] = json!(bytes as f64 / 1e6 / seconds);
        row["cpu_ms_per_gib"] = json!(self.cpu_ms as f64 / (bytes as f64 / f64::from(1 << 30)));
        row
    }

    /// A row for operations of which each took so many microseconds.
    pub(crate) fn operations(&self, arguments: &Arguments, mut micros: Vec<u32>) -> Value {
        micros.sort_unstable();
        let seconds = self.elapsed.as_secs_f64();
        let mut row = self.row(arguments, seconds);
        row["operations"] = json!(micros.len());
        row["per_s"] = json!(micros.len() as f64 / seconds);
        row["p50_us"] = json!(quantile(&micros, 500));
        row["p99_us"] = json!(quantile(&micros, 990));
        row["p999_us"] = json!(quantile(&micros, 999));
        row["cpu_us_per_operation"] =
            json!(self.cpu_ms as f64 * 1000.0 / micros.len().max(1) as f64);
        row
    }

    fn row(&self, arguments: &Arguments, seconds: f64) -> Value {
        json!({
            "scenario": arguments.scenario,
            "streams": arguments.streams,
            "seconds": seconds,
            "server_cpu_ms": self.cpu_ms,
            "vmhwm_kib": self.peak_kib,
        })
    }
}

fn quantile(sorted: &[u32], per_mille: usize) -> u32 {
    if sorted.is_empty() {
        return 0;
    }
    sorted[(sorted.len() * per_mille / 1000).min(sorted.len() - 1)]
}

/// Microseconds since `start`, at most an hour.
pub(crate) fn micros_since(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX)
}
