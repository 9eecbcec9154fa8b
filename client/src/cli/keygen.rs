//! `sealstone keygen`: a signing key and its companion, in four files.

use super::Context;
use super::passphrase::PassphraseArgs;
use sealstone::Result;
use sealstone::keys::{KeyFiles, KeyPair};
use sealstone_spec::key::Signer as _;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `sealstone keygen`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Makes four files: NAME.key and NAME.pub (Ed25519), NAME-p256.key and NAME-p256.pub (its P-256
companion, for tools that cannot take Ed25519). `sealstone sign` uses both when they lie side by
side; a policy counts them as one signer. Keep the .key files secret, hand out the .pub files.

Examples:
  sealstone keygen                                    sealstone.key in this directory
  sealstone keygen --out keys/release
  sealstone keygen --out ci --passphrase-file pass.txt
  sealstone keygen --out test --no-passphrase         whoever reads the file can sign")]
pub(crate) struct Args {
    /// Where the files go: a directory, or a directory and a name
    #[arg(long, short, value_name = "DIR/NAME", default_value = "sealstone")]
    out: PathBuf,

    /// Leave the private keys without a passphrase
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Runs it.
pub(crate) fn run(args: Args, context: &Context) -> Result<()> {
    let files = KeyFiles::at(&args.out);
    let passphrase = match args.no_passphrase {
        true => None,
        false => Some(args.passphrase.choose(&files.key)?),
    };
    let pair = KeyPair::generate()?;
    files.write(&pair, passphrase.as_ref())?;

    let rows = [
        (&pair.ed25519, &files.key, &files.public),
        (&pair.p256, &files.companion_key, &files.companion_public),
    ];
    let keys: Vec<_> = rows
        .iter()
        .map(|(key, private, public)| {
            json!({"algorithm": key.public_key().algorithm(), "id": key.public_key().id(),
                "privateKey": private, "publicKey": public})
        })
        .collect();
    let mut text = String::from("made a key and its companion; together they are one signer\n");
    for (key, private, public) in rows {
        text.push_str(&format!(
            "  {:<18} {}\n  {:<18} secret {}, public {}\n",
            key.public_key().algorithm(),
            key.public_key().id(),
            "",
            private.display(),
            public.display()
        ));
    }
    text.push_str(&format!(
        "put {} into the policy of whoever should trust it",
        files.public.display()
    ));
    context
        .output
        .result(&json!({"keys": keys, "locked": passphrase.is_some()}), text);
    if passphrase.is_none() {
        context
            .output
            .note("note: the private keys have no passphrase: whoever reads the files can sign");
    }
    Ok(())
}
