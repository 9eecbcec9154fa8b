//! Arguments that say where passphrases come from; shared by commands that use private keys.

use sealstone::keys::{Passphrase, Passphrases};
use sealstone::{Error, Result};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

const VARIABLE: &str = "SEALSTONE_PASSPHRASE";

/// Where passphrases come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PassphraseArgs {
    /// File whose first line is the passphrase; else SEALSTONE_PASSPHRASE, else a prompt
    #[arg(long, value_name = "FILE", help_heading = "Passphrase")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The passphrase from the file or the environment, if there is one.
    pub(crate) fn given(&self) -> Result<Option<Passphrase>> {
        if let Some(path) = &self.passphrase_file {
            return Passphrase::from_file(path).map(Some);
        }
        match std::env::var(VARIABLE) {
            Ok(text) => Passphrase::new(text).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(error) => Err(Error::usage(format!("{VARIABLE} is not UTF-8")).source(error)),
        }
    }

    /// Passphrases for locked keys: the given one, else a prompt.
    pub(crate) fn passphrases(&self) -> Passphrases<'_> {
        Passphrases::new(|path| match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => prompt(&format!("Passphrase of {}: ", path.display())),
        })
    }

    /// The passphrase for a new key: the given one, else a prompt, twice.
    pub(crate) fn choose(&self, path: &Path) -> Result<Passphrase> {
        if let Some(passphrase) = self.given()? {
            return Ok(passphrase);
        }
        let passphrase = prompt(&format!("New passphrase for {}: ", path.display()))?;
        if prompt("The same again: ")? != passphrase {
            return Err(Error::usage("the two passphrases differ"));
        }
        Ok(passphrase)
    }
}

fn prompt(text: &str) -> Result<Passphrase> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Error::usage("a passphrase is needed, and there is no terminal to ask on")
                .hint(format!("give --passphrase-file FILE or set {VARIABLE}")),
        );
    }
    let answer = rpassword::prompt_password(text)
        .map_err(|source| Error::io("asking for the passphrase", source))?;
    Passphrase::new(answer)
}
