//! A recipe that is warned about wherever it can be, and what becomes of each warning when one thing is mended.

#![allow(clippy::unwrap_used)]

use super::*;

const BARE: &str = "recipe = { version = 1, name = \"x\" }\nenvironment = { kind = \"host\" }\n\
    [stage.train]\nkind = \"train\"\nrun = [\"python3\", \"train.py\", \"{params.lr}\"]\n\
    in = [\"data.csv\", \"train.py\"]\nparams = [\"lr\"]\nout = [\"m.json\"]\n\
    tolerance = { \"m.json\" = { abs = 1e-6 } }\n[metric.a]\nfrom = \"m.json#/a\"\n";

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect()
}

#[test]
fn a_bare_recipe_is_warned_about_and_a_good_one_is_not() {
    let found = lint(&Recipe::parse(BARE).unwrap(), &Project::default());
    let due = [
        "RW05", "RW06", "RW10", "RW11", "RW08", "RW01", "RW03", "RW09", "RW02", "RW13", "RW15",
    ];
    assert_eq!(codes(&found), due, "{found:#?}");
    assert!(found.iter().all(|finding| !finding.is_error()));
    let good = include_str!("../../../vectors/recipe/sklearn.toml");
    let found = lint(&Recipe::parse(good).unwrap(), &Project::default());
    assert_eq!(codes(&found), ["RW02", "RW02"], "{found:#?}"); // logloss and golden have no why
}

#[test]
fn files_that_are_missing_or_undeclared_are_errors() {
    let recipe = Recipe::parse(&BARE.replace(", \"train.py\"]\np", "]\np")).unwrap();
    let there = |path: &str| path == "train.py";
    let project = Project {
        exists: Some(&there),
        ..Project::default()
    };
    let found = lint(&recipe, &project);
    let errors: Vec<String> = found
        .iter()
        .filter(|finding| finding.is_error())
        .map(ToString::to_string)
        .collect();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(
        errors[0].contains("RE08") && errors[0].contains("add \"train.py\""),
        "{errors:#?}"
    );
    assert!(
        errors[1].contains("RE13") && errors[1].contains("data.csv"),
        "{errors:#?}"
    );
}

#[test]
fn a_device_that_nobody_here_runs_stages_on_is_an_error() {
    let errors = |device: &str, devices: Option<&[&str]>| {
        let due = format!("kind = \"train\"\ndevice = \"{device}\"");
        let text = BARE.replace("kind = \"train\"", &due);
        let project = Project {
            devices,
            ..Project::default()
        };
        let found = lint(&Recipe::parse(&text).unwrap(), &project);
        let found = found.into_iter().filter(Finding::is_error);
        found.map(|found| found.to_string()).collect::<Vec<_>>()
    };
    let known: Option<&[&str]> = Some(&["cpu", "cuda"]);
    for device in ["cpu", "cuda", "cuda:1"] {
        assert!(errors(device, known).is_empty(), "{device}");
    }
    for device in ["mps", "rocm:0", "xpu"] {
        let told = errors(device, known);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(": RE04 "), "{told:?}");
        assert!(told[0].contains(device) && told[0].ends_with("cpu and cuda"));
        // Who does not say what can be run is told nothing.
        assert!(errors(device, None).is_empty(), "{device}");
    }
}

#[test]
fn parameters_that_are_named_have_to_be_there() {
    let recipe = Recipe::parse(BARE).unwrap();
    let params = Params::from_toml("rate = 1").unwrap();
    let project = Project {
        params: Some(&params),
        ..Project::default()
    };
    let found = lint(&recipe, &project);
    assert!(
        codes(&found).contains(&"RW12") && codes(&found).contains(&"RE12"),
        "{found:#?}"
    );
    let params = Params::from_toml("lr = 1").unwrap();
    let project = Project {
        params: Some(&params),
        ..Project::default()
    };
    assert!(!codes(&lint(&recipe, &project)).contains(&"RE12"));
}

