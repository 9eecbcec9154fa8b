//! A program that signs and asks for a PIN at the terminal, as those of tokens do; driven through a terminal of its own.

use crate::client::{self, Ended};
use crate::model_desk::Desk;
use sealstone_tests::registry::binary;
use sealstone_tests::skips;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// Starts its arguments but the first at a new terminal, types the parts of the first at the question there, a second apart,
/// and ends as they do; with 256 less the signal, if one ended them.
const TYPIST: &str = r#"
import os, pty, signal, sys, time
process, terminal = pty.fork()
if process == 0:
    # A job in the background may ignore it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.argv[2], sys.argv[2:])
said = b""
def hear():
    try:
        return os.read(terminal, 1000)
    except OSError:
        return b""
while b"PIN: " not in said:
    heard = hear()
    if not heard:
        break
    said += heard
else:
    for part in sys.argv[1].split("|"):
        os.write(terminal, part.encode())
        time.sleep(1)
    while heard := hear():
        said += heard
_, status = os.waitpid(process, 0)
sys.stdout.buffer.write(said)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"#;

/// A shell with one job, its arguments, that leaves it stopped for longer than the signer has. Ends as the job does, or with
/// 99 if nothing stopped it.
const SHELL: &str = r#"
import os, signal, sys, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
_, status = os.waitpid(job, os.WUNTRACED)
os.tcsetpgrp(0, os.getpgrp())
if not os.WIFSTOPPED(status):
    sys.exit(99)
time.sleep(8)
os.tcsetpgrp(0, job)
os.killpg(job, signal.SIGCONT)
_, status = os.waitpid(job, 0)
os.tcsetpgrp(0, os.getpgrp())
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"#;

fn is_there(program: &str, argument: &str) -> bool {
    let ended = Command::new(program).arg(argument).output();
    ended.is_ok_and(|output| output.status.success())
}

/// A desk with a program that signs once it has its PIN; `None` where there is no such program.
fn desk() -> Option<Desk> {
    for (program, argument) in [("openssl", "version"), ("python3", "--version")] {
        if !is_there(program, argument) {
            skips::not_installed(program);
            return None;
        }
    }
    let desk = Desk::new();
    let signer = desk.path("token.sh");
    let script = format!(
        "#!/bin/sh\nprintf 'PIN: ' > /dev/tty\nread pin < /dev/tty\ntest \"$pin\" = 1234 || exit 9\n\
         exec openssl pkeyutl -sign -rawin -inkey '{}' -in \"$SEALSTONE_MESSAGE_FILE\"\n",
        desk.path("alice.key").display()
    );
    fs::write(&signer, script).unwrap();
    fs::set_permissions(&signer, fs::Permissions::from_mode(0o700)).unwrap();
    Some(desk)
}

/// Signs in a script that goes on after that, and types this when it is asked for the PIN.
fn typed(desk: &Desk, keys: &str) -> Ended {
    let script = ["/bin/sh", "-c", "\"$@\" || exit; : > after", "sh"];
    typed_in(&script, "20", desk, keys)
}

/// The same under this program, with so many seconds for the signer.
fn typed_in(program: &[&str], time: &str, desk: &Desk, keys: &str) -> Ended {
    let mut command = Command::new("python3");
    command
        .args(["-c", TYPIST, keys])
        .args(program)
        .arg(binary("sealstone").unwrap())
        .args(["--output", "json", "sign", "oci:bundle:1.0.0"])
        .arg("--signer")
        .arg(format!("command:{}", desk.path("token.sh").display()))
        .args(["--signer-key", "alice.pub", "--signer-time", time]);
    client::run(client::alone(&mut command, &desk.path("")))
}

#[test]
fn a_program_that_signs_may_ask_for_a_pin_at_the_terminal() {
    let Some(desk) = desk() else { return };
    typed(&desk, "1234\n").expect(0);
    assert!(desk.path("after").is_file());
    desk.run(&["verify", "oci:bundle:1.0.0", "--key", "alice.pub"])
        .expect(0);
}

#[test]
fn an_interrupt_at_the_question_ends_the_script_as_well() {
    let Some(desk) = desk() else { return };
    // The shell itself ends by it, which it would not do if it only saw sealstone fail.
    typed(&desk, "\u{3}").expect(256 - 2);
    assert!(!desk.path("after").exists());
}

/// Nobody could let the group of the terminal's first program go on again, so the system does not stop it.
#[test]
fn a_stop_at_the_question_does_not_leave_the_program_behind() {
    let Some(desk) = desk() else { return };
    typed(&desk, "\u{1a}|1234\n").expect(0);
    desk.run(&["verify", "oci:bundle:1.0.0", "--key", "alice.pub"])
        .expect(0);
}

/// Whoever stops it and comes back later still has the time that was left.
#[test]
fn no_time_passes_for_the_signer_while_it_is_stopped() {
    let Some(desk) = desk() else { return };
    let shell = ["/usr/bin/env", "python3", "-c", SHELL];
    typed_in(&shell, "6", &desk, "\u{1a}|1234\n").expect(0);
    desk.run(&["verify", "oci:bundle:1.0.0", "--key", "alice.pub"])
        .expect(0);
}
