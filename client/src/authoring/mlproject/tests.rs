#![allow(clippy::unwrap_used)]
use super::*;
use crate::authoring::init::write_recipe;
use sealstone_spec::recipe::{Params, Recipe, StageKind};

const PROJECT: &str = "name: wine quality\n\npython_env: python_env.yaml\n\nentry_points:\n  main:\n    parameters:\n\
    \x20     data: {type: path, default: data/wine.csv}\n      alpha: {type: float, default: 0.5}\n      l1_ratio: float\n\
    \x20     title: {type: string, default: \"a b\"}\n    command: \"python train.py {alpha} {l1_ratio} --title {title} {data} '{x}'\"\n\
    \x20 validate:\n    command: python validate.py\n";

fn project() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in [
        (FILE, PROJECT),
        (
            "python_env.yaml",
            "python: \"3.11.7\"\nbuild_dependencies: [pip]\ndependencies:\n  - scikit-learn==1.3.0\n  - numpy\n",
        ),
        ("train.py", "print()\n"),
        ("validate.py", "print()\n"),
        ("data/wine.csv", "a\n"),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn entry_points_become_stages_with_gaps() {
    let root = project();
    let mut said = Vec::new();
    let draft = import(root.path(), false, &mut |text| said.push(text.to_owned())).unwrap();
    assert_eq!(draft.name, "wine-quality");
    let main = &draft.stages[0];
    assert_eq!(
        main.run,
        [
            "sh",
            "-c",
            "python train.py {params.main.alpha} {params.main.l1_ratio} --title \"${{1}}\" {params.main.data} '{{x}}'",
            "sh",
            "{params.main.title}"
        ]
    );
    assert_eq!((main.kind, main.shell), (StageKind::Train, false));
    assert_eq!(draft.stages[1].run, ["python validate.py"]);
    assert!(draft.stages[1].shell);
    assert_eq!(main.reads, ["train.py", "data/wine.csv"]);
    assert_eq!(draft.stages[1].kind, StageKind::Evaluate);
    assert_eq!(draft.inputs.len(), 1);
    let requirements = fs::read_to_string(root.path().join("requirements.txt")).unwrap();
    assert!(
        requirements.contains("\nscikit-learn==1.3.0\nnumpy\n"),
        "{requirements}"
    );
    assert!(
        draft
            .notes
            .iter()
            .any(|note| note.contains("does not pin numpy"))
    );
    let params =
        Params::from_toml(&fs::read_to_string(root.path().join("params.toml")).unwrap()).unwrap();
    assert_eq!(params.texts()["main.alpha"], "0.5");
    assert!(params.texts()["main.l1_ratio"].contains("TODO"));
    assert_eq!(
        draft.params.as_ref().unwrap().roles,
        [
            ("main.alpha".to_owned(), "regularisation"),
            ("main.l1_ratio".to_owned(), "regularisation")
        ]
    );
    let written = write_recipe(root.path(), draft, false).unwrap();
    let text = fs::read_to_string(written.path).unwrap();
    let error = Recipe::parse(&text).unwrap_err();
    assert!(
        error
            .findings()
            .iter()
            .all(|finding| finding.code.as_str() == "RE14"),
        "{error}\n{text}"
    );
    // Once more: the file of parameters is the same, and requirements are not touched.
    fs::write(root.path().join("requirements.txt"), "mine\n").unwrap();
    import(root.path(), false, &mut |_| {}).unwrap();
    assert_eq!(
        fs::read_to_string(root.path().join("requirements.txt")).unwrap(),
        "mine\n"
    );
    assert!(!root.path().join("mlproject.params.toml").exists());
}

#[test]
fn conda_environments_and_images_are_read() {
    let value = yaml::read(
        "name: x\nchannels: [defaults]\ndependencies:\n  - python=3.8.2\n  - conda-forge::numpy=1.14.3=py_0\n  - scipy>=1\n  - pip\n  - pip:\n    - mlflow==2.1\n",
        "conda.yaml",
    )
    .unwrap();
    let packages = conda_env(&value);
    assert_eq!(packages.python.as_deref(), Some("3.8.2"));
    assert_eq!(packages.lines, ["mlflow==2.1"]);
    assert_eq!(packages.from_conda, ["numpy==1.14.3", "scipy>=1"]);
    let image =
        read("docker_env:\n  image: team/train:1\nentry_points:\n  main: {command: a}\n").unwrap();
    assert_eq!(image.image.as_deref(), Some("team/train:1"));
    for bad in [
        "name: x\n",
        "entry_points: {main: {parameters: {a: float}}}\n",
        "- a\n",
        "entry_points: [",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_version_that_conda_takes_for_a_beginning_is_told_as_not_pinned() {
    for (conda, pip) in [
        ("=1.2", "==1.2.*"),
        ("=1.2.*", "==1.2.*"),
        ("=1.2=*", "==1.2.*"),
        ("=1.2=py_0", "==1.2"),
        ("==1.2", "==1.2"),
        ("==1.2=py_0", "==1.2"),
        ("==1.2.*", "==1.2.*"),
        ("=*", ""),
        ("", ""),
        (">=1,<2", ">=1,<2"),
        ("=1.2,<2", "=1.2,<2"),
    ] {
        assert_eq!(for_pip(conda), pip, "{conda}");
    }
    let root = tempfile::tempdir().unwrap();
    for (path, text) in [
        (
            FILE,
            "conda_env: conda.yaml\nentry_points:\n  main: {command: sh train.sh}\n",
        ),
        (
            "conda.yaml",
            "dependencies:\n  - python=3.8.2\n  - pandas=1.2\n  - six==1.16.0\n  - numpy=1.14.3=py_0\n  - pip:\n    - tqdm ; python_version == '3.8'\n",
        ),
    ] {
        fs::write(root.path().join(path), text).unwrap();
    }
    let draft = import(root.path(), false, &mut |_| {}).unwrap();
    let due = "does not pin tqdm ; python_version == '3.8', pandas==1.2.*:";
    let notes = &draft.notes;
    assert!(notes.iter().any(|note| note.contains(due)), "{notes:?}");
    let requirements = fs::read_to_string(root.path().join("requirements.txt")).unwrap();
    let pinned = "pandas==1.2.*\nsix==1.16.0\nnumpy==1.14.3\n";
    assert!(requirements.ends_with(pinned), "{requirements}");
}

#[test]
fn entry_points_stand_in_the_order_of_the_file() {
    let train = "  train: {command: sh train.sh}\n";
    let evaluate = "  evaluate: {command: sh evaluate.sh}\n";
    for (first, second) in [(train, evaluate), (evaluate, train)] {
        let project = read(&format!("entry_points:\n{first}{second}")).unwrap();
        let names = project.entry_points.iter().map(|entry| &entry.name);
        let due = match first == train {
            true => ["train", "evaluate"],
            false => ["evaluate", "train"],
        };
        assert_eq!(names.collect::<Vec<_>>(), due);
    }
    for bad in [
        "entry_points: {}\n",
        "entry_points: []\n",
        "entry_points:\n",
        format!("entry_points:\n{train}{train}").as_str(),
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
