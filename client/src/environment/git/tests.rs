#![allow(clippy::unwrap_used)]
use super::*;

/// Git in a directory, under somebody's name.
fn run(directory: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let who = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.invalid",
        "-c",
        "commit.gpgsign=false",
    ];
    let mut git = asked::command(directory, &[]);
    git.args(who).args(arguments);
    asked::answer(git.output().map_err(|error| error.to_string())?)
}

/// The commit that is checked out there.
fn head(directory: &Path) -> String {
    let commit = run(directory, &["rev-parse", "HEAD"]).unwrap();
    String::from_utf8(commit).unwrap().trim().to_owned()
}

#[test]
fn a_project_below_the_top_has_its_own_changes_and_the_commit_of_all() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let project = root.join("models/a b");
    write("models/a b/train.py", "1\n");
    write("models/c/train.py", "1\n");
    assert_eq!(repository(&project), Ok(None));
    assert_eq!(filters_left_out(&project), None);
    assert_eq!(prefix_in_repository(&project), "");
    if run(&root, &["init", "-q"]).is_err() {
        return crate::skips::not_installed("git");
    }
    run(&root, &["add", "."]).unwrap();
    run(&root, &["commit", "-q", "-m", "first"]).unwrap();
    let here = repository(&project).unwrap().unwrap();
    assert_eq!(here.top.canonicalize().unwrap(), root);
    assert_eq!(here.prefix, "models/a b/");
    assert_eq!(prefix_in_repository(&project), here.prefix);
    let commit = head(&root);
    let fact = |name: &str| {
        let mut captured = Captured::default();
        record(&project, &mut captured);
        captured.facts.get(name).unwrap().to_string()
    };
    let open = || uncommitted(&here, &commit, ["train.py"].into_iter()).unwrap();
    // Others work in the same repository.
    write("models/c/train.py", "2\n");
    write("models/c/new.py", "2\n");
    assert_eq!(
        (fact("git.commit"), fact("git.changes")),
        (commit.clone(), "none".to_owned())
    );
    assert_eq!(open(), Vec::<String>::new());
    // Whoever likes to be shown paths from where he stands is asked no less.
    run(&root, &["config", "diff.relative", "true"]).unwrap();
    write("models/a b/train.py", "2\n");
    assert_eq!(open(), ["\"train.py\" was changed after it"]);
    assert!(fact("git.changes").starts_with("sha256:"));
    // Of a repository that git does not read nobody says that it is none.
    std::fs::write(root.join(".git/HEAD"), "").unwrap();
    assert!(repository(&project).is_err());
    assert_eq!(prefix_in_repository(&project), "models/a b/");
}

#[test]
fn changes_have_a_digest_and_none_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| run(directory.path(), arguments);
    if run(&["init", "-q"]).is_err() {
        return crate::skips::not_installed("git");
    }
    let facts = || {
        let mut captured = Captured::default();
        record(directory.path(), &mut captured);
        captured
    };
    assert!(facts().facts.is_empty() && !facts().left_out.is_empty());
    std::fs::write(directory.path().join("train.py"), "a\n").unwrap();
    run(&["add", "."]).unwrap();
    run(&["commit", "-q", "-m", "first"]).unwrap();
    let changes = || facts().facts.get("git.changes").unwrap().to_string();
    assert_eq!(changes(), "none");
    let commit = head(directory.path());
    let here = repository(directory.path()).unwrap().unwrap();
    assert_eq!(here.prefix, "");
    let open = |paths: &[&str]| uncommitted(&here, &commit, paths.iter().copied()).unwrap();
    assert_eq!(open(&["train.py"]), Vec::<String>::new());
    std::fs::write(directory.path().join("train.py"), "b\n").unwrap();
    assert!(open(&["train.py"])[0].contains("changed after"));
    assert!(open(&["other.py"])[0].contains("not in it"));
    let unknown = "0".repeat(40);
    assert!(uncommitted(&here, &unknown, ["train.py"].into_iter()).is_err());
    assert!(uncommitted(&here, "--help", ["train.py"].into_iter()).is_err());
    let first = changes();
    assert!(first.starts_with("sha256:"));
    std::fs::write(directory.path().join("new.py"), "c\n").unwrap();
    assert_ne!(changes(), first);
    let dirty = |at: &str| changed_files(&directory.path().join(at)).unwrap();
    assert_eq!(dirty(""), ["new.py", "train.py"]);
    std::fs::create_dir(directory.path().join("sub")).unwrap();
    std::fs::write(directory.path().join("sub/a b.py"), "").unwrap();
    assert_eq!(dirty("sub"), ["a b.py"]);
    run(&["add", "."]).unwrap();
    run(&["commit", "-q", "-m", "second"]).unwrap();
    run(&["mv", "new.py", "newer.py"]).unwrap();
    assert_eq!(dirty(""), ["newer.py"]);
}

/// A repository with a file that a filter is asked for, since its times are other than those that git knows; and beside
/// it what says that a program was run.
struct Stranger {
    directory: tempfile::TempDir,
}

