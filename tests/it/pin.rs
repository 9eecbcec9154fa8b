//! A program that signs and asks for a PIN at the terminal, as those of tokens do; driven through a terminal of its own.

use crate::client;
use crate::model_desk::Desk;
use sealstone_tests::registry::binary;
use sealstone_tests::skips;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// Starts its arguments at a new terminal, answers the first question there, and ends as they do.
const TYPIST: &str = r#"
import os, pty, sys
process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[1], sys.argv[1:])
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
    os.write(terminal, b"1234\n")
    while heard := hear():
        said += heard
_, status = os.waitpid(process, 0)
sys.stdout.buffer.write(said)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

fn is_there(program: &str, argument: &str) -> bool {
    let ended = Command::new(program).arg(argument).output();
    ended.is_ok_and(|output| output.status.success())
}

#[test]
fn a_program_that_signs_may_ask_for_a_pin_at_the_terminal() {
    for (program, argument) in [("openssl", "version"), ("python3", "--version")] {
        if !is_there(program, argument) {
            return skips::not_installed(program);
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
    let mut command = Command::new("python3");
    command
        .args(["-c", TYPIST])
        .arg(binary("sealstone").unwrap())
        .args(["--output", "json", "sign", "oci:bundle:1.0.0"])
        .arg("--signer")
        .arg(format!("command:{}", signer.display()))
        .args(["--signer-key", "alice.pub", "--signer-time", "20"]);
    client::run(client::alone(&mut command, &desk.path(""))).expect(0);
    desk.run(&["verify", "oci:bundle:1.0.0", "--key", "alice.pub"])
        .expect(0);
}
