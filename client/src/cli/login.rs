//! `sealstone login` and `sealstone logout`: credentials tried first, then kept.

use super::Context;
use super::connect::ConnectArgs;
use sealstone::credentials::{Credential, Fixed, Kept, Keyring, Secret};
use sealstone::transport::Registry;
use sealstone::{Error, Result};
use serde_json::json;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::sync::Arc;

/// Longest password that is read from standard input.
const MAX_SECRET: u64 = 64 * 1024;

/// Arguments of `sealstone login`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The credentials are tried at the registry first and kept only if it accepts them: with docker's
credential helper if config.json names one, else in ~/.docker/config.json ($DOCKER_CONFIG), readable
by you alone. Unattended jobs need no login: they set SEALSTONE_USERNAME and SEALSTONE_PASSWORD, and
SEALSTONE_REGISTRY to bind them to one registry.

Examples:
  sealstone login registry.example
  sealstone login registry.example -u ci --password-stdin < token.txt
  sealstone login localhost:5000 -u admin")]
pub(crate) struct Args {
    /// The registry: HOST or HOST:PORT
    #[arg(value_name = "REGISTRY")]
    registry: String,

    /// User or robot account; asked for if it is not given
    #[arg(long, short, value_name = "USER")]
    username: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Arguments of `sealstone logout`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sealstone logout registry.example")]
pub(crate) struct LogoutArgs {
    /// The registry: HOST or HOST:PORT
    #[arg(value_name = "REGISTRY")]
    registry: String,
}

/// Runs `login`.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let username = match args.username {
        Some(username) => username,
        None => ask_username(&args.registry)?,
    };
    let secret = if args.password_stdin {
        read_secret()?
    } else {
        ask_secret(&args.registry, &username)?
    };
    let mut options = args.connect.options();
    options.credentials = Some(Arc::new(Fixed(Some(Credential::basic(
        &username,
        secret.reveal(),
    )))));
    // The log is not watched here, unlike everywhere else: nothing is taken from the registry and nothing given to
    // it but the secret, and whoever is to ask what became of a log has to be able to log in.
    Registry::new(&args.registry, None, &options)?
        .ping()
        .await
        .map_err(Error::from)?;

    let kept = Keyring::from_environment()
        .keep(&args.registry, &username, &secret)
        .await?;
    let (place, warning) = match &kept {
        Kept::Helper(name) => (format!("with docker-credential-{name}"), ""),
        Kept::File(path) => (
            format!("in \"{}\"", path.display()),
            "\n  the file is readable by you alone, but not encrypted; a credential helper keeps secrets better",
        ),
    };
    let value = json!({"registry": args.registry, "username": username, "keptWith": match &kept {
        Kept::Helper(name) => json!({"helper": name}),
        Kept::File(path) => json!({"file": path}),
    }});
    context.output.result(
        &value,
        format!(
            "logged in to {} as {username}, kept {place}{warning}",
            args.registry
        ),
    );
    Ok(())
}

/// Runs `logout`.
pub(crate) async fn run_logout(args: LogoutArgs, context: &Context) -> Result<()> {
    let was_known = Keyring::from_environment().forget(&args.registry).await?;
    let text = match was_known {
        true => format!("logged out of {}", args.registry),
        false => format!("nothing was kept for {}", args.registry),
    };
    context.output.result(
        &json!({"registry": args.registry, "wasLoggedIn": was_known}),
        text,
    );
    Ok(())
}

fn ask_username(registry: &str) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::usage("no user name was given").hint("add --username USER"));
    }
    let _ = write!(std::io::stderr(), "User name at {registry}: ");
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| Error::io("reading the user name", error))?;
    match line.trim() {
        "" => Err(Error::usage("no user name was given")),
        name => Ok(name.to_owned()),
    }
}

fn ask_secret(registry: &str, username: &str) -> Result<Secret> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Error::usage("there is no terminal to ask for the password on")
                .hint("give it on standard input: --password-stdin"),
        );
    }
    rpassword::prompt_password(format!("Password or token of {username} at {registry}: "))
        .map(Secret::new)
        .map_err(|error| Error::io("reading the password", error))
        .and_then(not_empty)
}

fn read_secret() -> Result<Secret> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_SECRET)
        .read_to_string(&mut text)
        .map_err(|error| Error::io("reading the password from standard input", error))?;
    // One line end belongs to the tool that wrote it; anything else belongs to the password.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    not_empty(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
}

fn not_empty(secret: Secret) -> Result<Secret> {
    if secret.reveal().is_empty() {
        Err(Error::usage("the password is empty"))
    } else {
        Ok(secret)
    }
}
