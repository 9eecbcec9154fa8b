//! `sealstone pack`: a directory made into a bundle, in an OCI layout.

use super::Context;
use super::connect::ConnectArgs;
use super::output::{Format, in_line, readable_size};
use super::transfer::interruptible;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use sealstone::pack::{
    Description, KindRule, PackOptions, PackProgress, Packed, PackedFile, SealOptions, pack,
    pack_sealed,
};
use sealstone::recipe::Project;
use sealstone::stop::blocking;
use sealstone::store::Location;
use sealstone::{Error, Result};
use sealstone_spec::bundle::Bundle;
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{RECIPE_FILE, Recipe, RecipePath};
use sealstone_spec::role::{ANNOTATION_BASELINE, BundleRole};
use sealstone_spec::words::three_words;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of `sealstone pack`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each file becomes one layer as it is, so its digest is the layer's. The same files give the same
digest on every machine: times, owners and umask do not matter; whether the owner may run a file
does. Left out: .git, signature files, and what .sealstoneignore names (patterns as in .gitignore).

A directory with a recipe.toml is sealed: in go recipe, lock, every file that the lock names with its
role (source, data, weights, metrics, environment, test ...), locks of profiles, and texts at the top
such as README.md; nothing else but what --include names. It is refused, with exit code 3, if
 - the lock is stale, or a file, mode or parameter is not what it says: each is named;
 - the recipe's risk is medium or high and code, parameters or tests are not in the commit that the
   lock names (where the directory is the top of a Git repository);
 - data is neither in the bundle nor has a source. Data with `embed = false` in the recipe stays
   outside, named by its digest; --embed-data puts it in.
Name and version are the recipe's where none are given. --plain packs such a directory as any other.

Examples:
  sealstone pack ./my-model -o bundle:1.0.0
  sealstone pack ./my-model -o bundle:1.0.0 --name my-model --version 1.0.0 --license Apache-2.0
  sealstone pack ./my-model -o bundle --kind 'weights=*.dat' --ignore '/checkpoints/'
  sealstone pack . -o bundle:1.1.0 --baseline registry.example/models/m:1.0.0
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) sealstone pack . -o ../bundle")]
pub(crate) struct Args {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The layout to write, and the tag in it
    #[arg(long, short = 'o', value_name = "OUT[:TAG]")]
    out: String,

    /// What files are for: weights, config, doc, code or dataset, by pattern; else by extension
    #[arg(long, value_name = "KIND=PATTERN")]
    kind: Vec<KindRule>,

    /// Leave out what the pattern names, as if it stood in .sealstoneignore
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,

    /// Take symbolic links as what they lead to, within the directory
    #[arg(long)]
    follow: bool,

    /// Hard-link instead of copying: saves disk, but the files must not be changed in place any more
    #[arg(long)]
    link: bool,

    /// Pack every file as it lies there, also where there is a recipe
    #[arg(long)]
    plain: bool,

    /// Put data into the bundle that the recipe leaves outside
    #[arg(long, conflicts_with = "plain")]
    embed_data: bool,

    /// A file or directory that no stage knows and that goes in all the same; may be repeated
    #[arg(long, value_name = "PATH", conflicts_with = "plain")]
    include: Vec<RecipePath>,

    /// The release before this one: its digest is named in the bundle, and `diff` and `drift` look there
    #[arg(long, value_name = "REF")]
    baseline: Option<String>,