#[test]
fn words_that_lead_nowhere_are_told_before_anything_runs() {
    let test = |kind: &str, words: &str| {
        format!(
            "{BARE}[test.t]\nkind = \"{kind}\"\nrun = [\"sh\", \"ask.sh\", {words}]\nmodel = \"m.json\"\n"
        )
    };
    let golden = "inputs = \"in.json\"\nexpect = \"out.json\"\n";
    let asked = |words: &str| test("inference", words) + golden;
    let params = Params::from_toml("lr = 1\nmode = \"x\"").unwrap();
    let project = Project {
        params: Some(&params),
        ..Project::default()
    };
    for (text, due) in [
        // A test gets every parameter, a stage only those that it names.
        (asked("\"{in}\", \"{params.mode}\""), None),
        (
            asked("\"{params.mood}\""),
            Some("test \"t\" uses {params.mood}, which is no parameter"),
        ),
        (
            asked("\"--seed={seed}\""),
            Some("test \"t\" uses {seed}, and no seed is stated"),
        ),
        (test("serialization", "\"{model}\", \"{out}\""), None),
        (
            test("serialization", "\"{in}\""),
            Some("test \"t\" uses {in}, but has no inputs"),
        ),
        (
            BARE.replace("{params.lr}", "{params.mode}"),
            Some("stage \"train\" uses {params.mode}, which is not among its \"params\""),
        ),
        (
            BARE.replace("{params.lr}", "{seed}"),
            Some("stage \"train\" uses {seed}, and no seed is stated"),
        ),
    ] {
        let found = lint(&Recipe::parse(&text).unwrap(), &project);
        let errors: Vec<&Finding> = found.iter().filter(|finding| finding.is_error()).collect();
        let problems = errors.iter().map(|error| error.problem.as_str());
        assert_eq!(problems.collect::<Vec<_>>(), Vec::from_iter(due), "{text}");
        for error in errors {
            assert_eq!(error.code, Code::UnknownName);
            assert!(
                error.place.line > 1 && error.suggestion.is_some(),
                "{error}"
            );
        }
    }
    let mood = lint(
        &Recipe::parse(&asked("\"{params.mood}\"")).unwrap(),
        &project,
    );
    let mood = mood.iter().find(|finding| finding.is_error()).unwrap();
    assert_eq!(mood.suggestion.as_deref(), Some("did you mean \"mode\"?"));
    assert!(mood.place.line > 11, "it stands with the test: {mood}");
}

#[test]
fn requirements_are_told_in_their_own_file() {
    let text = BARE.replace("kind = \"host\"", "kind = \"venv\", lock = \"r.lock\"");
    let recipe = Recipe::parse(&text).unwrap();
    let project = Project {
        requirements: Some("numpy>=1\n"),
        ..Project::default()
    };
    let found = lint(&recipe, &project);
    let last = found.last().unwrap();
    assert_eq!(
        (last.code, last.file.as_deref(), last.place.line),
        (Code::Unpinned, Some("r.lock"), 1)
    );
}

#[test]
fn code_is_committed_where_the_risk_is_not_low() {
    let files: Vec<String> = ["m.json", "notes.txt", "train.py"].map(String::from).into();
    let project = Project {
        uncommitted: &files,
        ..Project::default()
    };
    let of = |text: &str| lint(&Recipe::parse(text).unwrap(), &project);
    let stated = BARE.replace("name = \"x\"", "name = \"x\", risk = \"medium\"");
    for (text, column) in [(BARE, 10), (&stated, 44)] {
        let found = of(text);
        let error = found.iter().find(|finding| finding.is_error()).unwrap();
        assert_eq!(
            (error.code, error.place.column),
            (Code::Uncommitted, column)
        );
        assert!(error.problem.contains("\"train.py\" differ"), "{error}");
    }
    let low = of(&stated.replace("medium", "low"));
    assert!(low.iter().all(|finding| !finding.is_error()), "{low:#?}");
}

#[test]
fn conditions_that_nothing_enforces_are_told() {
    let of = |from: &str, to: &str| {
        let text = BARE.replace(from, to);
        let found = lint(&Recipe::parse(&text).unwrap(), &Project::default());
        let found = found.into_iter().filter(|one| one.code == Code::Unenforced);
        found.map(|one| one.problem).collect::<Vec<_>>()
    };
    assert_eq!(of("", ""), [""; 0]);
    let stage = "kind = \"train\"\n";
    assert_eq!(
        of(
            stage,
            &format!("{stage}gpu = {{ count = 2 }}\ncheckpoint_every = 5\n")
        ),
        [
            "nothing holds stage \"train\" to gpu",
            "nothing holds stage \"train\" to checkpoint_every"
        ]
    );
    let torch = of(
        "[stage.train]",
        "[determinism]\ntorch = { allow_tf32 = false }\n[stage.train]",
    );
    assert!(torch[0].starts_with("nothing sets the switches of torch"));
}

#[test]
fn what_is_left_to_fill_in_is_told_where_it_stands() {
    let text = BARE.replace(
        "{ abs = 1e-6 }",
        "{ abs = 1e-6, why = \"TODO: ask the team\" }",
    );
    let found = lint(&Recipe::parse(&text).unwrap(), &Project::default());
    let todo = found.iter().find(|found| found.code == Code::ToDo).unwrap();
    assert!(todo.problem.ends_with("ask the team"), "{todo}");
    assert_eq!(todo.place.line, 9);
    for (from, to) in [
        ("\"m.json\"]", "\"TODO: what does it write?\"]"),
        ("\"train.py\",", "\"TODO\","),
        ("\"host\"", "\"TODO: venv?\""),
        ("\"m.json#/a\"", "\"TODO\""),
    ] {
        let error = Recipe::parse(&BARE.replace(from, to)).unwrap_err();
        let codes = codes(error.findings());
        assert!(codes.contains(&"RE14"), "{to}: {codes:?}");
    }
    let params = Params::from_toml("lr = \"TODO: a number\"").unwrap();
    let project = Project {
        params: Some(&params),
        ..Project::default()
    };
    let found = lint(&Recipe::parse(BARE).unwrap(), &project);
    assert!(codes(&found).contains(&"RE14"), "{found:#?}");
}

