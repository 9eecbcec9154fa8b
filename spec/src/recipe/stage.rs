//! Inputs and stages: what is read, what is run, what is written.

use super::conditions::{digest_of, variables};
use super::finding::{Code, Place};
use super::path::RecipePath;
use super::pattern::Pattern;
use super::pins;
use super::quantity;
use super::reader::{Fields, Source, shorten};
use super::substitution::{Placeholder, placeholders};
use super::words::*;
use crate::compare::{ArtifactRule, Class, NanRule};
use crate::digest::Digest;
use std::collections::BTreeMap;
use std::ops::Range;

/// Data from outside, pinned by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Where it lies.
    pub path: RecipePath,
    /// What it is: of a file its digest, of a directory that of its listing (chapter 4.4).
    pub digest: Digest,
    /// Whether it is a directory.
    pub is_tree: bool,
    /// Where it came from, for people and for `fetch`.
    pub source: Option<String>,
    /// Number of rows.
    pub rows: Option<u64>,
    /// Number of files of a directory.
    pub files: Option<u64>,
    /// Whether the order of rows counts.
    pub order: Option<RowOrder>,
    /// Digest of the rows in their order.
    pub ordered: Option<Digest>,
    /// Digest of the rows in any order.
    pub multiset: Option<Digest>,
    /// Whether it is packed into the bundle; else the bundle holds a pointer to it.
    pub embed: bool,
    /// Where it stands in the recipe.
    pub place: Place,
}

impl Input {
    pub(super) fn read(fields: Fields<'_, '_>) -> Option<Input> {
        let fields = fields.only(&[
            "path", "sha256", "tree", "source", "rows", "files", "order", "ordered", "multiset",
            "embed",
        ]);
        let path = fields.require_path("path");
        let name = path
            .as_ref()
            .map_or_else(|| "an input".to_owned(), |path| format!("input \"{path}\""));
        let is_tree = fields.has("tree");
        if is_tree && fields.has("sha256") {
            let problem = format!("{name} has \"sha256\" for a file and \"tree\" for a directory");
            fields
                .source
                .report(fields.place(), Code::WrongValue, problem, None);
        }
        let key = if is_tree { "tree" } else { "sha256" };
        let digest = digest_of(&fields, key, &name);
        let source = fields.words("source");
        if let Some(problem) = source.as_deref().and_then(pins::source_problem)
            && let Some(node) = fields.get("source")
        {
            let hint = "end it with @ and the full commit".to_owned();
            fields
                .source
                .report(&node.span(), Code::Unpinned, problem, Some(hint));
        }
        let fingerprint = |key| {
            fields
                .has(key)
                .then(|| digest_of(&fields, key, &name))
                .flatten()
        };
        Some(Input {
            is_tree,
            source,
            rows: fields.integer("rows", 0),
            files: fields.integer("files", 0),
            order: fields.word("order", ROW_ORDERS),
            ordered: fingerprint("ordered"),
            multiset: fingerprint("multiset"),
            embed: fields.flag("embed").unwrap_or(true),
            place: fields.source.place(fields.place().start),
            path: path?,
            digest: digest?,
        })
    }
}

/// What a stage may use. What is not there is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Number of CPUs.
    pub cpus: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Seconds on the clock.
    pub wall: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
    /// Bytes of output.
    pub disk: Option<u64>,
}

impl Resources {
    fn read(fields: Fields<'_, '_>) -> Resources {
        let fields = fields.only(&["cpus", "memory", "wall", "pids", "disk"]);
        Resources {
            cpus: fields.integer("cpus", 1),
            memory: quantity::bytes(&fields, "memory"),
            wall: quantity::seconds(&fields, "wall"),
            pids: fields.integer("pids", 1),
            disk: quantity::bytes(&fields, "disk"),
        }
    }
}

/// The accelerators of a stage: for people. Which there are is among the facts of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// How many.
    pub count: u64,
    /// Compute capability, such as `9.0`.
    pub compute: Option<String>,
    /// Bytes of memory of each.
    pub memory: Option<u64>,
}

impl Gpu {
    fn read(fields: Fields<'_, '_>) -> Gpu {
        let fields = fields.only(&["count", "compute", "memory"]);
        Gpu {
            count: fields.integer("count", 1).unwrap_or(1),
            compute: fields.text("compute"),
            memory: quantity::bytes(&fields, "memory"),
        }
    }
}

/// How far an artifact may differ. What is not said is the default of the artifact's type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// The class that it has to reach, if the tolerance says so; else the stage's or recipe's.
    pub class: Option<Class>,
    /// The bounds. Its class and purpose are filled in by [`super::Recipe::rule_for`].
    pub bounds: ArtifactRule,
    /// Where it stands in the recipe.
    pub place: Place,
}