    #[command(flatten)]
    about: About,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// What is said about the model; all of it becomes part of the digest.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "About the model (part of the digest)")]
struct About {
    /// Name
    #[arg(long)]
    name: Option<String>,
    /// Version
    #[arg(long)]
    version: Option<String>,
    /// Title, for people
    #[arg(long)]
    title: Option<String>,
    /// A sentence about it
    #[arg(long)]
    description: Option<String>,
    /// Author; may be repeated
    #[arg(long)]
    author: Vec<String>,
    /// Organisation that gives it out
    #[arg(long)]
    vendor: Option<String>,
    /// Family that it belongs to
    #[arg(long)]
    family: Option<String>,
    /// Licence as an SPDX expression; may be repeated
    #[arg(long)]
    license: Vec<String>,
    /// Where its source is
    #[arg(long, value_name = "URL")]
    source_url: Option<String>,
    /// Revision of the source
    #[arg(long)]
    revision: Option<String>,
    /// Architecture, such as transformer
    #[arg(long)]
    architecture: Option<String>,
    /// Format of the weights; else the one that all of them have
    #[arg(long)]
    format: Option<String>,
    /// Number of parameters, such as 8b
    #[arg(long)]
    param_size: Option<String>,
    /// Precision, such as bfloat16
    #[arg(long)]
    precision: Option<String>,
    /// Quantization, such as awq
    #[arg(long)]
    quantization: Option<String>,
    /// Annotation of the manifest; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = annotation)]
    annotation: Vec<(String, String)>,
}

fn annotation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

impl About {
    fn describe(self, created: Option<String>) -> Description {
        Description {
            created,
            name: self.name,
            version: self.version,
            title: self.title,
            description: self.description,
            authors: self.author,
            vendor: self.vendor,
            family: self.family,
            licenses: self.license,
            source_url: self.source_url,
            revision: self.revision,
            architecture: self.architecture,
            format: self.format,
            param_size: self.param_size,
            precision: self.precision,
            quantization: self.quantization,
            annotations: self.annotation.into_iter().collect::<BTreeMap<_, _>>(),
        }
    }
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let out = match args.out.strip_prefix("oci:") {
        Some(_) => args.out.clone(),
        None => format!("oci:{}", args.out),
    };
    let location: Location = out.parse()?;
    let Location::Layout { path, .. } = &location else {
        return Err(Error::usage(format!("\"{}\" is no layout", args.out)));
    };
    if location.reference().is_some() && location.tag().is_none() {
        return Err(Error::usage(
            "a bundle's digest is made from its content: give a tag or nothing",
        ));
    }
    let created = creation_time(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref())?;
    let is_sealed = !args.plain && args.directory.join(RECIPE_FILE).is_file();
    if !is_sealed && (args.embed_data || !args.include.is_empty()) {
        return Err(Error::usage(format!(
            "--embed-data and --include are for projects, and \"{}\" has no {RECIPE_FILE}",
            args.directory.display()
        )));
    }
    if is_sealed && (args.follow || !args.ignore.is_empty()) {
        return Err(Error::usage(
            "of a project goes in what its lock names: --ignore and --follow go with --plain",
        ));
    }
    let mut description = args.about.describe(created);
    if let Some(baseline) = &args.baseline {
        let digest = digest_of(baseline, &args.connect).await?;
        description
            .annotations
            .insert(ANNOTATION_BASELINE.to_owned(), digest.to_string());
    }
    let seal = SealOptions {
        embed_data: args.embed_data,
        include: args.include,
    };
    let mut options = PackOptions {
        description,
        kinds: args.kind,
        ignore: args.ignore,
        follow: args.follow,
        link: args.link,
        ..PackOptions::default()
    };
    let (path, tag) = (path.clone(), location.tag().cloned());
    let progress = Bar::new(context.output.format());
    let packing = blocking(move |stop| {
        options.stop = stop.clone();
        let project = is_sealed
            .then(|| Project::open(&args.directory))
            .transpose()?;
        if let Some(project) = &project {
            describe_by_recipe(&mut options.description, project.recipe());
        }
        let packed = match &project {
            Some(project) => pack_sealed(project, &path, &options, &seal, tag.as_ref(), &progress),
            None => pack(&args.directory, &path, &options, tag.as_ref(), &progress),
        };
        progress.0.finish_and_clear();
        packed
    });
    let packing = async {
        let packed = packing.await;
        packed.map_err(|error| Error::other("packing ended early").source(error))?
    };
    let packed = interruptible(packing).await?;
    report(&packed, &location, context);
    Ok(())
}

/// What the recipe says of the model, where the command line says nothing.
fn describe_by_recipe(description: &mut Description, recipe: &Recipe) {
    let fill = |field: &mut Option<String>, value: Option<&str>| {
        if field.is_none() {
            *field = value.map(str::to_owned);
        }
    };
    fill(&mut description.name, Some(recipe.name()));
    fill(&mut description.version, recipe.model_version());
    fill(&mut description.description, recipe.description());
}

/// The digest of the bundle that a text names: a digest alone, or a place.
async fn digest_of(text: &str, connect: &ConnectArgs) -> Result<Digest> {
    if let Ok(digest) = Digest::parse(text) {
        return Ok(digest);
    }
    let location: Location = text.parse()?;
    let store = location.open(&connect.options())?;
    let manifest = connect.resolve(&location, store.as_ref()).await?;
    Bundle::read(&manifest)
        .map_err(|error| Error::usage(format!("\"{text}\" is no bundle")).source(error))?;
    Ok(*manifest.digest())
}

/// `SOURCE_DATE_EPOCH` as RFC 3339.
pub(super) fn creation_time(seconds: Option<&str>) -> Result<Option<String>> {
    let Some(text) = seconds.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let time = text
        .parse()
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    match time {
        Some(time) => Ok(Some(time.to_string())),
        None => Err(Error::usage(format!(
            "SOURCE_DATE_EPOCH \"{text}\" is no number of seconds"
        ))),
    }
}

fn report(packed: &Packed, location: &Location, context: &Context) {
    let digest = packed.manifest.digest();
    let bytes: u64 = packed.files.iter().map(|file| file.size).sum();
    let name = three_words(digest);
    let mut text = format!("packed {name}\n  {digest}\n");
    for file in &packed.files {
        text.push_str(&format!(
            "  {:<12} {:<14} {:>10}  {}\n",
            role(file),
            file.kind.as_str(),
            readable_size(file.size),
            file.path
        ));
    }
    for data in &packed.referenced {
        text.push_str(&format!(
            "  {:<12} {:<14} {:>10}  {} (not in the bundle: {})\n",
            BundleRole::Data,
            "by digest",
            readable_size(data.size),
            in_line(&data.path),
            in_line(&data.source)
        ));
    }
    text.push_str(&format!(
        "{} files, {} in {location}",
        packed.files.len(),
        readable_size(bytes)
    ));
    if !packed.ignored.is_empty() {
        context
            .output
            .note(format!("left out: {}", packed.ignored.join(", ")));
    }
    let files: Vec<_> = packed
        .files
        .iter()
        .map(|file| {
            json!({"path": file.path, "kind": file.kind, "role": role(file), "digest": file.digest,
                "size": file.size, "executable": file.executable})
        })
        .collect();
    let value = json!({"digest": digest, "name": name, "location": location.to_string(),
        "size": bytes, "files": files, "ignored": packed.ignored, "referenced": packed.referenced});
    context.output.result(&value, text);
}

/// What a file is for: what the recipe says, else what follows from its kind.
fn role(file: &PackedFile) -> BundleRole {
    file.role.unwrap_or(BundleRole::of_kind(file.kind))
}

/// A progress bar on a terminal, nothing elsewhere: packing is quick where nobody looks.
struct Bar(ProgressBar);

impl Bar {
    fn new(format: Format) -> Bar {
        if format != Format::Human {
            return Bar(ProgressBar::hidden());
        }
        let style =
            ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
        Bar(ProgressBar::new(0).with_style(style))
    }
}

impl PackProgress for Bar {
    fn begin(&self, files: usize, bytes: u64) {
        self.0.set_length(bytes);
        self.0.set_message(format!("{files} files"));
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_source_date_is_written_as_rfc_3339() {
        assert_eq!(creation_time(None).unwrap(), None);
        assert_eq!(
            creation_time(Some("1767225600")).unwrap().unwrap(),
            "2026-01-01T00:00:00Z"
        );
        assert!(creation_time(Some("yesterday")).is_err());
        assert!(creation_time(Some("99999999999999999")).is_err());
    }
}
