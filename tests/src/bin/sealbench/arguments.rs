//! The command line. Invariant: the target is a loopback address.

use anyhow::{Context, bail};
use std::net::SocketAddr;

/// What to do, to whom and how much.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) scenario: String,
    pub(crate) target: SocketAddr,
    pub(crate) repository: String,
    /// The server's process id, whose CPU time and memory are reported.
    pub(crate) pid: Option<u32>,
    pub(crate) streams: usize,
    /// Bytes per stream.
    pub(crate) bytes: u64,
    pub(crate) count: usize,
    pub(crate) samples: usize,
    pub(crate) ranges: u64,
    pub(crate) seconds: u64,
    /// How many entries a list has already, from the row before.
    pub(crate) have: usize,
    /// Payloads of different seeds have nothing in common.
    pub(crate) seed: u64,
    pub(crate) style: String,
    pub(crate) kind: String,
    pub(crate) authorization: Option<String>,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
        let scenario = words.next().context("no scenario given")?;
        let mut target = None;
        let mut arguments = Arguments {
            scenario,
            target: SocketAddr::from(([127, 0, 0, 1], 0)),
            repository: "models/bench".to_owned(),
            pid: None,
            streams: 1,
            bytes: 1 << 30,
            count: 100,
            samples: 200,
            ranges: 1,
            seconds: 900,
            have: 0,
            seed: 1,
            style: "put".to_owned(),
            kind: "manifest-tag".to_owned(),
            authorization: std::env::var("SEALBENCH_AUTH")
                .ok()
                .filter(|value| !value.is_empty()),
        };
        while let Some(option) = words.next() {
            let value = words
                .next()
                .with_context(|| format!("{option} needs a value"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .with_context(|| format!("{option} {value} is not a number"))
            };
            match option.as_str() {
                "--target" => {
                    target = Some(
                        value
                            .parse::<SocketAddr>()
                            .with_context(|| format!("--target {value} is not address:port"))?,
                    )
                }
                "--repository" => arguments.repository = value,
                "--pid" => arguments.pid = Some(u32::try_from(number()?)?),
                "--streams" => arguments.streams = usize::try_from(number()?)?,
                "--bytes" => arguments.bytes = number()?,
                "--count" => arguments.count = usize::try_from(number()?)?,
                "--samples" => arguments.samples = usize::try_from(number()?)?,
                "--ranges" => arguments.ranges = number()?,
                "--seconds" => arguments.seconds = number()?,
                "--have" => arguments.have = usize::try_from(number()?)?,
                "--seed" => arguments.seed = number()?,
                "--style" => arguments.style = value,
                "--kind" => arguments.kind = value,
                _ => bail!("unknown option {option}"),
            }
        }
        arguments.target = target.context("--target is missing")?;
        arguments.check()?;
        Ok(arguments)
    }

    fn check(&self) -> anyhow::Result<()> {
        if !self.target.ip().is_loopback() {
            bail!(
                "{} is not a loopback address: this load client talks to this machine only",
                self.target
            );
        }
        let bounds = [
            ("--streams", self.streams as u64, 1, 256),
            ("--bytes", self.bytes, 1, 64 << 30),
            ("--count", self.count as u64, 1, 2_000_000),
            ("--samples", self.samples as u64, 1, 100_000),
            ("--ranges", self.ranges, 1, 64),
            ("--seconds", self.seconds, 1, 3600),
        ];
        for (option, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                bail!("{option} {value} is not between {least} and {most}");
            }
        }
        Ok(())
    }
}
