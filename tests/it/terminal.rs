//! A terminal with the real client in it, and somebody who types there: `script` of util-linux makes the terminal.
//!
//! Owns when something is typed: once the prompt stands there and the terminal shows no more what is typed.

use crate::client;
use sealstone_tests::registry::binary;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);

/// Whether terminals can be made here.
pub(crate) fn is_possible() -> bool {
    let mut script = Command::new("script");
    let version = script.arg("--version").output();
    // Others than that of util-linux take no command.
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("util-linux"))
}

/// A terminal in which the client runs.
pub(crate) struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
    device: PathBuf,
}

impl Terminal {
    /// Starts the client in `directory` with these arguments, words for a shell.
    pub(crate) fn start(directory: &Path, arguments: &str) -> Terminal {
        let device = directory.join("terminal");
        std::fs::remove_file(&device).ok();
        let program = binary("sealstone").unwrap();
        let text = format!(
            "tty > terminal && exec '{}' --output json {arguments}",
            program.display()
        );
        let mut command = Command::new("script");
        command.args(["-qec", text.as_str(), "/dev/null"]);
        client::alone(&mut command, directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let keyboard = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let screen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let shared = screen.clone();
        let reader = thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut part) {
                shared.lock().unwrap().extend_from_slice(&part[..count]);
            }
        });
        Terminal {
            child,
            keyboard,
            screen,
            reader,
            device,
        }
    }

    /// Types a line as soon as it is asked for.
    #[track_caller]
    pub(crate) fn answer(&mut self, prompt: &str, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !(self.shown().contains(prompt) && self.is_silent()) {
            let shown = self.shown();
            assert!(Instant::now() < deadline, "no \"{prompt}\" in {shown}");
            thread::sleep(Duration::from_millis(20));
        }
        let typed = format!("{line}\n");
        self.keyboard.write_all(typed.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Everything that stood there, if the client ended with this code.
    #[track_caller]
    pub(crate) fn expect(mut self, code: i32) -> String {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let shown = self.shown();
            assert!(Instant::now() < deadline, "it does not end: {shown}");
            thread::sleep(Duration::from_millis(20));
        };
        // All of it has been read only then. The keyboard stays until here: its end would be typed, too.
        let Terminal { screen, reader, .. } = self;
        reader.join().unwrap();
        let shown = String::from_utf8_lossy(&screen.lock().unwrap()).into_owned();
        assert_eq!(status.code(), Some(code), "{shown}");
        shown
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Whether the terminal does not show what is typed.
    fn is_silent(&self) -> bool {
        let device = std::fs::read_to_string(&self.device).unwrap_or_default();
        let mut state = Command::new("stty");
        let Ok(state) = state.args(["-a", "-F", device.trim()]).output() else {
            return false;
        };
        let state = String::from_utf8_lossy(&state.stdout);
        // Also "-icanon": a terminal that is not read by the line is one that somebody has prepared.
        let has = |setting: &str| state.split_whitespace().any(|word| word == setting);
        has("-echo") && has("-icanon")
    }
}
