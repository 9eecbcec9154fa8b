//! `sealstone whoami`: which release do these bytes belong to?

use super::Context;
use super::connect::ConnectArgs;
use super::log::watch;
use super::output::in_line;
use sealstone::log::check_tag;
use sealstone::releases::{Origin, Unseen, find_origin};
use sealstone::report::as_lines;
use sealstone::store::{Location, Store};
use sealstone::{Error, Outcome, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Arguments of `sealstone whoami`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Hashes the file or directory and looks the digests up among the files of every tagged bundle. A match proves that the
bytes are the same; whether that release is trusted is what `sealstone verify` says. A directory is all of a release if
nothing else lies in it, no link either, and what may be run is what should. Exit code 5 if there is no match. A tag
that is not given out, such as one of a release that was revoked, is told and passed over; where nothing else matches,
the exit code is that of the refusal.

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
        return Err(no_match(&args.path, &found));
    }
    context.output.result(&found, show(&found));
    Ok(())
}

/// That nothing matches. Where a release was not given out it may be that one's, so this is no "not found".
fn no_match(path: &Path, found: &Origin) -> Error {
    let mut text = format!(
        "no tagged bundle there holds \"{}\" or a file of it",
        path.display()
    );
    let mut outcomes = found.unseen.iter().map(|unseen| unseen.outcome);
    let withheld = outcomes.find(|outcome| *outcome != Outcome::NotFound);
    if !found.unseen.is_empty() {
        let _ = write!(text, "; {} were not looked at", found.unseen.len());
    }
    let error = Error::new(withheld.unwrap_or(Outcome::NotFound), text);
    unseen(found).into_iter().fold(error, Error::hint)
}

/// The tags that were not looked at, a line for each of the first.
fn unseen(found: &Origin) -> Vec<String> {
    let line = |unseen: &Unseen| {
        let (place, tag) = (&unseen.place, &unseen.tag);
        let reason = as_lines(&unseen.reason);
        format!("{place}:{tag} was not looked at: {reason}")
    };
    let mut lines: Vec<String> = found.unseen.iter().take(10).map(line).collect();
    if found.unseen.len() > 10 {
        lines.push(format!("and {} more", found.unseen.len() - 10));
    }
    lines
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
            let shown = in_line(here);
            match here == there {
                true => drop(writeln!(text, "  = {shown}")),
                false => drop(writeln!(text, "  = {shown} is {}", in_line(there))),
            }
        }
        if release.shared.len() > 10 {
            let _ = writeln!(text, "  = and {} more", release.shared.len() - 10);
        }
        for path in release.missing.iter().take(10) {
            let _ = writeln!(text, "  - {} is not here", in_line(path));
        }
        for path in release.other_mode.iter().take(10) {
            let _ = writeln!(
                text,
                "  ! {} may be run and should not, or the other way round",
                in_line(path)
            );
        }
    }
    for path in found.unknown.iter().take(10) {
        let _ = writeln!(text, "{} belongs to none of them", in_line(path));
    }
    for line in unseen(found) {
        let _ = writeln!(text, "{line}");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn where_a_release_was_not_given_out_nothing_is_said_not_to_be_found() {
        let not_seen = |tag: &str, outcome| Unseen {
            place: "h/m".into(),
            tag: tag.parse().unwrap(),
            reason: "no\u{1b}[2J".into(),
            outcome,
        };
        let (gone, revoked) = (
            not_seen("1.0", Outcome::NotFound),
            not_seen("1.1", Outcome::Refused),
        );
        for (unseen, due) in [
            (vec![], Outcome::NotFound),
            (vec![gone.clone()], Outcome::NotFound),
            (vec![gone, revoked], Outcome::Refused),
        ] {
            let count = unseen.len();
            let found = Origin {
                files: Default::default(),
                matches: Vec::new(),
                unknown: Vec::new(),
                unseen,
            };
            let error = no_match(Path::new("model.bin"), &found);
            assert_eq!((error.outcome(), error.hints().len()), (due, count));
            assert!(!show(&found).contains('\u{1b}'));
        }
    }
}
