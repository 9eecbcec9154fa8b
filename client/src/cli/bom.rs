//! `sealstone bom`: a bill of materials written, or compared with what is there.

use super::Context;
use super::attest::read;
use super::connect::ConnectArgs;
use sealstone::bill::{
    Below, all_files_below, environment_of, files_below, fill_card, installed_in, locked_packages,
    model_of, package_list, packages_in, packages_of, sealed_below,
};
use sealstone::keys::read_public;
use sealstone::recipe::Project;
use sealstone::releases::SealedRelease;
use sealstone::report::clean;
use sealstone::run::{disagreements, refuse_disagreements};
use sealstone::store::{Location, Store};
use sealstone::trust::{evidence_of, open};
use sealstone::{Error, Outcome, Result};
use sealstone_spec::bom::contents::{Card, Contents, File, Model};
use sealstone_spec::bom::{
    Bom, BomError, Package, Reality, check, package::merge, write, write_spdx,
};
use sealstone_spec::bundle::Bundle;
use sealstone_spec::environment::Facts;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::recipe::{LOCK_FILE, Lock, RecipePath};
use sealstone_spec::sigstore::SigstoreBundle;
use sealstone_spec::statement::predicate;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `sealstone bom`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A bill lists every file, data set, base model, package and fact of the environment, as CycloneDX ML-BOM 1.7.
What a recipe.lock in it says goes in: data sets with source and digest, base models, metrics, the environment's
facts, and the packages of its environment; --card adds to it, and is refused where it says something else. Of a directory
it is refused if the lock is not that of its files. Packages also come from --requirements
(pip with hashes, uv.lock, pylock.toml), from --site-packages, or, where no recipe names a list, from the lock file at the top of the bundle. `check` names each file or package that is missing, not listed, or another, takes every file
of a directory whatever its .sealstoneignore says, and is refused where packages are listed and none could be compared.

Examples:
  sealstone bom write oci:bundle:1.0.0 --card card.toml -o bom.json
  sealstone bom write oci:bundle:1.0.0 --format spdx -o bom.spdx.json
  sealstone bom check oci:bundle:1.0.0 --bom bom.json
  sealstone bom check ./my-model --bom bom.json --site-packages venv/lib/python3.12/site-packages
  sealstone bom check registry.example/models/m:1.0.0 --key builder.pub")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write the bill of materials of a bundle or directory
    Write(WriteArgs),
    /// Compare a bill of materials with what is there
    Check(CheckArgs),
}

/// What both read.
#[derive(Debug, clap::Args)]
struct PlaceArgs {
    /// HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR[:TAG], or a directory of files
    #[arg(value_name = "LOCATION|DIR")]
    place: String,

    /// List of packages that fixes each by hash
    #[arg(long, value_name = "FILE")]
    requirements: Option<PathBuf>,

    /// Directory of installed packages; each of their files is compared with what was recorded, as far as something was
    #[arg(long, value_name = "DIR")]
    site_packages: Option<PathBuf>,

    /// Document of the environment's facts
    #[arg(long, value_name = "FILE")]
    environment: Option<PathBuf>,

    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
struct WriteArgs {
    #[command(flatten)]
    place: PlaceArgs,

    /// What you say of the model: task, metrics, data sets, base models, risks (TOML)
    #[arg(long, value_name = "FILE.toml")]
    card: Option<PathBuf>,

    /// The form: CycloneDX ML-BOM 1.7, which is also read, attested and compared, or SPDX 2.3
    #[arg(long, value_enum, default_value = "cyclonedx")]
    format: Format,

    /// Where to write it; else to standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Forms of a bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// CycloneDX ML-BOM 1.7
    Cyclonedx,
    /// SPDX 2.3, as JSON
    Spdx,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    #[command(flatten)]
    place: PlaceArgs,

    /// The bill of materials; else the one that is attached and signed with --key
    #[arg(long, value_name = "FILE", required_unless_present = "key")]
    bom: Option<PathBuf>,

    /// Public key of whoever signed the attached bill; may be repeated
    #[arg(long, value_name = "FILE.pub", conflicts_with = "bom")]
    key: Vec<PathBuf>,

