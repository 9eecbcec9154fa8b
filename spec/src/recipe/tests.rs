//! Recipes that are read, and what is said of those that are not.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::compare::{Decimal, Direction};
use crate::environment::Isolation;
use proptest::prelude::*;

const SKLEARN: &str = include_str!("../../vectors/recipe/sklearn.toml");
const PYTORCH: &str = include_str!("../../vectors/recipe/pytorch.toml");

const SMALL: &str = r#"recipe = { version = 1, name = "small" }
environment = { kind = "host" }
[stage.prepare]
kind = "prepare"
run = ["sh", "prepare.sh"]
in = ["prepare.sh"]
out = ["work/data.csv"]
[stage.train]
kind = "train"
run = ["sh", "train.sh"]
in = ["train.sh", "work/"]
out = ["model/"]
[metric.loss]
from = "model/metrics.json#/loss"
"#;

fn names(recipe: &Recipe) -> Vec<&str> {
    recipe
        .stages()
        .iter()
        .map(|stage| stage.name.as_str())
        .collect()
}

/// What is wrong, as `code line:column`.
fn wrong(text: &str) -> Vec<String> {
    let findings = match Recipe::parse(text) {
        Ok(_) => return Vec::new(),
        Err(error) => error.findings().to_vec(),
    };
    let shown = findings.iter().map(|finding| {
        format!(
            "{} {}:{}",
            finding.code, finding.place.line, finding.place.column
        )
    });
    shown.collect()
}

#[track_caller]
fn refused(text: &str, code: Code, due: &str) -> Finding {
    let error = Recipe::parse(text).expect_err(due);
    let found = error.findings().iter().find(|finding| finding.code == code);
    let finding = found
        .unwrap_or_else(|| panic!("no {code} in: {error}"))
        .clone();
    assert!(
        finding.to_string().contains(due),
        "\"{finding}\" does not say \"{due}\""
    );
    finding
}

#[test]
fn both_examples_are_read_with_every_key() {
    let recipe = Recipe::parse(SKLEARN).unwrap();
    assert_eq!(names(&recipe), ["prepare", "train", "evaluate"]);
    assert_eq!(
        (recipe.name(), recipe.owner(), recipe.risk()),
        ("churn-lr", Some("team-growth"), Risk::Medium)
    );
    assert_eq!(recipe.isolation().minimum, Isolation::I3);
    assert_eq!(recipe.determinism().seed, Some(20_250_805));
    assert_eq!(recipe.inputs()[0].rows, Some(4000));
    assert_eq!(recipe.inputs()[0].order, Some(RowOrder::Locked));
    assert_eq!(
        recipe.params().role_of("model.C"),
        Some(Role::Regularisation)
    );
    let train = recipe.stage("train").unwrap();
    assert_eq!(
        (train.resources.memory, train.resources.wall),
        (Some(2 << 30), Some(600))
    );
    let rule = recipe.rule_for(train, "model/weights.safetensors");
    assert_eq!(rule.why.as_deref(), Some("BLAS kernel choice"));
    assert_eq!(
        (rule.class, rule.rel_l2.unwrap().as_str().to_owned()),
        (Class::Numeric, "1e-9".to_owned())
    );
    assert_eq!(
        recipe
            .rule_for(recipe.stage("prepare").unwrap(), "work/test.npy")
            .class,
        Class::BitExact
    );
    let measured = recipe.rule_for(recipe.stage("evaluate").unwrap(), "metrics.json");
    assert_eq!(
        (measured.class, measured.why),
        (Class::Numeric, recipe.determinism().why.clone())
    );
    let auc = &recipe.metrics()[0];
    assert_eq!(
        (auc.rule.direction, auc.rule.n),
        (Direction::Higher, Some(1000))
    );
    assert_eq!(auc.from.pointer, "/auc");
    assert_eq!(
        recipe.model().unwrap().as_str(),
        "model/weights.safetensors"
    );
    let kinds: Vec<&str> = recipe
        .tests()
        .iter()
        .map(|test| test.check.kind())
        .collect();
    assert_eq!(kinds, ["data", "serialization", "inference"]);
    let smoke = recipe.profile("smoke").unwrap();
    assert_eq!(smoke.params["model.max_iter"], 20);
    assert_eq!(
        recipe.origin_of(&"src/train.py".parse().unwrap()),
        Origin::Source
    );
    assert_eq!(
        recipe.origin_of(&"data/raw.csv".parse().unwrap()),
        Origin::Input
    );

    let recipe = Recipe::parse(PYTORCH).unwrap();
    assert_eq!(names(&recipe), ["tokenize", "train", "evaluate"]);
    assert!(matches!(
        recipe.environment(),
        Environment::Oci {
            rootfs_in_bundle: true,
            ..
        }
    ));
    assert_eq!(recipe.overrides()[0].rule.fact, "gpu.name");
    assert_eq!(recipe.replicates().unwrap().seeds.len(), 5);
    assert_eq!(
        recipe.metrics()[0]
            .rule
            .replay
            .confidence
            .as_ref()
            .unwrap()
            .value(),
        0.95
    );
    let train = recipe.stage("train").unwrap();
    assert_eq!(recipe.dependencies(train)[0].name, "tokenize");
    assert_eq!(train.trace.as_ref().unwrap().as_str(), "trace.jsonl");
    assert_eq!(
        recipe.determinism().torch.as_ref().unwrap().allow_tf32,
        Some(false)
    );
}

