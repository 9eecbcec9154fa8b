//! A transfer that is interrupted: it ends soon, shows nothing under a final name, and leaves nothing that nobody uses.
//!
//! What is copied comes through a pipe, so that each signal meets it in the middle.

use crate::model_desk::Desk;
use crate::{client, project_desk};
use sealstone_spec::digest::Digest;
use sealstone_tests::signals;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// The client in the middle of a blob.
struct Copying {
    desk: Desk,
    child: Child,
    messages: BufReader<ChildStderr>,
    go_on: Sender<()>,
}

/// Starts the client, and gives it the beginning of the bundle's large blob.
fn copying(arguments: &[&str]) -> Copying {
    let desk = Desk::new();
    let blob = large_blob(&desk);
    let content = std::fs::read(&blob).unwrap();
    std::fs::remove_file(&blob).unwrap();
    let made = Command::new("mkfifo").arg(&blob).status().unwrap();
    assert!(made.success());
    let (begun, has_begun) = channel();
    let (go_on, may_go_on): (Sender<()>, Receiver<()>) = channel();
    // Its end is awaited by nobody: opening a pipe waits for a reader.
    std::thread::spawn(move || {
        let mut pipe = std::fs::File::options().write(true).open(&blob).unwrap();
        let (first, rest) = content.split_at(content.len() / 2);
        pipe.write_all(first).unwrap();
        begun.send(()).unwrap();
        if may_go_on.recv().is_ok() {
            // Nobody may be there any more.
            let _ = pipe.write_all(rest);
        }
    });
    let mut command = desk.command(arguments, None);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let messages = BufReader::new(child.stderr.take().unwrap());
    has_begun.recv_timeout(PATIENCE).unwrap();
    Copying {
        desk,
        child,
        messages,
        go_on,
    }
}

/// The file of the model's weights in the layout.
fn large_blob(desk: &Desk) -> PathBuf {
    let blobs = std::fs::read_dir(desk.path("bundle/blobs/sha256")).unwrap();
    let mut blobs = blobs.map(|entry| entry.unwrap());
    blobs
        .find(|entry| entry.metadata().unwrap().len() > 1024 * 1024)
        .unwrap()
        .path()
}

#[track_caller]
fn ended(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Copying {
    /// Reads until the client says that it was interrupted.
    #[track_caller]
    fn is_told(&mut self) {
        let mut line = String::new();
        while !line.contains("interrupted") {
            line.clear();
            assert_ne!(self.messages.read_line(&mut line).unwrap(), 0);
        }
    }

    /// What lies beside the model, but for what was there before.
    fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.desk.path("")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with("got") || name.contains(".partial-"))
            .collect()
    }
}

const EXPORT: [&str; 3] = ["export", "oci:bundle:1.0.0", "got.tar"];
const PULL: [&str; 5] = [
    "pull",
    "oci:bundle:1.0.0",
    "--insecure-skip-signatures",
    "-o",
    "got",
];

#[test]
fn what_was_interrupted_does_not_go_on_to_its_end() {
    for (arguments, signal) in [
        (&EXPORT[..], libc::SIGINT),
        (&EXPORT[..], libc::SIGTERM),
        (&PULL[..], libc::SIGINT),
    ] {
        let mut copying = copying(arguments);
        signals::send(&copying.child, signal).unwrap();
        copying.is_told();
        // The thread that reads may have the rest: it is to make nothing of it.
        copying.go_on.send(()).unwrap();
        assert_eq!(ended(&mut copying.child).code(), Some(1), "{arguments:?}");
        assert!(
            copying.left().is_empty(),
            "{arguments:?}: {:?}",
            copying.left()
        );
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut copying = copying(&EXPORT);
    signals::send(&copying.child, libc::SIGINT).unwrap();
    copying.is_told();
    signals::send(&copying.child, libc::SIGTERM).unwrap();
    // The thread that reads waits for bytes that never come.
    assert_eq!(ended(&mut copying.child).code(), Some(128 + 15));
    assert!(!copying.desk.path("got.tar").exists());
}

/// Names in a layout's directory of blobs that are none of a blob.
fn unfinished(desk: &Desk) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(desk.path("out/blobs/sha256")) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}

/// A pack in the middle of a file.
fn packing() -> (Desk, Child) {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("large")).unwrap();
    let large = std::fs::File::create(desk.path("large/model.bin")).unwrap();
    // It has no bytes on the disk; linked, it takes hours to be hashed.
    large.set_len(1 << 40).unwrap();
    let pack = ["pack", "large", "-o", "out:1.0.0", "--link"];
    let mut command = desk.command(&pack, None);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while unfinished(&desk).is_empty() {
        assert!(Instant::now() < deadline, "nothing is being packed");
        std::thread::sleep(Duration::from_millis(10));
    }
    (desk, child)
}

#[test]
fn packing_that_is_interrupted_leaves_nothing_in_the_layout() {
    let (desk, mut child) = packing();
    signals::send(&child, libc::SIGTERM).unwrap();
    assert_eq!(ended(&mut child).code(), Some(1));
    assert!(unfinished(&desk).is_empty(), "{:?}", unfinished(&desk));
    desk.run(&["list", "oci:out"]).expect(0);
}

/// Whoever is killed can clear nothing away, and the next one does that only when it is a day old: on file systems whose
/// locks do not reach other machines, it may be somebody's who works there.
#[test]
fn what_a_killed_pack_left_stays_for_a_day_and_harms_nobody() {
    let (desk, mut child) = packing();
    // Beside one that works, another one removes nothing.
    desk.run(&["pack", "model", "-o", "out:2.0.0"]).expect(0);
    assert_eq!(unfinished(&desk).len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(unfinished(&desk).len(), 1);
    desk.run(&["pack", "model", "-o", "out:3.0.0"]).expect(0);
    assert_eq!(unfinished(&desk).len(), 1);
    desk.run(&["list", "oci:out"]).expect(0);
}

#[test]
fn a_replay_that_is_interrupted_while_its_image_is_fetched_says_nothing_of_the_model() {
    let desk = project_desk::Desk::locked();
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!(
        r#"{{ kind = "oci", image = "{}/systems/tiny@{}" }}"#,
        registry.local_addr().unwrap(),
        Digest::sha256(b"an image")
    );
    desk.change("p/recipe.toml", r#"{ kind = "host" }"#, &image);
    let (ask, asked) = channel();
    std::thread::spawn(move || ask.send(registry.accept()));
    let arguments = [
        &["replay", "p", "--sign-with", "builder.key"][..],
        &["--report", "report.json", "--bundle", "signed.json"],
        &["--alert-dir", "alerts"],
    ];
    let mut command = client::sealstone(desk.root(), &arguments.concat());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // The registry never answers.
    let _open = asked.recv_timeout(PATIENCE).unwrap().unwrap();
    signals::send(&child, libc::SIGINT).unwrap();
    assert_eq!(ended(&mut child).code(), Some(4));
    for name in ["report.json", "signed.json", "alerts"] {
        assert!(!desk.path(name).exists(), "{name}");
    }
}
