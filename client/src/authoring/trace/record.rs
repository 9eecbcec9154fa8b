//! One line of what strace writes: the calls that open, write, move and reach.
//!
//! Reads the form of `strace -ff -ttt -y`: a time, a call, its result; opened files carry their whole path in
//! `<...>`. Other lines are no error, they say nothing here. Invariant: any text is read without a panic.

/// A call that tells something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A file or directory was opened; its path is whole where strace told it.
    Opened {
        /// Where.
        path: String,
        /// Whether its content can be read.
        reads: bool,
        /// Whether it can be changed.
        writes: bool,
        /// Whether it is a directory.
        directory: bool,
    },
    /// Something has another name now; paths may be relative.
    Renamed {
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// A file was changed or made by name.
    Made(String),
    /// A file is gone.
    Removed(String),
    /// The process is another program now.
    Executed {
        /// The program.
        program: String,
        /// Its arguments, the first one its name; cut where strace cut them.
        arguments: Vec<String>,
    },
    /// The process works in another directory now.
    Entered(String),
    /// Another process or thread was started.
    Started(u32),
    /// An address beyond this machine was tried.
    Reached(String),
}

/// Reads a line: the time in microseconds, and the call. `None` if it tells nothing.
///
/// ```
/// use sealstone::authoring::{Call, read_line};
/// let line = r#"12.5 openat(AT_FDCWD</p>, "a b", O_RDONLY|O_CLOEXEC) = 3</p/a b>"#;
/// let (time, call) = read_line(line).unwrap();
/// assert_eq!(time, 12_500_000);
/// assert!(matches!(call, Call::Opened { path, reads: true, .. } if path == "/p/a b"));
/// ```
pub fn read_line(line: &str) -> Option<(u64, Call)> {
    let (time, rest) = line.split_once(' ')?;
    let time = microseconds(time)?;
    let (name, rest) = rest.trim_start().split_once('(')?;
    let (arguments, result) = arguments(rest)?;
    let result = result.trim_start().strip_prefix('=')?.trim_start();
    let argument = |index: usize| arguments.get(index).copied();
    if name == "connect" {
        return Some((time, Call::Reached(address(argument(1)?)?)));
    }
    if result.starts_with(['-', '?']) {
        return None;
    }
    let named = |at: Option<usize>, index: usize| -> Option<String> {
        let path = text(argument(index)?)?;
        match at.and_then(argument).and_then(descriptor) {
            Some(directory) if !path.starts_with('/') => Some(format!("{directory}/{path}")),
            _ => Some(path),
        }
    };
    let call = match name {
        "open" => opened(argument(1)?, result, named(None, 0)),
        "openat" | "openat2" => opened(argument(2)?, result, named(Some(0), 1)),
        "creat" => opened("O_WRONLY|O_CREAT|O_TRUNC", result, named(None, 0)),
        "rename" => Some(Call::Renamed {
            from: named(None, 0)?,
            to: named(None, 1)?,
        }),
        "renameat" | "renameat2" => Some(Call::Renamed {
            from: named(Some(0), 1)?,
            to: named(Some(2), 3)?,
        }),
        "link" | "symlink" => Some(Call::Made(named(None, 1)?)),
        "linkat" => Some(Call::Made(named(Some(2), 3)?)),
        "symlinkat" => Some(Call::Made(named(Some(1), 2)?)),
        "truncate" => Some(Call::Made(named(None, 0)?)),
        "unlink" => Some(Call::Removed(named(None, 0)?)),
        "unlinkat" => Some(Call::Removed(named(Some(0), 1)?)),
        "chdir" => Some(Call::Entered(named(None, 0)?)),
        "fchdir" => Some(Call::Entered(descriptor(argument(0)?)?)),
        "execve" => Some(Call::Executed {
            program: text(argument(0)?)?,
            arguments: texts(argument(1)?),
        }),
        "clone" | "clone3" | "fork" | "vfork" => {
            let digits: String = result.chars().take_while(char::is_ascii_digit).collect();
            Some(Call::Started(digits.parse().ok()?))
        }
        _ => None,
    };
    Some((time, call?))
}

fn microseconds(text: &str) -> Option<u64> {
    let (seconds, part) = text.split_once('.').unwrap_or((text, "0"));
    let part: String = part.chars().chain("000000".chars()).take(6).collect();
    let seconds: u64 = seconds.parse().ok()?;
    seconds
        .checked_mul(1_000_000)?
        .checked_add(part.parse().ok()?)
}