impl Stranger {
    /// `None` where there is no git.
    fn new() -> Option<Stranger> {
        let directory = tempfile::tempdir().unwrap();
        let stranger = Stranger { directory };
        if !stranger.commit("r") {
            crate::skips::not_installed("git");
            return None;
        }
        Some(stranger)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(path)
    }

    /// Makes a repository of one file there.
    fn commit(&self, path: &str) -> bool {
        let top = self.at(path);
        std::fs::create_dir_all(&top).unwrap();
        std::fs::write(top.join("f"), "1\n").unwrap();
        std::fs::write(top.join(".gitattributes"), "f filter=x diff=x\n").unwrap();
        if run(&top, &["init", "-q"]).is_err() {
            return false;
        }
        run(&top, &["add", "."]).unwrap();
        run(&top, &["commit", "-q", "-m", "first"]).unwrap();
        true
    }

    /// A program that leaves a mark.
    fn program(&self) -> String {
        format!("touch {}; cat", self.at("RAN").display())
    }

    fn set(&self, path: &str, key: &str, value: &str) {
        run(&self.at(path), &["config", key, value]).unwrap();
    }

    /// Gives the file another time, and looks at the project in every way that there is: whether a program was run.
    fn runs_something(&self, project: &str) -> bool {
        let project = self.at(project);
        let ways: [&dyn Fn(); 4] = [
            &|| drop(changed_files(&project)),
            &|| record(&project, &mut Captured::default()),
            &|| {
                if let Ok(Some(here)) = repository(&project) {
                    let commit = "0".repeat(40);
                    drop(uncommitted(&here, &commit, ["f"].into_iter()));
                    drop(uncommitted(&here, &head(&here.top), ["f"].into_iter()));
                }
            },
            &|| drop(is_tracked(&project, "f")),
        ];
        let mut ran = false;
        for way in ways {
            for file in [project.join("f"), project.join("m/f")] {
                let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
                if let Ok(file) = std::fs::File::options().append(true).open(file) {
                    file.set_modified(past).unwrap();
                }
            }
            way();
            ran |= std::fs::remove_file(self.at("RAN")).is_ok();
        }
        ran
    }
}

#[test]
fn no_program_of_a_repository_is_run() {
    let Some(stranger) = Stranger::new() else {
        return;
    };
    let program = stranger.program();
    for key in [
        "filter.x.clean",
        "filter.x.process",
        "diff.x.command",
        "diff.x.textconv",
        "diff.external",
        "core.fsmonitor",
        "core.pager",
    ] {
        stranger.set("r", key, &program);
    }
    stranger.set("r", "filter.x.required", "true");
    let told = filters_left_out(&stranger.at("r")).unwrap();
    assert!(told.contains("are not run: x; if they"), "{told}");
    stranger.set("r", "alias.submodule", &format!("!{program}"));
    assert!(!stranger.runs_something("r"));
    // Asked all the same, for what it can tell without them.
    assert_eq!(changed_files(&stranger.at("r")), Some(Vec::new()));
    // It is these programs that git runs where it is asked in another way.
    let mut plain = std::process::Command::new("git");
    plain.arg("-C").arg(stranger.at("r")).args(["diff", "HEAD"]);
    std::fs::write(stranger.at("r/f"), "2\n").unwrap();
    let _ = plain.output();
    assert!(stranger.at("RAN").exists());
}

#[test]
fn a_filter_that_cannot_be_left_out_and_programs_of_one_are_refused() {
    let Some(stranger) = Stranger::new() else {
        return;
    };
    stranger.set("r", "lfs.extension.x.clean", &stranger.program());
    let reason = repository(&stranger.at("r")).unwrap_err();
    assert!(reason.contains("git-lfs"), "{reason}");
    assert_eq!(changed_files(&stranger.at("r")), None);
    run(
        &stranger.at("r"),
        &["config", "--remove-section", "lfs.extension.x"],
    )
    .unwrap();
    assert_eq!(changed_files(&stranger.at("r")), Some(Vec::new()));
    stranger.set("r", "filter.x=y.clean", &stranger.program());
    std::fs::write(stranger.at("r/.git/info/attributes"), "f filter=x=y\n").unwrap();
    let reason = repository(&stranger.at("r")).unwrap_err();
    assert!(reason.contains("x=y"), "{reason}");
    assert!(!stranger.runs_something("r"));
}