    /// Compare no packages, although the bill lists some
    #[arg(long, conflicts_with_all = ["requirements", "site_packages"])]
    files_only: bool,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    match args.command {
        Command::Write(args) => run_write(args, context).await,
        Command::Check(args) => run_check(args, context).await,
    }
}

/// What lies at a place.
struct Found {
    bundle: Option<(Arc<dyn Store>, VerifiedManifest, Location)>,
    files: Vec<File>,
    /// What a directory holds that no bundle can.
    others: Vec<(String, &'static str)>,
    packages: Option<Vec<Package>>,
    damaged: Vec<(Package, String, &'static str)>,
    /// Installed packages of whose files nothing recorded a hash, and what says that they are there.
    unrecorded: Vec<(Package, String)>,
    environment: Option<BTreeMap<String, String>>,
    lock: Option<Lock>,
}

/// The files of a directory.
type Files = fn(&Path) -> Result<Below>;

/// Looks at a place. Where `with_packages` is false, nothing there is taken for a list of packages.
async fn find(
    args: &PlaceArgs,
    files: Files,
    with_packages: bool,
    context: &Context,
) -> Result<Found> {
    let is_given = args.requirements.is_some() || args.site_packages.is_some();
    let directory = PathBuf::from(&args.place);
    let mut found = Found {
        bundle: None,
        files: Vec::new(),
        others: Vec::new(),
        packages: None,
        damaged: Vec::new(),
        unrecorded: Vec::new(),
        environment: None,
        lock: None,
    };
    if directory.is_dir() {
        let below = tokio::task::spawn_blocking(move || files(&directory))
            .await
            .map_err(|error| Error::other("reading the directory ended early").source(error))??;
        (found.files, found.others) = (below.files, below.others);
        let project = PathBuf::from(&args.place);
        let (recipe, lock) = sealed_below(&project);
        found.lock = lock;
        if with_packages && !is_given {
            found.packages = match recipe.as_ref().and_then(package_list) {
                Some(list) => Some(listed_below(&project, list)?),
                None => lock_below(&project)?,
            };
        }
    } else {
        let location: Location = args.place.parse()?;
        let store = location.open(&args.connect.options())?;
        let manifest = args.connect.resolve(&location, store.as_ref()).await?;
        let bundle = Bundle::read(&manifest).map_err(|error| {
            Error::usage(format!("\"{location}\" is no bundle of files")).source(error)
        })?;
        found.files = bundle.files().iter().map(File::from).collect();
        let release = match SealedRelease::read(store.as_ref(), &manifest).await {
            Ok(release) => Some(release),
            Err(error) if error.outcome() == Outcome::NotFound => None,
            Err(error) => return Err(error),
        };
        if with_packages && !is_given {
            let list = release
                .as_ref()
                .and_then(|release| package_list(&release.recipe));
            let locked = locked_packages(
                store.as_ref(),
                &manifest,
                &bundle,
                list.map(RecipePath::as_str),
            )
            .await?;
            found.packages = locked.map(|(path, packages)| {
                context
                    .output
                    .note(format!("note: packages from \"{path}\" in the bundle"));
                packages
            });
        }
        found.lock = release.map(|release| release.lock);
        found.bundle = Some((store, manifest, location));
    }
    if let Some(lock) = &found.lock {
        found.environment = Some(environment_of(lock));
        if found.packages.is_none() && !is_given {
            let packages = packages_of(lock);
            found.packages = (!packages.is_empty()).then_some(packages);
        }
    }
    if let Some(path) = &args.requirements {
        found.packages = Some(packages_in(&path.to_string_lossy(), &text(path)?)?);
    }
    if let Some(path) = &args.site_packages {
        let installed = installed_in(path)?;
        found.damaged = installed.damaged;
        found.unrecorded = installed.unrecorded;
        if !found.unrecorded.is_empty() {
            let unrecorded = found.unrecorded.iter();
            let names: Vec<String> = unrecorded.map(|(it, _)| it.to_string()).collect();
            context.output.note(format!(
                "note: of {} installed packages only name and version are known, since nothing recorded hashes of their files (egg-info): {}",
                names.len(),
                some(&names)
            ));
        }
        found.packages = Some(match found.packages.take() {
            // What is installed says which, the lock what of: one that is only locked is not there.
            Some(locked) => {
                let here = |package: &Package| {
                    installed
                        .packages
                        .iter()
                        .any(|it| (&it.name, &it.version) == (&package.name, &package.version))
                };
                let locked = locked.into_iter().filter(here);
                merge(installed.packages.iter().cloned().chain(locked))
            }
            None => installed.packages,
        });
    }
    if let Some(path) = &args.environment {
        let facts = Facts::parse(&read(path)?).map_err(|error| {
            Error::usage(format!("\"{}\" is no document of facts", path.display())).source(error)
        })?;
        let facts = facts.iter().map(|(name, value)| {
            let value = json!(value);
            let shown = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.to_owned(), shown)
        });
        found.environment = Some(facts.collect());
    }
    Ok(found)
}

/// The packages of the list that a directory's recipe names. Another list would be that of another environment.
fn listed_below(directory: &Path, list: &RecipePath) -> Result<Vec<Package>> {
    let place = directory.join(list.as_str());
    if !place.is_file() {
        return Err(Error::not_found(format!(
            "\"{list}\", the list of packages that the recipe names, is not there"
        ))
        .hint("give the list with: --requirements FILE"));
    }
    packages_in(list.as_str(), &text(&place)?)
}

/// The lock file at the top of a directory.
fn lock_below(directory: &Path) -> Result<Option<Vec<Package>>> {
    for name in [
        "uv.lock",
        "pylock.toml",
        "requirements.lock",
        "requirements.txt",
    ] {
        let path = directory.join(name);
        if !path.is_file() {
            continue;
        }
        let text = text(&path)?;
        if name == "requirements.txt" && !sealstone_spec::bom::requirements::is_locked(&text) {
            continue;
        }
        return packages_in(name, &text).map(Some);
    }
    Ok(None)
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|_| Error::usage(format!("\"{}\" is no text", path.display())))
}

async fn run_write(args: WriteArgs, context: &Context) -> Result<()> {
    let mut card = match &args.card {
        Some(path) => toml::from_str::<Card>(&text(path)?).map_err(|error| {
            Error::usage(format!(
                "\"{}\" is no model card that can be read",
                path.display()
            ))
            .source(error)
        })?,
        None => Card::default(),
    };
    let directory = Path::new(&args.place.place);
    if directory.join(LOCK_FILE).is_file() {
        tokio::task::block_in_place(|| refuse_another_lock(directory))?;
    }
    let found = find(&args.place, files_below, true, context).await?;
    let mut created =
        super::pack::creation_time(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref())?;
    let model = match &found.bundle {
        Some((store, manifest, location)) => {
            if created.is_none() {
                created = manifest
                    .annotations()
                    .get(media::ANNOTATION_CREATED)
                    .cloned();
            }
            let place = matches!(location, Location::Registry(_)).then(|| location.name());
            model_of(store.as_ref(), manifest, place, &location.name()).await?
        }
        None => Model {
            name: directory_name(&args.place.place),
            ..Model::default()
        },
    };
    if found.packages.is_none() {
        context.output.note(
            "note: no list of packages was found, so none stands in the bill; give --requirements or --site-packages",
        );
    }
    refuse_damage(&found)?;
    if let Some(lock) = &found.lock {
        fill_card(&mut card, lock, &found.files)?;
    }
    let contents = Contents {
        model,
        // A time in another form than RFC 3339 in UTC is left out: it would make no bill that can be read.
        created: created.and_then(|text| text.parse().ok()),
        files: found.files,
        packages: found.packages.unwrap_or_default(),
        card,
        environment: found.environment.unwrap_or_default(),
    };
    let bytes = write(&contents)
        .map_err(|error| Error::usage("this makes no bill of materials").source(error))?;
    let bom = Bom::parse(&bytes).map_err(|error| Error::other(error.to_string()))?;
    let bytes = match args.format {
        Format::Cyclonedx => bytes,
        Format::Spdx => {
            // Without a time there is no such document: then it is the time of writing.
            let now = || super::sign::now().parse().ok();
            let created = contents.created.clone().or_else(now);
            let created =
                created.ok_or_else(|| Error::other("this machine's clock shows no time"))?;
            write_spdx(&contents, &created)
                .map_err(|error| Error::usage("this makes no bill of materials").source(error))?
        }
    };
    let Some(out) = &args.out else {
        let mut stdout = std::io::stdout().lock();
        let written = stdout
            .write_all(&bytes)
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush());
        context.output.took(written);
        return Ok(());
    };
    std::fs::write(out, &bytes)
        .map_err(|source| Error::io(format!("writing \"{}\"", out.display()), source))?;
    let counts = (
        contents.files.len(),
        contents.packages.len(),
        bom.all_components().len(),
    );
    let text = format!(
        "wrote {}: {} files, {} packages, {} components",
        out.display(),
        counts.0,
        counts.1,
        counts.2
    );
    let value = json!({"out": out.display().to_string(), "files": counts.0, "packages": counts.1,
        "components": counts.2, "serialNumber": bom.serial_number});
    context.output.result(&value, text);
    Ok(())
}