#[test]
fn stages_stand_after_those_that_they_read_from() {
    assert_eq!(wrong(SMALL), Vec::<String>::new());
    let (head, stages) = SMALL.split_once("[stage.prepare]").unwrap();
    let (prepare, rest) = stages.split_once("[stage.train]").unwrap();
    let turned = format!("{head}[stage.train]{rest}[stage.prepare]{prepare}");
    assert_eq!(
        names(&Recipe::parse(&turned).unwrap()),
        ["prepare", "train"]
    );
}

#[test]
fn unknown_keys_are_named_with_what_was_meant() {
    let text = SMALL.replace(
        "run = [\"sh\", \"train.sh\"]",
        "run = [\"sh\"]\nresourcs = {}",
    );
    let finding = refused(&text, Code::UnknownKey, "did you mean \"resources\"?");
    assert_eq!(
        finding.place,
        Place {
            line: 11,
            column: 1
        }
    );
    for (from, to, due) in [
        (
            "name = \"small\"",
            "name = \"small\", ownr = \"x\"",
            "did you mean \"owner\"",
        ),
        (
            "kind = \"train\"",
            "kind = \"trian\"",
            "did you mean \"train\"",
        ),
        (
            "kind = \"host\"",
            "kind = \"vnev\"",
            "did you mean \"venv\"",
        ),
        ("[metric.loss]", "[metrics.loss]", "did you mean \"metric\""),
        (
            "kind = \"host\"",
            "kind = \"host\", lock = \"x\"",
            "no key \"lock\"",
        ),
    ] {
        refused(&SMALL.replace(from, to), Code::UnknownKey, due);
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text = SMALL
        .replace("version = 1,", "version = 1, colour = 1,")
        .replace("out = [\"work/data.csv\"]", "out = [\"../data.csv\"]")
        .replace("kind = \"train\"", "knid = \"train\"");
    assert_eq!(
        wrong(&text),
        ["RE02 1:25", "RE05 7:8", "RE03 8:8", "RE02 9:1"]
    );
}

#[test]
fn paths_are_relative_and_plain() {
    for bad in ["/etc/passwd", "../x", "a/../b", "C:/x", "a\\\\b", ""] {
        let text = SMALL.replace("\"work/data.csv\"", &format!("\"{bad}\""));
        assert!(
            wrong(&text).iter().any(|line| line.starts_with("RE05 7:8")),
            "{bad}: {:?}",
            wrong(&text)
        );
    }
}

#[test]
fn a_path_has_one_writer() {
    for out in ["work/data.csv", "work/", "work/data.csv/x"] {
        let text = SMALL.replace("\"model/\"", &format!("\"model/\", \"{out}\""));
        let finding = refused(
            &text,
            Code::TwoWriters,
            "\"prepare\" and \"train\" both write",
        );
        assert_eq!(finding.place.line, 8);
    }
    let text = SMALL.replace("out = [\"model/\"]", "out = [\"model/\", \"model/a\"]");
    refused(&text, Code::TwoWriters, "overlap");
    let input = format!(
        "input = [{{ path = \"work/data.csv\", sha256 = \"{}\" }}]\n{SMALL}",
        "a".repeat(64)
    );
    refused(&input, Code::TwoWriters, "over the input");
}

#[test]
fn circles_are_told_with_their_stages() {
    let text = SMALL.replace(
        "in = [\"prepare.sh\"]",
        "in = [\"prepare.sh\", \"model/a\"]",
    );
    let finding = refused(
        &text,
        Code::Cycle,
        "\"prepare\" reads from \"train\" reads from \"prepare\"",
    );
    assert_eq!(finding.place.line, 3);
    let text = SMALL.replace("in = [\"prepare.sh\"]", "in = [\"work/\"]");
    refused(&text, Code::Cycle, "which it writes itself");
}

#[test]
fn what_nobody_writes_cannot_be_measured() {
    let text = SMALL.replace("model/metrics.json#", "modle/metrics.json#");
    refused(&text, Code::UndeclaredPath, "which no stage writes");
    let text = format!("{SMALL}[test.t]\nkind = \"data\"\nfile = \"data/raw.csv\"\n");
    refused(&text, Code::UndeclaredPath, "no input and no output");
    let text = SMALL.replace(
        "out = [\"model/\"]",
        "out = [\"model/\"]\ntrace = \"trace.jsonl\"",
    );
    refused(&text, Code::UndeclaredPath, "does not write its trace");
    let text = SMALL.replace(
        "out = [\"model/\"]",
        "out = [\"model/\"]\ntolerance = { \"x\" = { abs = 1 } }",
    );
    refused(&text, Code::UndeclaredPath, "does not write \"x\"");
}

#[test]
fn what_can_change_over_time_is_not_pinned() {
    let image = |image: &str| {
        SMALL.replace(
            "kind = \"host\"",
            &format!("kind = \"oci\", image = \"{image}\""),
        )
    };
    refused(&image("torch:2.1"), Code::Unpinned, "has no digest");
    assert!(wrong(&image(&format!("r/torch@sha256:{}", "a".repeat(64)))).is_empty());
    let input = |rest: &str| format!("input = [{{ path = \"data.csv\"{rest} }}]\n{SMALL}");
    let finding = refused(
        &input(""),
        Code::InputWithoutDigest,
        "\"data.csv\" has no \"sha256\"",
    );
    assert_eq!(
        finding.place,
        Place {
            line: 1,
            column: 10
        }
    );
    refused(&input(", sha256 = \"todo\""), Code::Unfinished, "todo");
    refused(
        &input(", sha256 = \"1234\""),
        Code::WrongValue,
        "64 lowercase",
    );
    let source = format!(
        ", sha256 = \"{}\", source = \"hf://org/x@main\"",
        "a".repeat(64)
    );
    refused(&input(&source), Code::Unpinned, "no full commit");
}

#[test]
fn commands_are_lists_and_their_words_are_known() {
    let text = SMALL.replace("run = [\"sh\", \"train.sh\"]", "run = \"sh train.sh\"");
    refused(&text, Code::WrongValue, "is a list");
    let text = SMALL.replace("\"train.sh\"]\nin", "\"{sead}\"]\nin");
    refused(&text, Code::UnknownName, "did you mean \"seed\"");
    let text = SMALL.replace(
        "\"train.sh\"]\nin",
        "\"{{x}}\", '{\"a\": 1}', \"{params.lr}\"]\nin",
    );
    assert!(wrong(&text).is_empty());
    let text = SMALL.replace(
        "run = [\"sh\", \"train.sh\"]",
        "run = [\"a b\", \"c\"]\nshell = true",
    );
    refused(&text, Code::WrongValue, "list of one text");
}

#[test]
fn names_lead_somewhere() {
    let text = format!("replicates = {{ seeds = [1, 2, 3, 4, 5], stages = [\"trian\"] }}\n{SMALL}");
    refused(&text, Code::UnknownName, "did you mean \"train\"");
    let text = format!("{SMALL}[profile.smoke]\ninputs = {{ \"x.csv\" = \"y.csv\" }}\n");
    refused(&text, Code::UndeclaredPath, "which is no input");
    let text = SMALL.replace("/loss\"", "/loss\"\nreplay = { method = \"interval\" }");
    refused(&text, Code::MissingKey, "no replicates");
    let text =
        format!("override = [{{ fact = \"gpu.nam\", level = \"W\", why = \"x\" }}]\n{SMALL}");
    refused(&text, Code::UnknownName, "did you mean \"gpu.name\"");
}

#[test]
fn replicates_run_what_a_sample_is_made_of() {
    let sampled = SMALL.replace("/loss\"", "/loss\"\nreplay = { method = \"interval\" }");
    let with = |stages: &str| {
        format!("replicates = {{ seeds = [1, 2, 3, 4, 5], stages = {stages} }}\n{sampled}")
    };
    let finding = refused(
        &with("[\"prepare\"]"),
        Code::WrongValue,
        "do not run stage \"train\"",
    );
    assert_eq!(finding.place.line, 14);
    for good in ["[\"train\"]", "[\"prepare\", \"train\"]"] {
        assert_eq!(wrong(&with(good)), Vec::<String>::new(), "{good}");
    }
    refused(&with("[]"), Code::WrongValue, "replicates of no stage");
    let without = with("[]").replace(", stages = []", "");
    refused(&without, Code::MissingKey, "lacks the key \"stages\"");
    // A metric of one value may stand beside: it gets no sample, and needs none.
    let beside = format!("replicates = {{ seeds = [1], stages = [\"prepare\"] }}\n{SMALL}");
    let recipe = Recipe::parse(&beside).unwrap();
    assert!(recipe.replicated_metrics().is_empty());
    let recipe = Recipe::parse(SMALL).unwrap();
    assert!(recipe.replicated_metrics().is_empty());
}

/// Whoever packs a bundle writes its recipe, and its reader must not be kept busy by it.
#[test]
fn of_many_stages_and_metrics_the_graph_is_looked_at_once() {
    let mut text = String::from(
        "recipe = { version = 1, name = \"many\" }\nenvironment = { kind = \"host\" }\n\
         replicates = { seeds = [1, 2, 3, 4, 5], stages = [\"s899\"] }\n",
    );
    for stage in 0..900 {
        let reads = match stage {
            0 => String::new(),
            _ => format!("in = [\"o{}\"]\n", stage - 1),
        };
        text += &format!(
            "[stage.s{stage}]\nkind = \"other\"\nrun = [\"x\"]\n{reads}out = [\"o{stage}\"]\n"
        );
    }
    for metric in 0..8000 {
        text += &format!(
            "[metric.m{metric}]\nfrom = \"o899#/m{metric}\"\nreplay = {{ method = \"tost\", margin = 0.01 }}\n"
        );
    }
    // Were it looked at for each metric, whoever runs this would wait for minutes.
    let recipe = Recipe::parse(&text).unwrap();
    assert_eq!(recipe.replicated_metrics().len(), 8000);
}

#[test]
fn a_test_is_not_held_against_what_the_run_wrote() {
    let golden = |inputs: &str, expect: &str| {
        format!(
            "{SMALL}[test.t]\nkind = \"inference\"\nrun = [\"sh\", \"{{in}}\", \"{{out}}\"]\ninputs = \"{inputs}\"\nexpect = \"{expect}\"\n"
        )
    };
    assert_eq!(
        wrong(&golden("golden/in", "golden/out")),
        Vec::<String>::new()
    );
    // Within an output, the output itself, and a directory around it.
    for own in ["model/golden.json", "model", "work/data.csv", "work/"] {
        refused(
            &golden("golden/in", own),
            Code::WrongValue,
            "\"expect\" of test",
        );
        refused(
            &golden(own, "golden/out"),
            Code::WrongValue,
            "\"inputs\" of test",
        );
    }
    let schema = format!(
        "{SMALL}[test.t]\nkind = \"data\"\nfile = \"work/data.csv\"\nschema = \"model/schema.json\"\n"
    );
    refused(&schema, Code::WrongValue, "\"schema\" of test");
}

#[test]
fn isolation_is_what_a_run_can_show() {
    let minimum = |level: &str| format!("isolation = {{ minimum = \"{level}\" }}\n{SMALL}");
    let recipe = Recipe::parse(&minimum("I4")).unwrap();
    assert_eq!(recipe.isolation().minimum, Isolation::I4);
    let finding = refused(&minimum("I5"), Code::WrongValue, "no run can show");
    assert!(
        finding.to_string().contains("independent = true"),
        "{finding}"
    );
}

#[test]
fn a_version_of_python_is_one_to_three_numbers() {
    let stated = |version: &str| {
        let venv = format!("kind = \"venv\", python = \"{version}\", lock = \"r.lock\"");
        SMALL.replace("kind = \"host\"", &venv)
    };
    for good in ["3", "3.11", "3.11.7"] {
        assert_eq!(wrong(&stated(good)), [""; 0], "{good}");
    }
    // The first would be the program python3/run of the directory that one stands in.
    for bad in [
        "3/run", "../x", "", "3.", ".3", "3.11.7.1", ">=3.11", "3.11 ",
    ] {
        refused(&stated(bad), Code::WrongValue, "is no version");
    }
}

#[test]
fn another_version_is_the_only_complaint() {
    let text = SMALL
        .replace("version = 1", "version = 2")
        .replace("kind", "knid");
    assert_eq!(wrong(&text), ["RE04 1:22"]);
    assert_eq!(wrong(""), ["RE03 1:1"]);
    assert_eq!(wrong("recipe = {"), ["RE01 1:11"]);
    assert_eq!(wrong(&"#".repeat(MAX_RECIPE_BYTES + 1)), ["RE04 1:1"]);
}

#[test]
fn each_quantity_of_a_baseline_can_have_its_bound() {
    let usage = "usage = { wall_ratio = 1.5, rss_ratio = 2, load_ratio = 2.5, cpu_ratio = 3, gpu_memory_ratio = 3.5, threads_ratio = 1 }";
    let recipe = Recipe::parse(&format!("{usage}\n{SMALL}")).unwrap();
    let bounds = recipe.usage();
    let ratios = [
        &bounds.wall_ratio,
        &bounds.rss_ratio,
        &bounds.load_ratio,
        &bounds.cpu_ratio,
        &bounds.gpu_memory_ratio,
        &bounds.threads_ratio,
    ];
    let ratios: Vec<f64> = ratios.into_iter().flatten().map(Decimal::value).collect();
    assert_eq!(ratios, [1.5, 2.0, 2.5, 3.0, 3.5, 1.0]);
    let negative = SMALL.replace("[metric.loss]", "[usage]\ncpu_ratio = -1\n[metric.loss]");
    refused(&negative, Code::WrongValue, "cpu_ratio");
    let unknown = SMALL.replace("[metric.loss]", "[usage]\nfetch_ratio = 2\n[metric.loss]");
    refused(&unknown, Code::UnknownKey, "fetch_ratio");
}

#[test]
fn a_recipe_needs_no_more_than_this() {
    let recipe = Recipe::parse(SMALL).unwrap();
    assert_eq!(recipe.risk(), Risk::High);
    assert_eq!(recipe.determinism().hash_seed, 0);
    assert_eq!(
        recipe.rule_for(&recipe.stages()[1], "model/a").class,
        Class::BitExact
    );
}

proptest! {
    #[test]
    fn nothing_panics_and_places_lie_in_the_text(cut in 0usize..3000, with in "[\\[\\]{}=\",.a-z0-9\n]{0,6}", at in 0usize..3000) {
        let mut text = SKLEARN.to_owned();
        let floor = |text: &str, mut index: usize| { index = index.min(text.len()); while !text.is_char_boundary(index) { index -= 1; } index };
        let (start, end) = (floor(&text, at), floor(&text, at + cut % 40));
        text.replace_range(start..end, &with);
        if let Err(error) = Recipe::parse(&text) {
            let lines = text.lines().count().max(1);
            prop_assert!(!error.findings().is_empty());
            for finding in error.findings() {
                prop_assert!(finding.is_error());
                prop_assert!((1..=lines + 1).contains(&finding.place.line), "{}", finding);
            }
        }
    }
}
