//! A draft as the text of a recipe, with comments that say what its parts are for, and what was guessed by a name.
//!
//! Invariant: the same draft gives the same text, and the text is TOML whatever the names and commands are.

use super::classify::stage_kind;
use super::draft::{Draft, DraftEnvironment, DraftInput, DraftMetric, DraftStage, Pin};
use std::fmt::Write as _;

/// Stands behind what only a name says.
const GUESSED: &str = "  # by its name";

/// The text of `recipe.toml`.
pub(super) fn text(draft: &Draft) -> String {
    let mut text = String::new();
    let head = [
        format!("How this model is made. Written by `{}`; from now on it is yours.", draft.origin),
        "What says TODO could not be known: `sealstone lint` names each place. spec/text/04-recipe.md explains every key."
            .to_owned(),
    ];
    comments(&mut text, &head);
    comments(&mut text, &draft.notes);
    text.push('\n');
    let _ = writeln!(
        text,
        "[recipe]\nversion = 1\nname = {}",
        quoted(&draft.name)
    );
    text.push_str("# owner = \"team-x\"   # who answers for the model: alerts name them\n");
    text.push_str(
        "# risk = \"low\"       # low, medium or high; without it the strictest rules hold\n",
    );
    environment(&mut text, &draft.environment);
    text.push_str(
        "\n[determinism]\nclass = \"bit_exact\"  # of every output; a weaker class wants a why\n\
         seed = 1             # stages get it as SEALSTONE_SEED\nhash_seed = 0        # PYTHONHASHSEED\n\
         threads = 1          # of numerical libraries: sums change with it\n\
         \n[isolation]\nnetwork = \"deny\"\n# minimum = \"I3\"     # refuse machines that cannot keep undeclared files away\n",
    );
    if let Some(params) = &draft.params {
        let _ = writeln!(text, "\n[params]\nfile = {}", quoted(&params.file));
        if !params.roles.is_empty() {
            text.push_str("# what they do, by their names: optimizer, schedule, clipping, batch, seed, regularisation, numerics, data-loading,\n# architecture, data, other\n");
            text.push_str("[params.roles]\n");
            for (name, role) in &params.roles {
                let _ = writeln!(text, "{} = {}", quoted(name), quoted(role));
            }
        }
    }
    draft.inputs.iter().for_each(|one| input(&mut text, one));
    draft.stages.iter().for_each(|one| stage(&mut text, one));
    draft.metrics.iter().for_each(|one| metric(&mut text, one));
    if let Some(script) = &draft.predicts {
        golden(&mut text, script);
    }
    text
}

fn environment(text: &mut String, environment: &DraftEnvironment) {
    text.push('\n');
    match environment {
        DraftEnvironment::Venv {
            python,
            lock,
            wheels,
        } => {
            text.push_str("# `sealstone env lock` makes and renews the lock and the wheels.\n[environment]\nkind = \"venv\"\n");
            if let Some(python) = python {
                let _ = writeln!(text, "python = {}", quoted(python));
            }
            let _ = writeln!(text, "lock = {}\nwheels = {}", quoted(lock), quoted(wheels));
        }
        DraftEnvironment::Oci(image) => {
            let _ = writeln!(
                text,
                "[environment]\nkind = \"oci\"\nimage = {}",
                quoted(image)
            );
        }
        DraftEnvironment::Host => {
            text.push_str(
                "# Whatever this machine has. With a requirements.txt, `sealstone env lock` makes a locked environment of it.\n\
                 [environment]\nkind = \"host\"\n",
            );
        }
    }
}

fn input(text: &mut String, input: &DraftInput) {
    text.push('\n');
    comments(text, &input.notes);
    let _ = writeln!(text, "[[input]]\npath = {}", quoted(&input.path));
    let _ = match &input.pin {
        Pin::File(digest) => writeln!(text, "sha256 = {}", quoted(digest.hex().as_ref())),
        Pin::Tree(digest) => writeln!(text, "tree = {}", quoted(&digest.to_string())),
        Pin::Todo if input.path.ends_with('/') => writeln!(text, "tree = \"todo\""),
        Pin::Todo => writeln!(text, "sha256 = \"todo\""),
    };
    match &input.source {
        Some(source) => {
            let _ = writeln!(text, "source = {}", quoted(source));
        }
        None => text.push_str("# source = \"...\"     # where it came from\n"),
    }
}

fn stage(text: &mut String, stage: &DraftStage) {
    text.push('\n');
    comments(text, &stage.notes);
    let guessed = match stage_kind(&stage.name) == Some(stage.kind) {
        true => GUESSED,
        false => "",
    };
    let _ = writeln!(
        text,
        "[stage.{}]\nkind = {}{guessed}",
        key(&stage.name),
        quoted(stage.kind.as_str())
    );
    if let Some(description) = &stage.description {
        let _ = writeln!(text, "description = {}", quoted(description));
    }
    let _ = writeln!(text, "run = {}", list(&stage.run));
    if stage.shell {
        text.push_str("shell = true\n");
    }
    if !stage.reads.is_empty() {
        let _ = writeln!(text, "in = {}", list(&stage.reads));
    }
    if !stage.params.is_empty() {
        let _ = writeln!(text, "params = {}", list(&stage.params));
    }
    let _ = writeln!(text, "out = {}", list(&stage.writes));
    if let Some(device) = &stage.device {
        let _ = writeln!(text, "device = {}", quoted(device));
    }
}