/// A bill of an installation that is not what was installed would be a lie from the start.
fn refuse_damage(found: &Found) -> Result<()> {
    match found.damaged.first() {
        None => Ok(()),
        Some((package, path, problem)) => Err(Error::halted(format!(
            "package \"{package}\": its file \"{path}\" {problem}, and {} more",
            found.damaged.len() - 1
        ))
        .hint("install it again")),
    }
}

/// So would one that puts what a lock measured beside other files than those it was measured of.
fn refuse_another_lock(directory: &Path) -> Result<()> {
    let project = Project::open(directory)?;
    match project.lock(None)? {
        Some(lock) => refuse_disagreements(LOCK_FILE, &disagreements(&project, &lock, None)?),
        None => Ok(()),
    }
}

fn directory_name(place: &str) -> String {
    let path = std::fs::canonicalize(place).unwrap_or_else(|_| PathBuf::from(place));
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "model".to_owned())
}

async fn run_check(args: CheckArgs, context: &Context) -> Result<()> {
    let mut found = find(&args.place, all_files_below, !args.files_only, context).await?;
    let bom = match &args.bom {
        Some(path) => Bom::parse(&read(path)?).map_err(|error| {
            Error::usage(format!("\"{}\" is no bill of materials", path.display())).source(error)
        })?,
        None => attached(&args, &found).await?,
    };
    lost_records(&bom, &mut found);
    // Facts that only a lock knows are compared with a bill that speaks of them.
    let speaks = |bom: &Bom| {
        let components = bom.all_components();
        let mut references = components.iter().map(|it| it.reference.as_deref());
        references.any(|reference| reference == Some("environment"))
    };
    let environment = found
        .environment
        .filter(|_| args.place.environment.is_some() || speaks(&bom));
    let reality = Reality {
        manifest: found
            .bundle
            .as_ref()
            .map(|(_, manifest, _)| *manifest.digest()),
        files: Some(
            found
                .files
                .iter()
                .map(|it| (it.path.clone(), it.digest))
                .collect(),
        ),
        others: found.others.into_iter().collect(),
        packages: found.packages.filter(|_| !args.files_only),
        environment,
        damaged: found.damaged,
    };
    let compared = check(&bom, &reality).map_err(|error| match error {
        BomError::ListedTwice(_) => Error::refused(error.to_string())
            .hint("ask whoever made the bill which of the two is meant"),
        _ => Error::usage(error.to_string()),
    })?;
    let left_out = match compared.packages {
        Some(_) => 0,
        None => bom.packages().len(),
    };
    if !compared.uncomparable.is_empty() {
        context.output.note(format!(
            "note: {} listed components are neither files nor packages of the Python index, and nothing was compared with them: {}",
            compared.uncomparable.len(),
            some(&compared.uncomparable)
        ));
    }
    if compared.versions_only > 0 {
        context.output.note(format!(
            "note: of {} packages only versions were compared: the bill and what is there have no hash of one kind",
            compared.versions_only
        ));
    }
    let differences: Vec<Value> = compared
        .differences
        .iter()
        .map(|it| json!({"kind": it.kind(), "name": it.name(), "message": it.to_string()}))
        .collect();
    let value = json!({"files": compared.files, "packages": compared.packages,
        "versionsOnly": compared.versions_only, "packagesNotCompared": left_out,
        "notCompared": compared.uncomparable, "differences": differences});
    let mut error = Error::refused(format!(
        "{} differences between the bill of materials and what is there",
        compared.differences.len()
    ));
    for difference in compared.differences.iter().take(20) {
        error = error.hint(difference.to_string());
    }
    if !compared.differences.is_empty() {
        return Err(error.detail(value));
    }
    // What was not compared is no agreement.
    if left_out > 0 && !args.files_only {
        return Err(Error::refused(format!(
            "{left_out} packages are listed in the bill of materials, and none was compared: no list of what is there was found"
        ))
        .hint("give --requirements or --site-packages, or compare no packages with --files-only")
        .detail(value));
    }
    let files = compared.files.unwrap_or_default();
    let mut text = match compared.packages {
        Some(count) => format!("agrees: {files} files, {count} packages"),
        None => format!("agrees: {files} files; packages were not compared"),
    };
    if !compared.uncomparable.is_empty() {
        text.push_str(&format!(
            "; {} other components were not compared",
            compared.uncomparable.len()
        ));
    }
    context.output.result(&value, text);
    Ok(())
}

