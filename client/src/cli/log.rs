//! `sealstone log`: a registry's transparency log, checked from outside.

use super::Context;
use super::connect::ConnectArgs;
use clap::Subcommand;
use sealstone::log::{History, KeptLogs, LogSource, Seen, check_tag, contact_with, read_history};
use sealstone::report::clean;
use sealstone::store::Location;
use sealstone::transport::{ConnectOptions, Registry};
use sealstone::{Error, Outcome, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{Entry, LogProof, LogTrust, VerifierKey};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `sealstone log`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The last checkpoint seen of each registry is kept (SEALSTONE_STATE, or ~/.local/state/sealstone), and every contact
demands that the log goes on from it. A log that was rolled back, rewritten or taken away ends with exit code 9.

Examples:
  sealstone log key registry.example                              its key, to give to others
  sealstone log verify registry.example                           every entry, chain and hash of it
  sealstone log monitor registry.example                          what happens, as it happens
  sealstone log proof registry.example/models/x:1.0.0 -o x.tlog-proof
  sealstone log verify --proof x.tlog-proof --key registry.example+1a2b3c4d+A...    without a network")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the key of a registry's log
    Key(Place),
    /// Check a whole log, or a proof file
    Verify(Verify),
    /// Follow a log and print what is appended
    Monitor(Monitor),
    /// Fetch a proof, check it and write it to a file
    Proof(Proof),
}

/// A registry and whom to trust about it.
#[derive(Debug, clap::Args)]
struct Place {
    /// The registry (HOST[:PORT])
    #[arg(value_name = "REGISTRY")]
    registry: String,

    #[command(flatten)]
    trust: Trust,

    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
struct Trust {
    /// Key of the log to trust, in place of the one seen at the first contact
    #[arg(long, value_name = "KEY")]
    key: Option<VerifierKey>,

    /// File with logs, witnesses and quorum to trust (C2SP tlog-policy)
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    logs: Option<PathBuf>,
}

impl Trust {
    fn read(&self) -> Result<Option<LogTrust>> {
        let invalid = |error| Error::usage("the logs to trust are not valid").source(error);
        match (&self.key, &self.logs) {
            (Some(key), _) => LogTrust::in_logs([key.clone()]).map(Some).map_err(invalid),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Error::io(format!("reading \"{}\"", path.display()), error))?;
                LogTrust::parse(&text).map(Some).map_err(invalid)
            }
            (None, None) => Ok(None),
        }
    }
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The registry (HOST[:PORT])
    #[arg(value_name = "REGISTRY", required_unless_present = "proof")]
    registry: Option<String>,

    /// A proof file to check without a network; needs --key or --logs
    #[arg(long, value_name = "FILE", conflicts_with = "registry")]
    proof: Option<PathBuf>,

    #[command(flatten)]
    trust: Trust,

    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
struct Monitor {
    #[command(flatten)]
    place: Place,

    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    interval: u64,

