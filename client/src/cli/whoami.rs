//! `sealstone whoami`: which release do these bytes belong to?

use super::Context;
use super::connect::ConnectArgs;
use super::log::watch;
use sealstone::log::check_tag;
use sealstone::releases::{Origin, find_origin};
use sealstone::store::{Location, Store};
use sealstone::{Error, Result};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Arguments of `sealstone whoami`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Hashes the file or directory and looks the digests up among the files of every tagged bundle. A match proves that the
bytes are the same; whether that release is trusted is what `sealstone verify` says. A directory is all of a release if
nothing else lies in it, no link either, and what may be run is what should. Exit code 5 if there is no match.

Examples:
  sealstone whoami ./model.safetensors --in registry.example/models/m
  sealstone whoami /srv/model --in registry.example/models/m --in oci:archive")]
pub(crate) struct Args {
    /// A file or a directory
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// Where to look: HOST/REPOSITORY or oci:DIR; several may be given
    #[arg(long = "in", value_name = "PLACE", required = true)]
    places: Vec<Location>,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let options = args.connect.options();
    let mut stores = Vec::new();
    let mut logs = Vec::new();
    for place in &args.places {
        let store = place.open(&options)?;
        if let (Some(seen), Location::Registry(image)) = (watch(place, &options).await?, place) {
            logs.push((store.place(), seen, &image.repository));
        }
        stores.push(store);
    }
    let stores: Vec<&dyn Store> = stores.iter().map(AsRef::as_ref).collect();
    let found = find_origin(&args.path, &stores).await?;
    // That a tag names these bytes is the registry's word: its log must say the same.
    for release in &found.matches {
        for (place, seen, repository) in &logs {
            if *place == release.place {
                check_tag(seen, repository, &release.tag, &release.digest).await?;
            }
        }
    }
    if found.matches.is_empty() {
        return Err(Error::not_found(format!(
            "no tagged bundle there holds \"{}\" or a file of it",
            args.path.display()
        )));
    }
    context.output.result(&found, show(&found));
    Ok(())
}

fn show(found: &Origin) -> String {
    let mut text = String::new();
    for release in &found.matches {
        let how = match release.whole {
            true => "all of it",
            false => "in part",
        };
        let _ = writeln!(
            text,
            "{}:{} ({}) {how}",
            release.place, release.tag, release.name
        );
        let _ = writeln!(text, "  {}", release.digest);
        for (here, there) in release.shared.iter().take(10) {
            match here == there {
                true => drop(writeln!(text, "  = {here}")),
                false => drop(writeln!(text, "  = {here} is {there}")),
            }
        }
        if release.shared.len() > 10 {
            let _ = writeln!(text, "  = and {} more", release.shared.len() - 10);
        }
        for path in release.missing.iter().take(10) {
            let _ = writeln!(text, "  - {path} is not here");
        }
        for path in release.other_mode.iter().take(10) {
            let _ = writeln!(
                text,
                "  ! {path} may be run and should not, or the other way round"
            );
        }
    }
    for path in found.unknown.iter().take(10) {
        let _ = writeln!(text, "{path} belongs to none of them");
    }
    text.trim_end().to_owned()
}