impl Tolerance {
    /// Whether it says more than that the defaults hold.
    pub fn is_stated(&self) -> bool {
        let plain = Tolerance {
            place: self.place,
            bounds: ArtifactRule {
                class: self.bounds.class,
                purpose: self.bounds.purpose,
                why: self.bounds.why.clone(),
                ..ArtifactRule::default()
            },
            class: None,
        };
        *self != plain
    }

    pub(super) const KEYS: [&'static str; 12] = [
        "class",
        "abs",
        "rel",
        "rel_l2",
        "scaled_max",
        "atol",
        "label_agreement",
        "top_k",
        "topk_overlap",
        "max_flips",
        "nan",
        "why",
    ];

    /// Reads the keys of a tolerance from a table that may have others as well.
    pub(super) fn read(fields: &Fields<'_, '_>) -> Tolerance {
        let part = |key: &str| {
            let part = fields.bound(key)?;
            if part.value() > 1.0 {
                let place = fields.get(key)?.span();
                let problem = format!("\"{key}\" is a part of one, from 0 to 1");
                fields
                    .source
                    .report(&place, Code::WrongValue, problem, None);
            }
            Some(part)
        };
        Tolerance {
            place: fields.source.place(fields.place().start),
            class: fields.word("class", &CLASSES),
            bounds: ArtifactRule {
                rel_l2: fields.bound("rel_l2"),
                scaled_max: fields.bound("scaled_max"),
                atol: fields.bound("atol"),
                abs: fields.bound("abs"),
                rel: fields.bound("rel"),
                nan: fields.word("nan", &NAN_RULES).unwrap_or(NanRule::Fails),
                label_agreement: part("label_agreement"),
                top_k: fields
                    .integer("top_k", 1)
                    .and_then(|k| u32::try_from(k).ok()),
                topk_overlap: part("topk_overlap"),
                max_flips: fields.integer("max_flips", 0),
                why: fields.words("why"),
                ..ArtifactRule::default()
            },
        }
    }
}

/// One step: a command with everything that it reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: StageKind,
    /// What it does, for people.
    pub description: Option<String>,
    /// The command: a program with its arguments, or one line for a shell.
    pub run: Vec<String>,
    /// Whether a shell reads the command line.
    pub shell: bool,
    /// What it reads.
    pub reads: Vec<RecipePath>,
    /// What it writes; every one has to be there afterwards.
    pub writes: Vec<RecipePath>,
    /// Which parameters it gets.
    pub params: Vec<Pattern>,
    /// Variables beside those of the whole recipe.
    pub env: BTreeMap<String, String>,
    /// The class that its outputs have to reach where their tolerance says nothing.
    pub require: Option<Class>,
    /// Why that class is enough.
    pub why: Option<String>,
    /// Tolerances of outputs.
    pub tolerance: BTreeMap<RecipePath, Tolerance>,
    /// The device, such as `cpu` or `cuda:0`.
    pub device: Option<String>,
    /// Accelerators.
    pub gpu: Option<Gpu>,
    /// Limits.
    pub resources: Resources,
    /// The output that holds the training's trace.
    pub trace: Option<RecipePath>,
    /// Steps between two checkpoints: for people.
    pub checkpoint_every: Option<u64>,
    /// Where it stands in the recipe.
    pub place: Place,
}

impl Stage {
    const KEYS: [&'static str; 16] = [
        "kind",
        "description",
        "run",
        "shell",
        "in",
        "out",
        "params",
        "env",
        "require",
        "tolerance",
        "device",
        "gpu",
        "resources",
        "trace",
        "checkpoint_every",
        "why",
    ];

    /// The output that holds `path`, if one does.
    pub fn output_of(&self, path: &str) -> Option<&RecipePath> {
        self.writes.iter().find(|output| output.contains_path(path))
    }

