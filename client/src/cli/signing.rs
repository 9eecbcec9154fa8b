//! Arguments that say who signs; shared by commands that sign.

use super::passphrase::PassphraseArgs;
use sealstone::keys::{
    COMMAND_TIME, CommandSigner, Passphrases, companion_of, read_public, read_secret,
};
use sealstone::{Error, Result};
use sealstone_spec::key::Signer;
use std::path::PathBuf;
use std::time::Duration;

/// A signer that tasks may share.
pub(crate) type SharedSigner = Box<dyn Signer + Send + Sync>;

const COMMAND: &str = "command:";

/// How `--signer` is explained.
pub(crate) const SIGNER_HELP: &str = "\
A key that another program holds: --signer 'command:PROGRAM ARGUMENTS' --signer-key FILE.pub. The program
is started without a shell, once for each signature. It gets the message on standard input (and as the
file in SEALSTONE_MESSAGE_FILE), with SEALSTONE_KEY_ID and SEALSTONE_ALGORITHM in its environment, and
writes the signature to standard output: 64 bytes for Ed25519; for ECDSA P-256, over the message's
SHA-256, DER or r and s; plain or in base64. Its answer is used only if it verifies with the key named.";

/// Who signs.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Signer")]
pub(crate) struct SignerArgs {
    /// Private key: of keygen, openssl, ssh-keygen or cosign; may be repeated
    #[arg(long, value_name = "FILE.key", required_unless_present = "signer")]
    key: Vec<PathBuf>,

    /// Sign with the keys named, not with companions that lie beside them
    #[arg(long)]
    only: bool,

    /// A key that another program holds, as command:PROGRAM ARGUMENTS; may be repeated, each with its
    /// own --signer-key
    #[arg(long, value_name = "command:...", requires = "signer_key")]
    signer: Vec<String>,

    /// Public key of the --signer at the same place
    #[arg(long, value_name = "FILE.pub", requires = "signer")]
    signer_key: Vec<PathBuf>,

    /// Seconds that the program of a --signer may take
    #[arg(long, value_name = "SECONDS", requires = "signer", default_value_t = COMMAND_TIME.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    signer_time: u64,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl SignerArgs {
    /// The signers, each key once: those of files with their companions, then those of programs.
    pub(crate) fn signers(&self) -> Result<Vec<SharedSigner>> {
        let mut passphrases: Passphrases<'_> = self.passphrase.passphrases();
        let mut signers: Vec<SharedSigner> = Vec::new();
        let mut add = |signer: SharedSigner| {
            let is_new = |known: &SharedSigner| known.public_key() != signer.public_key();
            if signers.iter().all(is_new) {
                signers.push(signer);
            }
        };
        for path in &self.key {
            let companion = if self.only { None } else { companion_of(path) };
            for path in std::iter::once(path.clone()).chain(companion) {
                add(Box::new(read_secret(&path, &mut passphrases)?));
            }
        }
        if self.signer.len() != self.signer_key.len() {
            return Err(Error::usage(format!(
                "{} of --signer and {} of --signer-key: each signer needs its public key",
                self.signer.len(),
                self.signer_key.len()
            )));
        }
        let limit = Duration::from_secs(self.signer_time);
        for (text, key) in self.signer.iter().zip(&self.signer_key) {
            let command = text.strip_prefix(COMMAND).ok_or_else(|| {
                Error::usage(format!("\"{text}\" is no signer that is known"))
                    .hint("write --signer 'command:PROGRAM ARGUMENTS'")
            })?;
            add(Box::new(CommandSigner::new(
                command,
                read_public(key)?,
                limit,
            )?));
        }
        if signers.is_empty() {
            return Err(Error::usage("no key to sign with"));
        }
        Ok(signers)
    }
}
