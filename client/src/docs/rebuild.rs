//! `REBUILD.md`: what a stranger types to make the model again.
//!
//! Invariant: the blocks marked `sh` run in order, with `sh -eu`, and end well exactly if the model was made again.

use super::Sources;
use super::page::{code, commands, head, plain, table, word};
use sealstone_spec::environment::{Level, Strictness, fact_rule};
use sealstone_spec::recipe::{Environment, Lock, Recipe, left_to_fill};

pub(super) fn text(sources: &Sources<'_>) -> String {
    let recipe = sources.project.recipe();
    let version = recipe
        .model_version()
        .map(|version| format!(" {version}"))
        .unwrap_or_default();
    let mut text = head(
        &format!("Rebuilding {}{}", plain(recipe.name()), plain(&version)),
        "Every step from nothing to a verdict. Blocks marked `sh` run in order, in one shell with `sh -eu`; the last one \
         ends with 0 if the model was made again as the criteria ask ([CRITERIA.md](CRITERIA.md)). If one fails: \
         [TROUBLESHOOTING.md](TROUBLESHOOTING.md). Why things are as they are: [DECISIONS.md](DECISIONS.md).",
    );
    if let Some(description) = recipe.description() {
        text.push_str(&format!("\n{}\n", plain(description)));
    }
    variables(&mut text);
    needs(&mut text, sources);
    check(&mut text, recipe);
    steps(&mut text, sources);
    rebuild(&mut text);
    results(&mut text, sources.lock);
    text
}

fn variables(text: &mut String) {
    text.push_str(
        "\n## 1. Say where the model is\n\n\
         `PROJECT` is a directory with `recipe.toml` and `recipe.lock`. Whoever has a bundle instead sets `BUNDLE` to \
         `oci:DIRECTORY:TAG` or `HOST/REPOSITORY:TAG`, and `KEY` to the public key of whoever signed it; without `KEY` the \
         bundle is taken as it is, and the report says so. `OUT` is a directory for what comes out; it is made if it is not set.\n\n",
    );
    text.push_str(&commands(
        "PROJECT=${PROJECT:-.}\nBUNDLE=${BUNDLE:-}\nKEY=${KEY:-}\nOUT=${OUT:-$(mktemp -d)}\nmkdir -p \"$OUT\"",
    ));
}

fn needs(text: &mut String, sources: &Sources<'_>) {
    let recipe = sources.project.recipe();
    text.push_str("\n## 2. What you need\n\n- `sealstone`\n");
    let mut lines = vec!["sealstone --version".to_owned()];
    match recipe.environment() {
        Environment::Venv { python, lock, wheels } => {
            let version = python.as_deref().map(|version| format!(" {}", plain(version))).unwrap_or_default();
            let from = wheels.as_ref().map_or("its wheels", |path| path.as_str());
            text.push_str(&format!(
                "- Python{version}. Packages are installed from {} by the hashes in {}; no package index is asked.\n",
                code(from),
                code(lock.as_str())
            ));
            lines.push("python3 --version".to_owned());
        }
        Environment::Oci { image, .. } => text.push_str(&format!("- the image {}\n", code(image))),
        Environment::Rootfs { path, .. } => text.push_str(&format!("- the root file system {}\n", code(path.as_str()))),
        _ => text.push_str("- the programs that the stages name, from this machine: the environment is not locked\n"),
    }
    text.push_str(&format!(
        "- a machine that isolates stages at {} or better ({}); `sealstone env probe` says what this one can do\n\n",
        recipe.isolation().minimum,
        recipe.isolation().minimum.promise()
    ));
    text.push_str(&commands(&lines.join("\n")));
    if let Some(lock) = sources.lock {
        facts(text, lock);
    }
}

