//! A load client with little overhead of its own: blocking sockets, one thread per stream, raw HTTP/1.1.
//!
//! Owns: making payloads, timing one scenario against one running registry, reading the server's CPU time and peak
//! memory around the timed part, and printing one JSON object. Does not own: starting registries, taking turns and
//! comparing them, which `tests/bench/bench.py` does.
//! Invariants: it talks to loopback addresses only; every loop is bounded in count and in time; digests of payloads
//! are computed before the clock starts; an answer that is not the expected one ends the run with an error.

mod appends;
mod arguments;
mod blobs;
mod connection;
mod listing;
mod payload;
mod process;
mod requests;
mod small;
mod streams;
mod timing;

use arguments::Arguments;

const USAGE: &str = "\
sealbench SCENARIO --target 127.0.0.1:PORT [--repository NAME] [--pid SERVER] [options]

  push       push --streams blobs of --bytes at once        [--style put|patch] [--seed N]
  pull       pull them again                                [--ranges N]
  small      push --count artifacts (4 KiB blob, manifest, tag) with --streams clients
  blobs      push --count blobs of --bytes, up to 64 MiB, with --streams clients
  appends    set --count tags with --streams clients, each answered after its checkpoint of the transparency log
  requests   ask --count times with --streams clients for   --kind manifest-tag|manifest-digest|head-tag|head-digest|blob
  tags       seed up to --count tags (--have N are there), then time first pages [--samples N]
  referrers  seed up to --count referrers of one manifest, then time first pages

  --seconds N bounds the seeding and the request loops (default 900).
  SEALBENCH_AUTH, if set, is sent as the Authorization header.";

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))
        .map_err(|error| anyhow::anyhow!("{error:#}\n\n{USAGE}"))?;
    let row = match arguments.scenario.as_str() {
        "push" => streams::push(&arguments)?,
        "pull" => streams::pull(&arguments)?,
        "small" => small::push(&arguments)?,
        "blobs" => blobs::push(&arguments)?,
        "appends" => appends::append(&arguments)?,
        "requests" => requests::repeat(&arguments)?,
        "tags" => listing::tags(&arguments)?,
        "referrers" => listing::referrers(&arguments)?,
        other => anyhow::bail!("unknown scenario '{other}'\n\n{USAGE}"),
    };
    println!("{row}");
    Ok(())
}
