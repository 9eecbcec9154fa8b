//! What every command of a recipe gets, stage or test: variables, seeds, threads, programs, device.

use super::Machine;
use crate::error::{Error, Result};
use crate::runner::{Device, Limits, Net, Seeds, StageJob};
use sealstone_spec::recipe::{Network, Recipe};

/// The kinds of devices that runners know, as a recipe names them: of any other, lint says that nothing here runs it.
pub(crate) const DEVICES: [&str; 2] = ["cpu", "cuda"];

/// Puts the recipe's conditions into a job; `on` is the device.
pub(crate) fn settings(
    recipe: &Recipe,
    seed: Option<u64>,
    machine: &Machine,
    on: Option<&str>,
    job: &mut StageJob,
) -> Result<()> {
    let determinism = recipe.determinism();
    job.env.extend(determinism.env.clone());
    if let Some(seed) = seed {
        job.env.insert("SEALSTONE_SEED".into(), seed.to_string());
    }
    job.seeds = Seeds {
        seed,
        hash_seed: u32::try_from(determinism.hash_seed)
            .map_err(|_| Error::usage("hash_seed is at most 4294967295: Python takes no more"))?,
    };
    job.limits = Limits {
        threads: threads(recipe),
        ..Limits::default()
    };
    job.net = match recipe.isolation().network {
        Network::Loopback => Net::Loopback,
        _ => Net::Deny,
    };
    job.software = machine.software.clone();
    job.source_date_epoch = machine.source_date_epoch;
    job.device = device(on)?;
    Ok(())
}

/// The number of threads that the recipe states for all of its stages.
pub(super) fn threads(recipe: &Recipe) -> Option<u32> {
    let stated = recipe.determinism().threads;
    stated.and_then(|threads| u32::try_from(threads).ok())
}

/// A device by the recipe's word for it.
pub(crate) fn device(text: Option<&str>) -> Result<Device> {
    match text.map(|text| text.split_once(':').unwrap_or((text, ""))) {
        None | Some(("cpu", _)) => Ok(Device::Cpu),
        Some(("cuda", "")) => Ok(Device::Cuda(Vec::new())),
        Some(("cuda", number)) => {
            let number = number
                .parse()
                .map_err(|_| Error::usage(format!("device cuda:{number} is no number")))?;
            Ok(Device::Cuda(vec![number]))
        }
        Some((family, _)) => Err(Error::usage(format!(
            "no runner knows devices of the kind \"{family}\""
        ))
        .hint(format!("runners know {}", DEVICES.join(" and ")))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_kinds_of_devices_are_those_that_runners_know() {
        for kind in DEVICES {
            assert!(device(Some(kind)).is_ok(), "{kind}");
        }
        for kind in ["mps", "rocm", "rocm:0", "xpu", ""] {
            let error = device(Some(kind)).unwrap_err();
            assert_eq!(error.hints(), ["runners know cpu and cuda"], "{kind}");
        }
    }
}