#[test]
fn a_class_that_nothing_decides_is_told() {
    let told = |from: &str, to: &str, more: &str| {
        let outputs = "out = [\"m.json\", \"model/\"]\nrequire = \"functional\"";
        let text = BARE.replace("out = [\"m.json\"]", outputs);
        let text = text.replace(from, to) + more;
        let found = lint(&Recipe::parse(&text).unwrap(), &Project::default());
        let found = found.into_iter().filter(|one| one.code == Code::Undecided);
        found.map(|one| one.problem).collect::<Vec<_>>()
    };
    let golden = "[test.t]\nkind = \"inference\"\nrun = [\"sh\", \"{model}\"]\nmodel = \"model/w\"\n\
        inputs = \"in.json\"\nexpect = \"out.json\"\n";
    let aside = "[stage.aside]\nkind = \"other\"\nrun = [\"true\"]\nout = [\"aside.bin\"]\nrequire = \"statistical\"\n";
    let then = "any replay with other numbers diverges";
    assert_eq!(
        told("", "", aside),
        [
            format!(
                "\"model/\" has the class \"functional\", and no golden answer comes of stage \"train\": {then}"
            ),
            format!(
                "\"aside.bin\" has the class \"statistical\", and no metric comes of stage \"aside\": {then}"
            ),
        ]
    );
    // A test of the stage, a metric of it, a class that needs neither, bounds; and metrics somewhere in the directory.
    let stated =
        |bound: &str| format!("{{ \"model/\" = {{ {bound} }}, \"m.json\" = {{ abs = 1e-6 }} }}");
    let tolerance = "{ \"m.json\" = { abs = 1e-6 } }";
    assert_eq!(told("", "", golden), [""; 0]);
    assert_eq!(told("\"functional\"", "\"statistical\"", ""), [""; 0]);
    assert_eq!(told("\"functional\"", "\"numeric\"", ""), [""; 0]);
    assert_eq!(told("m.json#/a", "model/m.json#/a", ""), [""; 0]);
    assert_eq!(told("", "", &aside.replace("other", "fetch")).len(), 1);
    for bound in [
        "rel_l2 = 1e-3",
        "label_agreement = 0.99",
        "class = \"content_exact\"",
    ] {
        assert_eq!(told(tolerance, &stated(bound), ""), [""; 0], "{bound}");
    }
    // A tolerance that states the class of a part is told where it stands.
    let part = "{ \"model/w\" = { class = \"functional\" }, \"model\" = { class = \"numeric\" } }";
    assert_eq!(told(tolerance, part, "").len(), 1);
}

#[test]
fn a_weaker_class_wants_a_reason() {
    let of = |text: &str| {
        let found = lint(&Recipe::parse(text).unwrap(), &Project::default());
        let found = found.into_iter().filter(|one| one.code == Code::NoWhy);
        found.map(|one| one.problem).collect::<Vec<_>>()
    };
    let kept = BARE.replace("{ abs = 1e-6 }", "{ abs = 1e-6, why = \"BLAS\" }");
    assert_eq!(of(&kept), [""; 0]);
    let stage = |lines: &str| {
        kept.replace(
            "kind = \"train\"\n",
            &format!("kind = \"train\"\n{lines}\n"),
        )
    };
    assert_eq!(of(&stage("require = \"bit_exact\"")), [""; 0]);
    assert_eq!(
        of(&stage("require = \"statistical\"")),
        ["stage \"train\" demands no more than statistical of its outputs, without a reason"]
    );
    let told = "require = \"statistical\"\ndescription = \"fits\"\nwhy = \"atomics\"";
    assert_eq!(of(&stage(told)), [""; 0]);
    let test = |lines: &str| {
        format!(
            "{kept}[test.t]\nkind = \"serialization\"\nrun = [\"sh\", \"{{model}}\", \"{{out}}\"]\n{lines}\n"
        )
    };
    assert_eq!(of(&test("compare = \"content_exact\"")), [""; 0]);
    assert_eq!(
        of(&test("compare = \"numeric\"")),
        ["test \"t\" takes a weaker class than content_exact without a reason"]
    );
    assert_eq!(
        of(&test("compare = \"numeric\"\nwhy = \"packed\"")),
        [""; 0]
    );
    let todo = stage("require = \"statistical\"\nwhy = \"TODO: ask\"");
    let found = lint(&Recipe::parse(&todo).unwrap(), &Project::default());
    let todo = found.iter().find(|found| found.code == Code::ToDo).unwrap();
    assert_eq!(todo.problem, "why of stage \"train\": ask");
}

#[test]
fn overrides_expire() {
    let text = format!(
        "override = [{{ fact = \"gpu.name\", level = \"W\", why = \"x\", expires = 2026-02-01 }}]\n{BARE}"
    );
    let recipe = Recipe::parse(&text).unwrap();
    for (today, due) in [(Day::new(2026, 2, 1), false), (Day::new(2026, 2, 2), true)] {
        let project = Project {
            today,
            ..Project::default()
        };
        assert_eq!(codes(&lint(&recipe, &project)).contains(&"RW14"), due);
    }
}
