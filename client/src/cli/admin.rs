//! `sealstone admin`: accounts, tokens and storage of a Sealstone registry.

use super::Context;
use super::connect::ConnectArgs;
use super::log::watch_registry;
use super::output::in_line;
use sealstone::report::clean;
use sealstone::transport::{Admin, Registry};
use sealstone::{Error, Result};
use serde_json::{Value, json};

/// Arguments of `sealstone admin`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Speaks to Sealstone registries only, as whoever you are logged in as: most of it needs an
administrator. New secrets are printed once and cannot be shown again.

Examples:
  sealstone admin whoami registry.example
  sealstone admin account add registry.example ci --kind robot
  sealstone admin token add registry.example nightly --repository 'models/**' --verb pull --days 30
  sealstone admin gc registry.example --dry-run
  sealstone admin scrub registry.example")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say who the registry takes you for
    Whoami(Target),
    /// User and robot accounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// API tokens with scope and expiry
    #[command(subcommand)]
    Token(TokenCommand),
    /// Remove content that nothing leads to any more
    Gc {
        #[command(flatten)]
        target: Target,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Read all content and compare it with its digests
    Scrub(Target),
}

#[derive(Debug, clap::Subcommand)]
enum AccountCommand {
    /// List accounts
    List(Target),
    /// Add an account; its secret is made by the registry and shown once
    Add {
        #[command(flatten)]
        target: Target,
        /// Name of the account
        name: String,
        /// A person or a program
        #[arg(long, value_enum, default_value_t = Kind::User)]
        kind: Kind,
        /// Let it administer the registry
        #[arg(long)]
        admin: bool,
    },
    /// Remove an account
    Remove {
        #[command(flatten)]
        target: Target,
        /// Name of the account
        name: String,
    },
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// List tokens, without their secrets
    List(Target),
    /// Make a token that may do less than you, for a time
    Add {
        #[command(flatten)]
        target: Target,
        /// Name, to recognise it by
        name: String,
        /// Repositories, by name or glob; may be repeated
        #[arg(long, value_name = "GLOB", required = true)]
        repository: Vec<String>,
        /// What it may do there; may be repeated
        #[arg(long, value_enum, required = true)]
        verb: Vec<Verb>,
        /// Days until it ends
        #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Withdraw a token
    Remove {
        #[command(flatten)]
        target: Target,
        /// Id of the token, as `list` shows it
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct Target {
    /// The registry: HOST or HOST:PORT
    #[arg(value_name = "REGISTRY")]
    registry: String,

    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// A person
    User,
    /// A program
    Robot,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Pull,
    Push,
    Tag,
    Delete,
    Sign,
    Approve,
    Admin,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let (target, request) = args.command.request()?;
    let options = target.connect.options();
    let registry = Registry::new(&target.registry, None, &options)?;
    watch_registry(&target.registry, &options).await?;
    let answer = Admin::new(registry)
        .ask(request.method, &request.path, request.body.as_ref())
        .await?;
    let mut text = render(&answer, 0);
    if let Some(done) = request.done {
        text = if text.is_empty() {
            done
        } else {
            format!("{done}\n{text}")
        };
    }
    context.output.result(&answer, text);
    if answer.get("secret").is_some() {
        context
            .output
            .note("the secret is not shown again: keep it now");
    }
    Ok(())
}

struct Request {
    method: reqwest::Method,
    path: String,
    body: Option<Value>,
    done: Option<String>,
}

impl Request {
    fn new(method: reqwest::Method, path: impl Into<String>) -> Request {
        Request {
            method,
            path: path.into(),
            body: None,
            done: None,
        }
    }

    fn with(mut self, body: Value) -> Request {
        self.body = Some(body);
        self
    }

    fn says(mut self, done: String) -> Request {
        self.done = Some(done);
        self
    }
}

impl Command {
    fn request(self) -> Result<(Target, Request)> {
        use reqwest::Method;
        let get = |path: &str| Request::new(Method::GET, path);
        let post = |path: &str| Request::new(Method::POST, path);
        Ok(match self {
            Command::Whoami(target) => (target, get("whoami")),
            Command::Scrub(target) => (target, post("scrub")),
            Command::Gc {
                target,
                dry_run: true,
            } => (target, post("gc?dry_run=true")),
            Command::Gc {
                target,
                dry_run: false,
            } => (target, post("gc")),
            Command::Account(AccountCommand::List(target)) => (target, get("accounts")),
            Command::Account(AccountCommand::Add {
                target,
                name,
                kind,
                admin,
            }) => {
                let kind = match kind {
                    Kind::User => "user",
                    Kind::Robot => "robot",
                };
                let body = json!({"name": name, "kind": kind, "admin": admin});
                (
                    target,
                    post("accounts")
                        .with(body)
                        .says(format!("added account \"{name}\"")),
                )
            }
            Command::Account(AccountCommand::Remove { target, name }) => {
                let request =
                    Request::new(Method::DELETE, format!("accounts/{}", path_part(&name)?));
                (target, request.says(format!("removed account \"{name}\"")))
            }
            Command::Token(TokenCommand::List(target)) => (target, get("tokens")),
            Command::Token(TokenCommand::Add {
                target,
                name,
                repository,
                verb,
                days,
            }) => {
                let body = json!({"name": name, "scopes": [{"repositories": repository, "verbs": verb}],
                    "expires_in_seconds": u64::from(days) * 86_400});
                (
                    target,
                    post("tokens")
                        .with(body)
                        .says(format!("made token \"{name}\" for {days} days")),
                )
            }
            Command::Token(TokenCommand::Remove { target, id }) => {
                let request = Request::new(Method::DELETE, format!("tokens/{}", path_part(&id)?));
                (target, request.says(format!("withdrew token \"{id}\"")))
            }
        })
    }
}

/// A name that is one element of a path and stays one.
fn path_part(name: &str) -> Result<&str> {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+' | '$');
    if !name.is_empty() && name.chars().all(is_plain) && !matches!(name, "." | "..") {
        Ok(name)
    } else {
        Err(Error::usage(format!(
            "\"{}\" is not a name that a registry gives",
            name.escape_debug()
        )))
    }
}

/// JSON as indented lines, for people.
fn render(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Null => String::new(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (in_line(name), value))
            .map(|(name, value)| match value {
                Value::Object(_) | Value::Array(_) if !is_flat(value) => {
                    format!("{indent}{name}:\n{}", render(value, depth + 1))
                }
                _ => format!("{indent}{name}: {}", flat(value)),
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::Object(fields) => {
                    let line: Vec<String> = fields
                        .iter()
                        .map(|(name, value)| format!("{}={}", in_line(name), flat(value)))
                        .collect();
                    format!("{indent}{}", line.join("  "))
                }
                _ => format!("{indent}{}", flat(item)),
            })
            .collect::<Vec<_>>()
            .join("\n"),
        _ => format!("{indent}{}", flat(value)),
    }
}

fn is_flat(value: &Value) -> bool {
    value
        .as_array()
        .is_some_and(|items| items.iter().all(|item| !item.is_object()))
}

fn flat(value: &Value) -> String {
    match value {
        // As a whole: it may be a secret that is shown once.
        Value::String(text) => clean(text, usize::MAX),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_cannot_become_another_path() {
        for bad in ["", "..", "a/b", "a?x", "a%2fb", "a#"] {
            assert!(path_part(bad).is_err(), "{bad}");
        }
        assert_eq!(path_part("ci-robot.1").unwrap(), "ci-robot.1");
    }

    #[test]
    fn answers_are_readable() {
        let value = json!({"accounts": [{"name": "a", "admin": true}], "count": 1, "verbs": ["pull", "push"]});
        let text = render(&value, 0);
        assert!(
            text.contains("  admin=true  name=a") || text.contains("  name=a  admin=true"),
            "{text}"
        );
        assert!(text.contains("verbs: pull,push"), "{text}");
    }
}
