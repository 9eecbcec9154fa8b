//! The command signer: a key that another program holds, in a token, a key service, an agent.
//!
//! Protocol, version 1. The program is started once for each signature, without a shell, with
//! - the message to sign on standard input, whole: it is signed as it is (Ed25519) or its SHA-256 is
//!   (ECDSA P-256),
//! - `SEALSTONE_SIGNER_PROTOCOL=1`, `SEALSTONE_KEY_ID` (`SHA256:...`), `SEALSTONE_ALGORITHM` (`ed25519` or
//!   `ecdsa-p256-sha256`) and `SEALSTONE_MESSAGE_FILE`, a file with the same bytes, in its environment;
//!   passphrases and passwords of Sealstone are taken out of it.
//!
//! It writes the signature to standard output and ends with 0: 64 bytes for Ed25519; DER, or 64 bytes
//! of r and s, for ECDSA; either as they are, or as one line of base64. Standard error is the user's, and so is the
//! terminal, if there is one: the program has its foreground and may ask something there. Keys that interrupt or stop it there
//! do the same to whoever started it.
//! Invariant: its answer is verified with the key that was named beforehand; nothing that does not
//! verify gets out of here. A program that takes too long is killed with everything it started; while somebody has stopped it
//! and this process at the terminal, no time passes for it.

use super::terminal::Lent;
use super::words;
use crate::error::{Error, Result};
use data_encoding::BASE64;
use sealstone_spec::key::{PublicKey, SignError, Signer};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 4096;

/// How often it is asked whether the program was stopped.
const TICK: Duration = Duration::from_millis(50);

/// How long a program has without another limit: somebody may have to touch a token.
pub const COMMAND_TIME: Duration = Duration::from_secs(120);

/// What must not leak into the environment of other programs.
const SECRETS: [&str; 3] = [
    "SEALSTONE_PASSPHRASE",
    "SEALSTONE_PASSWORD",
    "SEALSTONE_TOKEN",
];

/// Signs through a program; see the module.
#[derive(Clone, Debug)]
pub struct CommandSigner {
    public: PublicKey,
    program: Vec<String>,
    limit: Duration,
}

impl CommandSigner {
    /// A signer that runs `command`, a program and its arguments, and whose key is `public`.
    ///
    /// # Errors
    /// If the command is empty or ends within quotes.
    pub fn new(command: &str, public: PublicKey, limit: Duration) -> Result<CommandSigner> {
        let program = words::split(command)?;
        if program.is_empty() {
            return Err(Error::usage("the command that signs is empty")
                .hint("write --signer 'command:PROGRAM ARGUMENTS'"));
        }
        Ok(CommandSigner {
            public,
            program,
            limit,
        })
    }

    fn ask(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let mut file = tempfile::Builder::new()
            .prefix("sealstone-sign-")
            .tempfile()
            .map_err(|error| format!("writing the message to a file failed: {error}"))?;
        file.write_all(message)
            .and_then(|()| file.flush())
            .map_err(|error| format!("writing the message to a file failed: {error}"))?;
        let mut command = Command::new(&self.program[0]);
        command
            .args(&self.program[1..])
            .env("SEALSTONE_SIGNER_PROTOCOL", "1")
            .env("SEALSTONE_KEY_ID", self.public.id().to_string())
            .env("SEALSTONE_ALGORITHM", self.public.algorithm())
            .env("SEALSTONE_MESSAGE_FILE", file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own, so that a wrapper goes together with what it started.
            .process_group(0);
        for name in SECRETS {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(|error| {
            format!(
                "the program \"{}\" cannot be started: {error}",
                self.program[0]
            )
        })?;
        // A token may want its PIN. Given back when the program has ended, in one way or the other.
        let lent = Lent::to(&child);
        let answer = self.converse(&mut child, lent.as_ref(), message);
        if answer.is_err() {
            end(&mut child);
        }
        // What follows may end this process.
        drop(file);
        if let Some(lent) = lent {
            lent.give_back(child.try_wait().ok().flatten());
        }
        answer
    }

    fn converse(
        &self,
        child: &mut Child,
        lent: Option<&Lent>,
        message: &[u8],
    ) -> Result<Vec<u8>, String> {
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the program has no standard input or output".to_owned());
        };
        let message = message.to_vec();
        // A program may sign without reading its input: then writing it fails, which is no fault.
        std::thread::spawn(move || drop(input.write_all(&message)));
        let (send, answers) = channel();
        std::thread::spawn(move || {
            let mut answer = Vec::new();
            let read = output.take(MAX_ANSWER + 1).read_to_end(&mut answer);
            let _ = send.send(read.map(|_| answer));
        });
        let mut deadline = Instant::now() + self.limit;
        let follow = |child: &Child| lent.map_or(Duration::ZERO, |lent| lent.follow(child));
        let answer = self.receive(&answers, &mut deadline, || follow(child))?;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => break,
                Ok(Some(status)) => return Err(format!("the program ended with {status}")),
                Ok(None) => {
                    deadline += follow(child);
                    if Instant::now() >= deadline {
                        return Err(self.too_long());
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(format!("waiting for the program failed: {error}")),
            }
        }
        match answer.len() as u64 {
            0 => Err("the program answered nothing".to_owned()),
            length if length > MAX_ANSWER => Err(format!(
                "the program answered more than {MAX_ANSWER} bytes, which is no signature"
            )),
            _ => Ok(answer),
        }
    }

    /// Waits for the answer until the deadline, which is put off by what `meanwhile` returns: the time in which nobody could
    /// give one. That is asked before the deadline is, which has passed when somebody comes back.
    fn receive(
        &self,
        answers: &Receiver<std::io::Result<Vec<u8>>>,
        deadline: &mut Instant,
        meanwhile: impl Fn() -> Duration,
    ) -> Result<Vec<u8>, String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left.min(TICK)) {
                Ok(answer) => {
                    return answer.map_err(|error| format!("reading its answer failed: {error}"));
                }
                Err(RecvTimeoutError::Timeout) => {
                    *deadline += meanwhile();
                    if Instant::now() >= *deadline {
                        return Err(self.too_long());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("reading its answer failed".to_owned());
                }
            }
        }
    }

    fn too_long(&self) -> String {
        format!(
            "the program did not answer within {} s and was ended",
            self.limit.as_secs_f32()
        )
    }
}

impl Signer for CommandSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let refused = |problem: String| SignError {
            key: *self.public.id(),
            problem: format!("{}: {problem}", self.program[0]),
        };
        let answer = self.ask(message).map_err(refused)?;
        let plain = self.public.canonical_signature(message, &answer);
        let problem = match plain {
            Ok(signature) => return Ok(signature),
            Err(problem) => problem,
        };
        let text = answer.trim_ascii();
        if let Ok(decoded) = BASE64.decode(text)
            && let Ok(signature) = self.public.canonical_signature(message, &decoded)
        {
            return Ok(signature);
        }
        Err(refused(format!(
            "its answer is no signature by {} over the message: {problem}",
            self.public.id()
        )))
    }
}

/// Ends a program that still runs, with everything in its group.
fn end(child: &mut Child) {
    if let Ok(None) = child.try_wait() {
        super::group::kill(child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests;