    /// End after this many looks; without it, never
    #[arg(long, value_name = "NUMBER")]
    looks: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Proof {
    /// HOST/REPOSITORY:TAG for the last event of a tag, HOST/REPOSITORY@DIGEST for the statement whose
    /// manifest has that digest, or HOST with --index
    #[arg(value_name = "PLACE")]
    place: String,

    /// Number of the entry
    #[arg(long)]
    index: Option<u64>,

    /// Where to write the proof file; without it, to standard output
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    trust: Trust,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    match args.command {
        Command::Key(place) => key(place, context).await,
        Command::Verify(args) => verify(args, context).await,
        Command::Monitor(args) => monitor(args, context).await,
        Command::Proof(args) => proof(args, context).await,
    }
}

/// What every command does that reaches a registry: its log must go on from what it showed before.
pub(crate) async fn watch(location: &Location, options: &ConnectOptions) -> Result<Option<Seen>> {
    let Location::Registry(image) = location else {
        return Ok(None);
    };
    let registry = Registry::new(&image.registry, Some(&image.repository), options)?;
    watched(&registry).await
}

/// The same for a registry that is named alone.
pub(crate) async fn watch_registry(
    registry: &str,
    options: &ConnectOptions,
) -> Result<Option<Seen>> {
    watched(&Registry::new(registry, None, options)?).await
}

async fn watched(registry: &Registry) -> Result<Option<Seen>> {
    // Without a place to keep anything in, there is nothing to compare with either.
    let Ok(kept) = KeptLogs::of_user() else {
        tracing::warn!(
            "SEALSTONE_STATE and HOME are not set: a rewritten log would not be noticed"
        );
        return Ok(None);
    };
    sealstone::log::contact(registry, &kept).await
}

/// After a tag was set or read: the log must say the same of it.
pub(crate) async fn watch_tag(
    seen: Option<&Seen>,
    location: &Location,
    digest: &Digest,
) -> Result<Value> {
    let (Some(seen), Location::Registry(image)) = (seen, location) else {
        return Ok(Value::Null);
    };
    let Some(tag) = image.tag.as_ref().filter(|_| image.digest.is_none()) else {
        return Ok(Value::Null);
    };
    let evidence = check_tag(seen, &image.repository, tag, digest).await?;
    Ok(
        json!({"origin": evidence.origin(), "index": evidence.index(), "size": evidence.checkpoint().size()}),
    )
}

async fn seen(registry: &str, trust: &Trust, connect: &ConnectArgs) -> Result<Seen> {
    let registry = Registry::new(registry, None, &connect.options())?;
    let trust = trust.read()?;
    let found = contact_with(&registry, &KeptLogs::of_user()?, trust.as_ref()).await?;
    found.ok_or_else(|| {
        Error::not_found(format!(
            "registry {} has no transparency log",
            registry.name()
        ))
    })
}

async fn key(place: Place, context: &Context) -> Result<()> {
    let seen = seen(&place.registry, &place.trust, &place.connect).await?;
    let key = seen.checkpoint.log();
    let value = json!({"registry": place.registry, "origin": key.name(), "key": key, "logId": key.full_id()});
    context.output.result(&value, key);
    Ok(())
}

async fn verify(args: Verify, context: &Context) -> Result<()> {
    if let Some(path) = &args.proof {
        return verify_file(path, &args.trust, context);
    }
    let registry = args.registry.unwrap_or_default();
    let seen = seen(&registry, &args.trust, &args.connect).await?;
    let mut history = History::default();
    read_history(&seen, &mut history, |_, _| {}).await?;
    let problems = history.problems();
    let value = json!({"registry": registry, "origin": seen.checkpoint.origin(), "size": history.size(),
        "root": seen.checkpoint.root(), "before": seen.before, "tags": history.tags(), "problems": problems});
    if !problems.is_empty() {
        let mut error = Error::new(
            Outcome::Contradicted,
            format!("the log of registry {registry} holds what an honest registry does not write; entries: {}", problems.len()),
        )
        .detail(value);
        for problem in problems.iter().take(20) {
            let text = format!("entry {}: {}", problem.index, problem.problem);
            error = error.hint(printable(&text));
        }
        return Err(error);
    }
    let before = match seen.before {
        Some(before) => format!("goes on from the {before} entries seen before"),
        None => "seen for the first time: its key is trusted from here on".to_owned(),
    };
    let text = format!(
        "verified log {}\n  {} entries, {} tags; every hash, chain and number holds\n  {before}\n  root {}",
        seen.checkpoint.origin(),
        history.size(),
        history.tags(),
        seen.checkpoint.root()
    );
    context.output.result(&value, text);
    Ok(())
}

fn verify_file(path: &PathBuf, trust: &Trust, context: &Context) -> Result<()> {
    let trust = trust.read()?.ok_or_else(|| {
        Error::usage("a proof file is checked against logs that you trust: give --key or --logs")
    })?;
    let bytes = std::fs::read(path)
        .map_err(|error| Error::io(format!("reading \"{}\"", path.display()), error))?;
    let (entry, evidence) = LogProof::parse(&bytes)
        .and_then(|proof| proof.verify_entry(&trust))
        .map_err(|error| {
            Error::halted(format!("\"{}\" proves nothing", path.display())).source(error)
        })?;
    let value = json!({"verified": true, "origin": evidence.origin(), "index": evidence.index(),
        "size": evidence.checkpoint().size(), "entry": shown(&entry)});
    let text = format!(
        "verified entry {} of log {}\n  {}",
        evidence.index(),
        evidence.origin(),
        line(&entry)
    );
    context.output.result(&value, text);
    Ok(())
}

async fn monitor(args: Monitor, context: &Context) -> Result<()> {
    let mut history = History::default();
    let mut told = 0;
    let mut looks = 0;
    loop {
        let seen = seen(&args.place.registry, &args.place.trust, &args.place.connect).await?;
        read_history(&seen, &mut history, |index, entry| {
            if let Some(entry) = entry {
                let value = json!({"index": index, "entry": shown(entry)});
                context
                    .output
                    .result(&value, format!("{index}  {}", line(entry)));
            }
        })
        .await?;
        for problem in &history.problems()[told..] {
            context.output.note(format!(
                "PROBLEM in entry {}: {}",
                problem.index,
                printable(&problem.problem)
            ));
        }
        told = history.problems().len();
        looks += 1;
        if args.looks.is_some_and(|most| looks >= most) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(args.interval.max(1))).await;
    }
    if told > 0 {
        let text = format!(
            "the log of registry {} holds what an honest registry does not write; entries: {told}",
            args.place.registry
        );
        return Err(Error::new(Outcome::Contradicted, text));
    }
    Ok(())
}

