//! Exit codes: what a script may branch on. They never change their meaning.

use sealstone::Outcome;
use std::process::ExitCode;

/// The exit codes, as `sealstone --help` lists them.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  something else failed, for example the disk
  2  the command line makes no sense
  3  refused: a policy, a quota or a check of names said no
  4  halted: bytes are not what their digest says, or files not what the bundle says; nothing was
     left to use
  5  not found
  6  not authorised: log in, or ask for the right
  7  conflict: the name is taken and does not move
  8  the network or the registry failed, also after retries
  9  contradicted: a transparency log was rolled back, rewritten or taken away, or says otherwise than
     its registry

Environment:
  SEALSTONE_OUTPUT       human, plain or json
  SEALSTONE_PASSPHRASE   passphrase of signing keys
  SEALSTONE_POLICY       policy to verify by where neither --policy nor --key is given
  SEALSTONE_STATE        directory in which the last checkpoint and policy of each registry are kept,
                         and the last policy of each set of root keys (default ~/.local/state/sealstone)
  SEALSTONE_LOG          filter of log lines, for example sealstone=debug
  XDG_CACHE_HOME         what is kept of environments and cut downloads lies in sealstone/ there (default ~/.cache)
  SEALSTONE_USERNAME, SEALSTONE_PASSWORD, SEALSTONE_REGISTRY
                         credentials of unattended jobs, and the one registry that they are for
  SOURCE_DATE_EPOCH      time of creation that `pack` writes; without it none is written
  DOCKER_CONFIG          directory of config.json with credentials (default ~/.docker)";

/// The number for an outcome.
pub(crate) fn number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Usage => 2,
        Outcome::Refused => 3,
        Outcome::Halted => 4,
        Outcome::NotFound => 5,
        Outcome::Unauthorised => 6,
        Outcome::Conflict => 7,
        Outcome::Network => 8,
        Outcome::Contradicted => 9,
        _ => 1,
    }
}

/// The exit code for an outcome.
pub(crate) fn code(outcome: Outcome) -> ExitCode {
    ExitCode::from(number(outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chapter 12 of the specification.
    #[test]
    fn the_codes_are_those_of_the_vectors() {
        let text = include_str!("../../../spec/vectors/errors/exits.json");
        let vectors: serde_json::Value = serde_json::from_str(text).expect("vectors are JSON");
        let listed: Vec<(u64, &str)> = vectors["exits"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|exit| Some((exit["code"].as_u64()?, exit["name"].as_str()?)))
            .collect();
        let mut own: Vec<(u64, &str)> = [
            Outcome::Other,
            Outcome::Usage,
            Outcome::Refused,
            Outcome::Halted,
            Outcome::NotFound,
            Outcome::Unauthorised,
            Outcome::Conflict,
            Outcome::Network,
            Outcome::Contradicted,
        ]
        .into_iter()
        .map(|outcome| (u64::from(number(outcome)), outcome.as_str()))
        .collect();
        own.sort_unstable();
        assert_eq!(own, listed);
    }

    #[test]
    fn every_code_is_in_the_help() {
        for outcome in [
            Outcome::Usage,
            Outcome::Refused,
            Outcome::Halted,
            Outcome::NotFound,
            Outcome::Unauthorised,
            Outcome::Conflict,
            Outcome::Network,
            Outcome::Contradicted,
            Outcome::Other,
        ] {
            assert!(
                HELP.contains(&format!("\n  {}  ", number(outcome))),
                "{outcome:?}"
            );
        }
    }
}