/// Facts of the machine that have to match for the strictest class.
fn facts(text: &mut String, lock: &Lock) {
    let strictness = Strictness::from(lock.environment.class);
    let Ok(facts) = lock.environment.facts() else {
        return;
    };
    let rows: Vec<Vec<String>> = facts
        .iter()
        .filter(|(name, _)| {
            fact_rule(name).is_some_and(|rule| rule.level(strictness) == Level::Must)
        })
        .filter(|(name, _)| !name.starts_with("git.") && !name.starts_with("packages"))
        .map(|(name, value)| {
            let value: String = value.to_string().chars().take(120).collect();
            vec![code(name), code(&value)]
        })
        .collect();
    if !rows.is_empty() {
        text.push_str(&format!(
            "\nThe baseline was made where these held; for class `{}` they have to be the same:\n\n",
            lock.environment.class
        ));
        text.push_str(&table(&["fact", "baseline"], &rows));
    }
}

fn check(text: &mut String, recipe: &Recipe) {
    text.push_str(
        "\n## 3. Check what you have\n\nThe data is what the recipe says, byte by byte, and the packages are those that were locked. Of a \
         bundle, `sealstone replay` checks every file itself.\n\n",
    );
    let mut lines = "if [ -z \"$BUNDLE\" ]; then\n".to_owned();
    if matches!(recipe.environment(), Environment::Venv { .. }) {
        lines.push_str("sealstone env lock --check \"$PROJECT\"\n");
    }
    let files: Vec<String> = recipe
        .inputs()
        .iter()
        .filter(|input| !input.is_tree)
        .map(|input| format!("{}  {}", input.digest.hex(), input.path.as_str()))
        .collect();
    if !files.is_empty() {
        lines.push_str(&format!(
            "(cd \"$PROJECT\" && sha256sum -c) <<'SUMS'\n{}\nSUMS\n",
            files.join("\n")
        ));
    }
    for input in recipe.inputs().iter().filter(|input| input.is_tree) {
        // The digest of a directory is that of the listing which sha256sum prints.
        lines.push_str(&format!(
            "found=$(cd \"$PROJECT\"/{} && find . -type f | sed 's|^\\./||' | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 sha256sum | sha256sum)\n\
             test \"$found\" = '{}  -'\n",
            word(input.path.as_str()),
            input.digest.hex()
        ));
    }
    lines.push_str("test -f \"$PROJECT/recipe.lock\"\nfi");
    text.push_str(&commands(&lines));
    let sources: Vec<Vec<String>> = recipe
        .inputs()
        .iter()
        .map(|input| {
            let source = input
                .source
                .as_deref()
                .filter(|source| left_to_fill(source).is_none());
            vec![
                code(input.path.as_str()),
                source.map_or_else(|| "*not said*".to_owned(), code),
            ]
        })
        .collect();
    if !sources.is_empty() {
        text.push_str("\nWhere the data came from:\n\n");
        text.push_str(&table(&["input", "source"], &sources));
    }
}

/// The stages, to read: sealstone runs them.
fn steps(text: &mut String, sources: &Sources<'_>) {
    let recipe = sources.project.recipe();
    text.push_str(
        "\n## 4. What is going to run\n\nEach stage gets an empty directory with what it reads, no network, and a clean environment. Nothing here \
         has to be typed: the next step does it.\n",
    );
    for (index, stage) in recipe.stages().iter().enumerate() {
        let list = |paths: &[sealstone_spec::recipe::RecipePath]| -> String {
            let shown: Vec<String> = paths.iter().map(|path| code(path.as_str())).collect();
            if shown.is_empty() {
                "nothing".to_owned()
            } else {
                shown.join(", ")
            }
        };
        text.push_str(&format!(
            "\n{}. **{}** ({}): ",
            index + 1,
            plain(&stage.name),
            stage.kind
        ));
        if let Some(description) = stage
            .description
            .as_deref()
            .filter(|text| left_to_fill(text).is_none())
        {
            text.push_str(&format!("{} ", plain(description)));
        }
        let run: Vec<String> = match stage.shell {
            true => stage.run.clone(),
            false => stage.run.iter().map(|item| word(item)).collect(),
        };
        text.push_str(&format!(
            "{}. Reads {}. Writes {}.\n",
            code(&run.join(" ")),
            list(&stage.reads),
            list(&stage.writes)
        ));
    }
    let determinism = recipe.determinism();
    let said =
        |value: Option<u64>| value.map_or_else(|| "not set".to_owned(), |value| value.to_string());
    text.push_str(&format!(
        "\nSeed {}, `PYTHONHASHSEED` {}, threads {}.\n",
        said(determinism.seed),
        determinism.hash_seed,
        said(determinism.threads)
    ));
    let params = sources.project.params().texts();
    if !params.is_empty() {
        let rows: Vec<Vec<String>> = params
            .iter()
            .map(|(name, value)| vec![code(name), code(value)])
            .collect();
        text.push_str("\nParameters:\n\n");
        text.push_str(&table(&["name", "value"], &rows));
    }
}