fn metric(text: &mut String, metric: &DraftMetric) {
    let _ = writeln!(
        text,
        "\n[metric.{}]\nfrom = {}",
        key(&metric.name),
        quoted(&metric.from)
    );
    match metric.direction {
        Some(direction) => {
            let _ = writeln!(text, "direction = {}{GUESSED}", quoted(direction));
        }
        None => text.push_str("# direction = \"higher\" # or lower, or none\n"),
    }
    let _ = writeln!(
        text,
        "replay = {{ abs = 0 }}\nwhy = {}",
        quoted(&metric.why)
    );
}

fn golden(text: &mut String, script: &str) {
    comments_out(
        text,
        &format!(
            "Asks the model itself: write a few inputs by hand, say how the script is called, and let the first run\n\
             write the answers for you to look at.\n[test.golden]\nkind = \"inference\"\n\
             run = [\"python3\", {}, \"{{in}}\", \"{{out}}\"]\nin = [{}]\ninputs = \"golden/in.csv\"\n\
             expect = \"golden/out.csv\"\nwhy = \"...\"",
            quoted(script),
            quoted(script)
        ),
    );
}

fn comments_out(text: &mut String, lines: &str) {
    text.push('\n');
    for line in lines.lines() {
        let _ = writeln!(text, "# {line}");
    }
}

fn comments(text: &mut String, notes: &[String]) {
    for line in notes.iter().flat_map(|note| note.lines()) {
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(text, "# {line}");
    }
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut done = String::from('"');
    for c in text.chars() {
        match c {
            '"' => done.push_str("\\\""),
            '\\' => done.push_str("\\\\"),
            '\n' => done.push_str("\\n"),
            '\t' => done.push_str("\\t"),
            '\r' => done.push_str("\\r"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(done, "\\u{:04X}", c as u32);
            }
            c => done.push(c),
        }
    }
    done.push('"');
    done
}

/// A key as TOML writes it.
pub(super) fn key(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { name.to_owned() } else { quoted(name) }
}

fn list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    let line = format!("[{}]", quoted.join(", "));
    if line.len() <= 100 {
        return line;
    }
    format!("[\n    {},\n]", quoted.join(",\n    "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::authoring::draft::{DraftParams, todo};
    use proptest::prelude::*;
    use sealstone_spec::digest::Digest;
    use sealstone_spec::recipe::{Recipe, StageKind};

    fn draft() -> Draft {
        let mut draft = Draft::new("x", "sealstone init");
        let mut stage = DraftStage::new(
            "train",
            StageKind::Train,
            vec!["python3".into(), "train.py".into()],
        );
        stage.reads = vec!["data.csv".into(), "train.py".into()];
        stage.writes = vec!["m.json".into()];
        draft.stages.push(stage);
        draft.inputs.push(DraftInput {
            path: "data.csv".into(),
            pin: Pin::File(Digest::sha256(b"x")),
            source: None,
            notes: vec!["two\nlines".into()],
        });
        draft.metrics.push(DraftMetric {
            name: "a.b".into(),
            from: "m.json#/a".into(),
            direction: Some("higher"),
            why: todo("decide"),
        });
        draft.params = Some(DraftParams {
            file: "params.toml".into(),
            roles: vec![("model.C".into(), "regularisation")],
        });
        draft.predicts = Some("predict.py".into());
        draft
    }

    #[test]
    fn a_whole_draft_is_a_recipe() {
        let text = text(&draft());
        let recipe = Recipe::parse(&text).unwrap();
        assert_eq!(recipe.name(), "x");
        assert_eq!(recipe.inputs()[0].digest, Digest::sha256(b"x"));
        assert_eq!(recipe.metrics()[0].name, "a.b");
        assert_eq!(recipe.stages()[0].device.as_deref(), Some("cpu"));
        for guess in ["kind = \"train\"", "direction = \"higher\""] {
            assert!(
                text.contains(&format!("{guess}  # by its name\n")),
                "{text}"
            );
        }
    }

    #[test]
    fn gaps_are_told_by_the_recipe_itself() {
        let mut draft = draft();
        draft.inputs[0].pin = Pin::Todo;
        draft.stages[0].writes = vec![todo("which files?")];
        let error = Recipe::parse(&text(&draft)).unwrap_err();
        let codes: Vec<&str> = error
            .findings()
            .iter()
            .map(|found| found.code.as_str())
            .collect();
        assert_eq!(codes, ["RE14", "RE14"], "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_written_so_that_it_reads_back(name in "\\PC{0,20}", word in any::<String>()) {
            let mut draft = draft();
            draft.stages[0].name.clone_from(&name);
            draft.stages[0].run = vec![word.clone()];
            draft.notes = vec![word.clone()];
            let table: toml::Table = toml::from_str(&text(&draft)).unwrap();
            let run = &table["stage"][name.as_str()]["run"];
            prop_assert_eq!(run[0].as_str().unwrap(), word);
        }
    }
}