fn opened(flags: &str, result: &str, named: Option<String>) -> Option<Call> {
    let has = |flag: &str| {
        flags
            .split(['|', ',', '{', '}', '=', ' '])
            .any(|word| word == flag)
    };
    // What the kernel opened, with links followed, rather than what was asked for.
    let path = descriptor(result)
        .filter(|path| path.starts_with('/'))
        .or(named)?;
    let writes = has("O_WRONLY") || has("O_RDWR");
    Some(Call::Opened {
        path,
        reads: !has("O_WRONLY") && !has("O_PATH"),
        writes,
        directory: has("O_DIRECTORY"),
    })
}

/// Arguments at the top level, and what follows their closing bracket.
fn arguments(rest: &str) -> Option<(Vec<&str>, &str)> {
    let mut arguments = Vec::new();
    let mut depth = 0usize;
    let mut quoted = false;
    let mut escaped = false;
    let mut start = 0;
    for (index, c) in rest.char_indices() {
        if quoted {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' => quoted = true,
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                arguments.push(rest[start..index].trim());
                return Some((arguments, &rest[index + 1..]));
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                arguments.push(rest[start..index].trim());
                start = index + 1;
            }
            // The path of a descriptor may hold any of these.
            '<' => {
                let end = rest[index..].find('>')?;
                let skipped = &rest[index..index + end];
                if skipped.contains(['"', ',', '(', ')', '[', ']', '{', '}']) {
                    return arguments_after(rest, arguments, start, index + end + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// As [`arguments`], from behind the path of a descriptor that holds signs.
fn arguments_after<'a>(
    rest: &'a str,
    mut before: Vec<&'a str>,
    start: usize,
    end: usize,
) -> Option<(Vec<&'a str>, &'a str)> {
    let (more, result) = arguments(rest.get(end..)?)?;
    let first_bytes = more.first().map_or(0, |first| {
        // From the start of this argument to the end of its remainder, which `arguments` has trimmed.
        (first.as_ptr() as usize).saturating_sub(rest.as_ptr() as usize) + first.len()
    });
    before.push(rest.get(start..first_bytes.max(end))?.trim());
    before.extend(more.into_iter().skip(1));
    Some((before, result))
}

/// The path in `3</path>` and `AT_FDCWD</path>`.
fn descriptor(text: &str) -> Option<String> {
    let (number, rest) = text.split_once('<')?;
    let is_descriptor =
        number == "AT_FDCWD" || (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    if !is_descriptor {
        return None;
    }
    let (path, _) = rest.split_once('>')?;
    unescape(path)
}

/// A text in quotes.
fn text(argument: &str) -> Option<String> {
    unescape(argument.strip_prefix('"')?.strip_suffix('"')?)
}

/// The texts of a list in brackets.
fn texts(argument: &str) -> Vec<String> {
    let Some(inner) = argument.strip_prefix('[') else {
        return Vec::new();
    };
    // The closing bracket ends a list as that of a call ends its arguments.
    let Some((items, _)) =
        arguments(&format!("{})", inner.trim_end_matches(']'))).map(|(items, rest)| {
            (
                items.iter().map(|item| text(item)).collect::<Vec<_>>(),
                rest.len(),
            )
        })
    else {
        return Vec::new();
    };
    items.into_iter().map_while(|item| item).collect()
}

/// C's escapes, as strace writes bytes.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&next, after) = rest.split_first()?;
        rest = after;
        match next {
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'r' => bytes.push(b'\r'),
            b'v' => bytes.push(0x0b),
            b'f' => bytes.push(0x0c),
            b'0'..=b'7' => {
                let mut value = u32::from(next - b'0');
                for _ in 0..2 {
                    match rest.split_first() {
                        Some((digit @ b'0'..=b'7', after)) => {
                            value = value * 8 + u32::from(digit - b'0');
                            rest = after;
                        }
                        _ => break,
                    }
                }
                bytes.push(u8::try_from(value).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// The address of a connection that leaves this machine.
fn address(argument: &str) -> Option<String> {
    let after = |key: &str| {
        let (_, rest) = argument.split_once(key)?;
        rest.split(['"', ')']).find(|part| !part.is_empty())
    };
    let port = argument
        .split_once("port=htons(")
        .map(|(_, rest)| rest.split(')').next().unwrap_or_default());
    let address = if argument.contains("AF_INET6") {
        after("inet_pton(AF_INET6, ")?
    } else if argument.contains("AF_INET") {
        after("inet_addr(")?
    } else {
        return None;
    };
    let is_local = address.starts_with("127.") || ["::1", "0.0.0.0", "::"].contains(&address);
    let shown = match port {
        Some(port) => format!("{address} port {port}"),
        None => address.to_owned(),
    };
    (!is_local).then_some(shown)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn call(line: &str) -> Option<Call> {
        read_line(&format!("1795823189.892020 {line}")).map(|(_, call)| call)
    }

    #[test]
    fn opened_files_are_named_as_the_kernel_named_them() {
        let write = call(
            r#"openat(AT_FDCWD</tmp/st/out>, "../b.out", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 3</tmp/st/b.out>"#,
        );
        let due = Call::Opened {
            path: "/tmp/st/b.out".into(),
            reads: false,
            writes: true,
            directory: false,
        };
        assert_eq!(write.unwrap(), due);
        let escaped =
            call(r#"openat(AT_FDCWD</p>, "fin \303\251.txt", O_RDONLY) = 3</p/fin \303\251.txt>"#);
        assert!(matches!(escaped.unwrap(), Call::Opened { path, .. } if path == "/p/fin é.txt"));
        let listed =
            call(r#"openat(AT_FDCWD</p>, ".", O_RDONLY|O_NONBLOCK|O_CLOEXEC|O_DIRECTORY) = 3</p>"#);
        assert!(matches!(
            listed.unwrap(),
            Call::Opened {
                directory: true,
                ..
            }
        ));
        let signs = call(r#"openat(AT_FDCWD</p (1), [x]>, "a", O_RDONLY) = 3</p (1), [x]/a>"#);
        assert!(matches!(signs.unwrap(), Call::Opened { path, .. } if path == "/p (1), [x]/a"));
    }

    #[test]
    fn what_failed_or_says_nothing_is_passed_over() {
        for line in [
            r#"openat(AT_FDCWD</p>, "x", O_RDONLY) = -1 ENOENT (No such file or directory)"#,
            r#"newfstatat(3</p/x>, "", {st_mode=S_IFREG|0644, st_size=2996, ...}, AT_EMPTY_PATH) = 0"#,
            "+++ exited with 0 +++",
            "rename(\"a\" <unfinished ...>",
            r#"connect(3<socket:[1]>, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = 0"#,
            r#"connect(3<socket:[1]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0"#,
        ] {
            assert_eq!(call(line), None, "{line}");
        }
        assert_eq!(read_line(""), None);
    }

    #[test]
    fn moves_programs_children_and_networks_are_seen() {
        assert_eq!(
            call(r#"rename("out/tmp", "out/fin") = 0"#).unwrap(),
            Call::Renamed {
                from: "out/tmp".into(),
                to: "out/fin".into()
            }
        );
        assert_eq!(
            call(r#"renameat2(AT_FDCWD</p>, "a", 5</q>, "b", RENAME_NOREPLACE) = 0"#).unwrap(),
            Call::Renamed {
                from: "/p/a".into(),
                to: "/q/b".into()
            }
        );
        assert_eq!(
            call(r#"execve("/usr/bin/python3", ["python3", "a, [b].py", "--x=\"1\""], 0x7ffe /* 20 vars */) = 0"#).unwrap(),
            Call::Executed {
                program: "/usr/bin/python3".into(),
                arguments: vec!["python3".into(), "a, [b].py".into(), "--x=\"1\"".into()],
            }
        );
        assert_eq!(
            call("clone3({flags=CLONE_VM, exit_signal=0} => {parent_tid=[22742]}, 88) = 22742")
                .unwrap(),
            Call::Started(22742)
        );
        assert_eq!(
            call(r#"connect(3<socket:[1]>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}, 16) = -1 EINPROGRESS (Operation now in progress)"#).unwrap(),
            Call::Reached("192.0.2.1 port 443".into())
        );
        assert_eq!(
            call(r#"connect(3<socket:[1]>, {sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 0"#).unwrap(),
            Call::Reached("2001:db8::1 port 53".into())
        );
        assert_eq!(
            call(r#"chdir("out")          = 0"#).unwrap(),
            Call::Entered("out".into())
        );
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC{0,200}", call in "[a-z(),\"<>\\\\{}= 0-9A-Z_|/\\[\\]]{0,120}") {
            read_line(&line);
            read_line(&format!("1.5 {call}"));
            read_line(&format!("1.5 openat({call}"));
            read_line(&format!("1.5 execve(\"a\", [{call}"));
        }
    }
}