fn rebuild(text: &mut String) {
    text.push_str(
        "\n## 5. Make it again\n\n\
         Exit codes: 0 reproduced, 2 diverged, 3 halted before anything ran, 4 error, 5 inconclusive, 6 denied.\n\n",
    );
    text.push_str(&commands(
        "if [ -z \"$BUNDLE\" ]; then\n\
         sealstone replay \"$PROJECT\" --report \"$OUT/report.json\" --html \"$OUT/report.html\"\n\
         elif [ -n \"$KEY\" ]; then\n\
         sealstone replay \"$BUNDLE\" --key \"$KEY\" --report \"$OUT/report.json\" --html \"$OUT/report.html\"\n\
         else\n\
         sealstone replay \"$BUNDLE\" --insecure-skip-signatures --report \"$OUT/report.json\" --html \"$OUT/report.html\"\n\
         fi",
    ));
    text.push_str("\n## 6. Look at the result\n\n`report.html` shows stages, metrics and what differed; `report.json` is the same for programs.\n\n");
    text.push_str(&commands(
        "test -s \"$OUT/report.html\"\ngrep -q '\"verdict\":\"REPRODUCED[A-Z_]*\"}$' \"$OUT/report.json\"",
    ));
}

/// What the baseline is.
fn results(text: &mut String, lock: Option<&Lock>) {
    text.push_str("\n## What has to come out\n\n");
    let Some(lock) = lock else {
        text.push_str("There is no baseline yet: `sealstone run` makes one.\n");
        return;
    };
    let rows: Vec<Vec<String>> = lock
        .stages
        .iter()
        .flat_map(|stage| {
            stage.outputs.iter().map(|output| {
                vec![
                    plain(&stage.name),
                    code(output.path.as_str()),
                    code(&output.digest.to_string()),
                ]
            })
        })
        .collect();
    text.push_str(&table(
        &["stage", "output", "digest of the baseline"],
        &rows,
    ));
    if !lock.metrics.is_empty() {
        let rows: Vec<Vec<String>> = lock
            .metrics
            .iter()
            .map(|(name, metric)| {
                vec![
                    plain(name),
                    code(&metric.value.to_string()),
                    code(&metric.from),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(&["metric", "baseline", "from"], &rows));
    }
    let seconds: u64 = lock
        .stages
        .iter()
        .map(|stage| stage.usage.wall_ms)
        .fold(0, u64::saturating_add)
        .div_ceil(1000);
    let memory = lock
        .stages
        .iter()
        .filter_map(|stage| stage.usage.peak_memory)
        .max();
    let memory = memory
        .map(|bytes| format!(", {} MiB of memory at most", bytes.div_ceil(1 << 20)))
        .unwrap_or_default();
    text.push_str(&format!(
        "\nThe baseline took {seconds} s{memory}. Its lock is `{}`.\n",
        lock.digest()
    ));
}