    pub(super) fn read(name: &str, fields: Fields<'_, '_>) -> Option<Stage> {
        let source = fields.source;
        let fields = fields.only(&Stage::KEYS);
        name_is_plain(source, fields.place(), name);
        let shell = fields.flag("shell").unwrap_or(false);
        let run = command(&fields, shell, &Placeholder::IN_STAGES);
        let reads = fields.paths("in");
        let writes = fields.paths("out");
        fields.require("out");
        let params = fields
            .list("params")
            .iter()
            .filter_map(|node| Pattern::read(source, node))
            .collect();
        let mut tolerance = BTreeMap::new();
        if let Some(table) = fields.table("tolerance") {
            for (key, place, node) in table.entries() {
                let rule = Fields::of(source, node, format!("tolerance \"{}\"", shorten(key)));
                let rule = rule.map(|fields| Tolerance::read(&fields.only(&Tolerance::KEYS)));
                match (key.parse::<RecipePath>(), rule) {
                    (Ok(path), Some(rule)) => {
                        if !writes.iter().any(|output| output.contains(&path)) {
                            let problem = format!("stage \"{name}\" does not write \"{path}\"");
                            let hint = "a tolerance is for one of the stage's \"out\"".to_owned();
                            source.report(&place, Code::UndeclaredPath, problem, Some(hint));
                        }
                        tolerance.insert(path, rule);
                    }
                    (Err(error), _) => {
                        source.report(&place, Code::UnsafePath, error.to_string(), None)
                    }
                    (Ok(_), None) => {}
                }
            }
        }
        let trace = fields.path("trace");
        if let Some(path) = &trace
            && !writes.iter().any(|output| output.contains(path))
            && let Some(node) = fields.get("trace")
        {
            let problem = format!("stage \"{name}\" does not write its trace \"{path}\"");
            let hint = format!("add \"{path}\" to its \"out\"");
            source.report(&node.span(), Code::UndeclaredPath, problem, Some(hint));
        }
        let device = fields.text("device");
        if let Some(text) = &device
            && !is_device(text)
            && let Some(node) = fields.get("device")
        {
            let problem = format!("device \"{}\" is not known", shorten(text));
            let hint = "known are cpu, mps, and cuda, rocm or xpu, with :0 and so on after them";
            source.report(
                &node.span(),
                Code::WrongValue,
                problem,
                Some(hint.to_owned()),
            );
        }
        fields.require("kind");
        let kind = fields.word("kind", STAGE_KINDS);
        Some(Stage {
            name: name.to_owned(),
            description: fields.words("description"),
            shell,
            reads,
            writes,
            params,
            env: variables(&fields, "env"),
            require: fields.word("require", &CLASSES),
            why: fields.words("why"),
            tolerance,
            device,
            gpu: fields.table("gpu").map(Gpu::read),
            resources: fields
                .table("resources")
                .map(Resources::read)
                .unwrap_or_default(),
            trace,
            checkpoint_every: fields.integer("checkpoint_every", 1),
            place: source.place(fields.place().start),
            kind: kind?,
            run: run?,
        })
    }
}

fn is_device(text: &str) -> bool {
    if ["cpu", "mps"].contains(&text) {
        return true;
    }
    let (family, number) = text.split_once(':').unwrap_or((text, "0"));
    ["cuda", "rocm", "xpu"].contains(&family) && number.len() <= 3 && number.parse::<u16>().is_ok()
}

/// Names of stages, metrics, tests and profiles go into paths, variables and reports.
pub(super) fn name_is_plain(source: &Source<'_>, place: &Range<usize>, name: &str) {
    let plain = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@'));
    if !plain {
        let problem = format!("\"{}\" is no name", shorten(name));
        let hint =
            "a name has 1 to 64 letters, digits and _ - . @, and begins with a letter or digit";
        source.report(place, Code::WrongValue, problem, Some(hint.to_owned()));
    }
}

/// Reads `run`.
pub(super) fn command(
    fields: &Fields<'_, '_>,
    shell: bool,
    known: &[&'static str],
) -> Option<Vec<String>> {
    let node = fields.require("run")?;
    if node.get_ref().as_str().is_some() {
        let problem = format!(
            "\"run\" of {} is a list: the program and its arguments",
            fields.name
        );
        let hint =
            "write run = [\"python\", \"src/train.py\"]; with shell = true, one text in the list";
        fields.source.report(
            &node.span(),
            Code::WrongValue,
            problem,
            Some(hint.to_owned()),
        );
        return None;
    }
    let run = fields.texts("run");
    if run.is_empty() || run[0].is_empty() || (shell && run.len() != 1) {
        let problem = match shell {
            true => "\"run\" for a shell is a list of one text",
            false => "\"run\" names no program",
        };
        fields
            .source
            .report(&node.span(), Code::WrongValue, problem, None);
        return None;
    }
    for (item, node) in run.iter().zip(fields.list("run")) {
        if item.contains('\0') {
            fields.source.report(
                &node.span(),
                Code::WrongValue,
                "an argument holds a zero byte",
                None,
            );
        }
        for placeholder in placeholders(item) {
            if let Err((problem, hint)) = placeholder.check(known) {
                fields
                    .source
                    .report(&node.span(), Code::UnknownName, problem, hint);
            }
        }
    }
    Some(run)
}