/// Git asks each submodule for its state by a command of its own, with that one's configuration.
#[test]
fn nor_is_one_of_a_submodule() {
    let Some(stranger) = Stranger::new() else {
        return;
    };
    assert!(stranger.commit("r/m") && stranger.commit("r/m/deep"));
    for (outer, inner) in [("r/m", "deep"), ("r", "m")] {
        let top = stranger.at(outer);
        let commit = head(&top.join(inner));
        let modules = format!("[submodule \"{inner}\"]\n\tpath = {inner}\n\turl = ./{inner}\n");
        std::fs::write(top.join(".gitmodules"), modules).unwrap();
        let entry = format!("160000,{commit},{inner}");
        run(&top, &["update-index", "--add", "--cacheinfo", &entry]).unwrap();
        run(&top, &["add", ".gitmodules"]).unwrap();
        run(&top, &["commit", "-q", "-m", "second"]).unwrap();
    }
    let program = stranger.program();
    for module in ["r/m", "r/m/deep"] {
        stranger.set(module, "filter.x.clean", &program);
        stranger.set(module, "diff.external", &program);
        stranger.set(module, "core.fsmonitor", &program);
    }
    stranger.set("r", "diff.submodule", "diff");
    assert!(!stranger.runs_something("r"));
    assert_eq!(changed_files(&stranger.at("r")), Some(Vec::new()));
    // Work in a submodule that is in no commit is seen.
    std::fs::write(stranger.at("r/m/f"), "2\n").unwrap();
    assert_eq!(changed_files(&stranger.at("r")).unwrap(), ["m"]);
    assert!(!stranger.runs_something("r"));
}

/// Its parts are ordinary files, which any clone brings.
#[test]
fn a_repository_that_is_committed_into_another_one_is_not_asked() {
    let Some(stranger) = Stranger::new() else {
        return;
    };
    let model = stranger.at("r/model");
    assert!(stranger.commit("r/model"));
    for entry in std::fs::read_dir(model.join(".git")).unwrap() {
        let entry = entry.unwrap();
        std::fs::rename(entry.path(), model.join(entry.file_name())).unwrap();
    }
    std::fs::remove_dir(model.join(".git")).unwrap();
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n[filter \"x\"]\n\tclean = {:?}\n",
        stranger.program()
    );
    std::fs::write(model.join("config"), config).unwrap();
    let reason = repository(&model).unwrap_err();
    assert!(reason.contains("laid out as a repository"), "{reason}");
    assert!(!stranger.runs_something("r/model"));
    // Nor from a directory in it, nor with its objects elsewhere.
    std::fs::create_dir(model.join("sub")).unwrap();
    assert!(repository(&model.join("sub")).is_err());
    for part in ["objects", "refs"] {
        std::fs::rename(model.join(part), stranger.at(part)).unwrap();
    }
    std::fs::write(model.join("commondir"), "../..\n").unwrap();
    assert!(!stranger.runs_something("r/model"));
    // Where nothing is around it, there is no repository.
    std::fs::remove_dir_all(stranger.at("r/.git")).unwrap();
    assert_eq!(repository(&model), Ok(None));
    assert!(!stranger.runs_something("r/model"));
}

#[test]
fn what_a_partial_clone_lacks_is_not_fetched() {
    let Some(stranger) = Stranger::new() else {
        return;
    };
    let top = stranger.at("r");
    let object = String::from_utf8(run(&top, &["rev-parse", "HEAD:f"]).unwrap()).unwrap();
    let (directory, name) = object.trim().split_at(2);
    std::fs::remove_file(top.join(format!(".git/objects/{directory}/{name}"))).unwrap();
    std::fs::write(top.join("f"), "2\n").unwrap();
    let program = format!("{} #", stranger.program());
    let elsewhere = stranger.at("elsewhere").display().to_string();
    assert!(stranger.commit("elsewhere"));
    for (key, value) in [
        ("core.repositoryformatversion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", elsewhere.as_str()),
        ("remote.origin.uploadpack", program.as_str()),
        // What is said of one protocol counts more than what is said of all.
        ("protocol.file.allow", "always"),
        ("protocol.ext.allow", "always"),
    ] {
        stranger.set("r", key, value);
    }
    assert!(!stranger.runs_something("r"));
    stranger.set(
        "r",
        "remote.origin.url",
        &format!("ext::sh -c \"{program}\""),
    );
    assert!(!stranger.runs_something("r"));
}

#[test]
fn what_came_with_a_clone_is_known() {
    let Some(stranger) = Stranger::new() else {
        return;
    };
    let top = stranger.at("r");
    let write = |path: &str| {
        let path = top.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    };
    for path in [
        ".sealstone/logs/a",
        ".sealstone/last/a.lock",
        ".sealstone/lasting",
    ] {
        write(path);
    }
    let last = ".sealstone/last";
    assert_eq!(is_tracked(&top, last), Ok(false));
    for path in [".sealstone/logs/a", ".sealstone/lasting"] {
        run(&top, &["add", "-f", path]).unwrap();
    }
    assert_eq!(is_tracked(&top, last), Ok(false), "its neighbours are none");
    run(&top, &["add", "-f", last]).unwrap();
    assert_eq!(is_tracked(&top, last), Ok(true));
    assert_eq!(
        is_tracked(&stranger.at(""), last),
        Ok(false),
        "no repository"
    );
    // A whole repository in that place.
    run(&top, &["rm", "-r", "-q", "--cached", ".sealstone"]).unwrap();
    assert_eq!(is_tracked(&top, last), Ok(false));
    let entry = format!("160000,{},.sealstone", head(&top));
    run(&top, &["update-index", "--add", "--cacheinfo", &entry]).unwrap();
    assert_eq!(is_tracked(&top, last), Ok(true));
}
