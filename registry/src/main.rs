//! The server's command line.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use sealstone_registry::boot::{self, LostWrites, Server};
use sealstone_registry::config::{Config, LogFormat};
use sealstone_registry::witness::{self, WitnessOptions};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The Sealstone registry: models sealed by signature, digest and policy, for every OCI client.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT. SIGHUP has it read its TLS certificate again. Ends with 1 where its metadata store
    /// can only be opened anew.
    Serve {
        #[command(flatten)]
        config: ConfigArgument,
        /// Start although the metadata store has lost writes that were acknowledged: what was pushed last has to be
        /// pushed again. Rather restore a backup.
        #[arg(long)]
        accept_lost_writes: bool,
    },
    /// About the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Cosign the checkpoints of other registries' logs (C2SP tlog-witness). Needs no configuration and no store.
    Witness(WitnessOptions),
    /// About the administrator's account.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Read every stored byte, report what is damaged and keep it from readers, and give back what was kept from them and
    /// is whole; nothing is removed. The server must not be running.
    VerifyStore(ConfigArgument),
    /// Collect garbage once, in a store that "serve" would take. The server must not be running; on a running one, POST
    /// /api/v1/gc.
    Gc {
        #[command(flatten)]
        config: ConfigArgument,
        /// Only say what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read configuration, policy, htpasswd file and certificate, and say whether a start would take them.
    Check(ConfigArgument),
    /// Print the configuration in force, variables included.
    Show(ConfigArgument),
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Make the account "admin" anew and print its secret, once: for when every administrator's secret is lost. Its API
    /// tokens and sessions end. The server must not be running.
    Reset(ConfigArgument),
}

#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// The configuration file. Every key can also be set as SEALSTONE__SECTION__KEY.
    #[arg(long, value_name = "FILE", env = "SEALSTONE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArgument {
    fn load(&self) -> anyhow::Result<Config> {
        Ok(Config::load(self.config.as_deref(), std::env::vars())?)
    }
}

fn main() -> ExitCode {
    sealstone_registry::allocator::keep_memory_flat();
    sealstone_registry::process::keep_files_private();
    sealstone_registry::process::raise_open_files();
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    if let Command::Witness(options) = &command {
        start_log(&Config::load(None, std::env::vars())?)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(witness::serve(options, wait_for_signal()));
    }
    let config = match &command {
        Command::Witness(_) => unreachable!("it was served above"),
        Command::VerifyStore(argument) => argument.load()?,
        Command::Serve { config, .. } | Command::Gc { config, .. } => config.load()?,
        Command::Admin(AdminCommand::Reset(argument)) => argument.load()?,
        Command::Config(ConfigCommand::Check(argument) | ConfigCommand::Show(argument)) => {
            argument.load()?
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match command {
        Command::Witness(_) => unreachable!("it was served above"),
        Command::Serve {
            accept_lost_writes, ..
        } => {
            let lost = if accept_lost_writes {
                LostWrites::Accept
            } else {
                LostWrites::Refuse
            };
            let ended = runtime.block_on(serve(&config, lost));
            // Dropping it would wait for a thread that hashes or syncs, however long.
            runtime.shutdown_timeout(Duration::from_secs(1));
            ended
        }
        Command::Admin(AdminCommand::Reset(_)) => {
            start_log(&config)?;
            let secret = runtime.block_on(boot::reset_administrator(&config))?;
            show_administrator("the administrator's account is", &secret)
        }
        Command::VerifyStore(_) => {
            start_log(&config)?;
            runtime.block_on(boot::verify_store(&config))
        }
        Command::Gc { dry_run, .. } => {
            start_log(&config)?;
            runtime.block_on(boot::collect_garbage(&config, dry_run))
        }
        Command::Config(ConfigCommand::Check(_)) => {
            boot::check(&config)?;
            println!("the configuration is valid");
            Ok(())
        }
        Command::Config(ConfigCommand::Show(_)) => {
            print!("{}", toml::to_string_pretty(&config)?);
            Ok(())
        }
    }
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log.filter).context("log.filter")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

async fn serve(config: &Config, lost: LostWrites) -> anyhow::Result<()> {
    start_log(config)?;
    // Before the stores are opened, which may take a while: the signal would end the process, and nobody start it again.
    let hang_ups = signal(SignalKind::hangup())?;
    let server = Server::prepare(config, lost).await?;
    if let Some(secret) = &server.first_administrator {
        show_administrator("first start: the administrator's account is", secret)?;
    }
    let address = server.address()?;
    let scheme = if config.has_tls() { "https" } else { "http" };
    tracing::info!(%address, "serving on {scheme}://{address}");
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        tracing::info!("stopping: no new connections, running requests end");
        stopped.cancel();
        wait_for_signal().await;
        tracing::warn!("second signal: stopping at once");
        std::process::exit(1);
    });
    server.run(hang_ups, stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Shows a fresh secret. Not through the log: logs are kept and shipped.
fn show_administrator(title: &str, secret: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{title}\n  name:   admin\n  secret: {secret}\nThis is shown once. Make accounts with it, then keep it somewhere safe."
    )
    .and_then(|()| out.flush())
    .context("the administrator's secret could not be shown; \"sealstone-registry admin reset\" makes another")
}

async fn wait_for_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        // Without handlers the default holds: the process ends.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