/// A package that the bill knows file by file cannot become one that nobody recorded: then any file of it could be
/// another.
fn lost_records(bom: &Bom, found: &mut Found) {
    let listed = bom.packages();
    for (package, place) in &found.unrecorded {
        let is_it = |it: &&Package| (&it.name, &it.version) == (&package.name, &package.version);
        if listed
            .iter()
            .find(is_it)
            .is_some_and(|it| it.installed.is_some())
        {
            let problem = "records no hashes of files, and the bill lists those of an installation";
            let damage = (package.clone(), place.clone(), problem);
            found.damaged.push(damage);
        }
    }
}

/// The first few of many names, which whoever made the bill chose.
fn some(names: &[String]) -> String {
    let most = 5;
    let shown: Vec<String> = names
        .iter()
        .take(most)
        .map(|name| clean(name, 80))
        .collect();
    let others = match names.len() > most {
        true => ", ...",
        false => "",
    };
    format!("{}{others}", shown.join(", "))
}

/// The bill that is attached to the bundle and signed with one of the keys.
async fn attached(args: &CheckArgs, found: &Found) -> Result<Bom> {
    let Some((store, manifest, location)) = &found.bundle else {
        return Err(Error::usage("nothing is attached to a directory").hint("give --bom FILE"));
    };
    let mut keys = Vec::new();
    for path in &args.key {
        keys.push(read_public(path)?);
    }
    let evidence = evidence_of(store.as_ref(), manifest).await?;
    evidence.demand_all(manifest)?;
    let mut bills = Vec::new();
    for item in &evidence.attached {
        let Ok(bundle) = SigstoreBundle::parse(&item.bundle) else {
            continue;
        };
        let signed = keys
            .iter()
            .find_map(|key| open(&bundle, key, predicate::CYCLONEDX, manifest).ok());
        if let Some(statement) = signed {
            let bom: Bom = statement.read().map_err(|error| {
                Error::halted("the attached bill of materials cannot be read").source(error)
            })?;
            if !bills.contains(&bom) {
                bills.push(bom);
            }
        }
    }
    match (bills.pop(), bills.len()) {
        (Some(bom), 0) => Ok(bom),
        (Some(_), others) => Err(Error::refused(format!(
            "{} different bills of materials by these keys are attached to {location}",
            others + 1
        ))
        .hint("give the one that you mean with --bom FILE")),
        (None, _) => Err(Error::not_found(format!(
            "no bill of materials by these keys is attached to {location}"
        ))
        .hint("attach one: sealstone attest LOCATION --bom FILE --key FILE.key")),
    }
}