async fn proof(args: Proof, context: &Context) -> Result<()> {
    let (registry, found) = match args.index {
        Some(index) => {
            let seen = seen(&args.place, &args.trust, &args.connect).await?;
            let found = seen.source.proof_of_index(index).await?;
            (seen, found)
        }
        None => {
            let Location::Registry(image) = args.place.parse()? else {
                return Err(Error::usage(
                    "a layout has no log: give HOST/REPOSITORY:TAG",
                ));
            };
            let seen = seen(&image.registry, &args.trust, &args.connect).await?;
            let source: &LogSource = &seen.source;
            let found = match (&image.digest, &image.tag) {
                (Some(digest), _) => source.proof_of_statement(&image.repository, digest).await?,
                (None, Some(tag)) => source.proof_of_tag(&image.repository, tag).await?,
                (None, None) => {
                    return Err(Error::usage(format!(
                        "\"{}\" has no tag and no digest",
                        args.place
                    )));
                }
            };
            (seen, found)
        }
    };
    let proof = found
        .ok_or_else(|| Error::not_found(format!("the log has nothing about {}", args.place)))?;
    let (entry, evidence) = proof
        .verify_entry(&registry.trust)
        .map_err(|error| Error::halted("the registry's proof does not hold").source(error))?;
    let value = json!({"origin": evidence.origin(), "index": evidence.index(), "size": evidence.checkpoint().size(),
        "entry": shown(&entry), "proof": proof.to_string(), "file": args.out});
    match &args.out {
        Some(path) => {
            std::fs::write(path, proof.to_string())
                .map_err(|error| Error::io(format!("writing \"{}\"", path.display()), error))?;
            let text = format!(
                "proved entry {} of log {}\n  {}\n  written to \"{}\"",
                evidence.index(),
                evidence.origin(),
                line(&entry),
                path.display()
            );
            context.output.result(&value, text);
        }
        None => context.output.result(&value, proof.to_string().trim_end()),
    }
    Ok(())
}

fn shown(entry: &Entry) -> Value {
    entry
        .to_bytes()
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or(Value::Null)
}

/// An entry in a line for people.
fn line(entry: &Entry) -> String {
    let event = match entry {
        Entry::Event(event) => event,
        Entry::Signature(rekord) => return format!("signature by {}", rekord.key().id()),
        _ => return "an entry of a newer kind".to_owned(),
    };
    let op = serde_json::to_value(event.op).ok();
    let op = op
        .as_ref()
        .and_then(Value::as_str)
        .unwrap_or("?")
        .to_owned();
    let mut text = op;
    if let Some(repo) = &event.repository {
        text.push_str(&format!(" {repo}"));
    }
    if let Some(tag) = &event.tag {
        text.push_str(&format!(":{tag}"));
    }
    text.push_str(&format!(" {} by {}", event.digest, event.actor));
    if let Some(kind) = &event.predicate_type {
        text.push_str(&format!(" ({kind})"));
    }
    if let Some(key) = &event.key {
        let change = serde_json::to_value(key.change).ok();
        let change = change.as_ref().and_then(Value::as_str).unwrap_or("?");
        let holder = key.holder.as_deref().unwrap_or_default();
        text.push_str(&format!(" ({change}: {} {holder} {})", key.kind, key.id));
    }
    printable(&text)
}

/// A registry calls accounts, keys and types what it likes.
fn printable(text: &str) -> String {
    clean(text, 500)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealstone_spec::log::{EventEntry, KeyChange, KeyEntry, Operation};

    #[test]
    fn an_entry_gives_a_terminal_no_orders() {
        let orders = "a\u{1b}]0;owned\u{7}";
        let mut event = EventEntry::new(Operation::Key, Digest::sha256(b"x"), orders, 1);
        event.predicate_type = Some(orders.to_owned());
        event.key = Some(KeyEntry {
            change: KeyChange::Added,
            kind: orders.to_owned(),
            holder: Some(orders.to_owned()),
            id: orders.to_owned(),
            roles: Vec::new(),
            status: None,
            from: None,
            until: None,
        });
        let text = line(&Entry::Event(event));
        assert_eq!(text.matches("owned").count(), 5);
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}
