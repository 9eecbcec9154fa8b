//! What the kernel says about the server: CPU time and peak memory.

use std::fs;

/// One reading of a process. Zero where it cannot be read, for example without `--pid`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// User and system time, milliseconds, in steps of the kernel's clock tick (10 ms).
    pub(crate) cpu_ms: u64,
    /// Peak resident memory since start or since `forget_peak`, KiB.
    pub(crate) peak_kib: u64,
}

const TICK_MS: u64 = 10;

pub(crate) fn read(pid: Option<u32>) -> Reading {
    let Some(pid) = pid else {
        return Reading::default();
    };
    let cpu_ms = fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|text| ticks(&text))
        .unwrap_or(0)
        * TICK_MS;
    let peak_kib = fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|text| {
            text.lines().find_map(|line| {
                line.strip_prefix("VmHWM:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
        })
        .unwrap_or(0);
    Reading { cpu_ms, peak_kib }
}

/// Fields 14 and 15, counted after the command name, which may contain anything but ends at the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 2..].split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Starts the peak over, so that each scenario has its own. Needs to be the same user or root.
pub(crate) fn forget_peak(pid: Option<u32>) {
    if let Some(pid) = pid {
        // A server whose peak cannot be reset reports the peak since its start, which is only ever larger.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}
