//! The `visage` command: one module a subcommand.
//!
//! Results go to standard output (as JSON with `--json`), everything else to standard error. The exit
//! codes are [`failure::Code`]'s.

pub mod arguments;
mod bench;
mod binding;
mod check;
mod compile;
mod cost;
mod data;
pub mod failure;
mod feed;
mod grad;
mod run;
mod source;
mod trace;
mod train;
mod weights;

use crate::{
    console::{self, Verbosity},
    table,
};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use failure::Outcome;
use std::{ffi::OsString, process::ExitCode};

/// What a newcomer types first.
macro_rules! first_steps {
    () => {
        "\
First steps:
  visage check graphs/nerf                    what is in a spec
  visage train graphs/nerf --preset quick     train it, here on a generated scene
  visage run graphs/nerf render --weights runs/nerf --out pictures

`visage help COMMAND` explains a command, with examples.
"
    };
}

/// Reads networks, losses and training procedures written in RON, compiles them to native code,
/// trains them and runs them.
#[derive(Debug, Parser)]
#[command(
    name = "visage",
    version,
    propagate_version = true,
    after_help = concat!(first_steps!(), "\n`visage help` says more."),
    after_long_help = concat!(
        first_steps!(),
        "
Exit codes:
  0    done
  1    the work was begun and failed (disk full, unreadable data, …)
  2    arguments, spec or files are not what they should be; nothing was begun
  3    training stopped because a value became infinite or not a number
  4    training stopped because of an alarm of the spec; it wrote a checkpoint first
  130  stopped by Ctrl-C or a termination signal; training wrote a checkpoint first

Environment:
  RUST_LOG         what is logged, such as `debug` or `visage_runtime::training=trace`
  NO_COLOR         no colours
  XDG_CACHE_HOME   where the folder visage/code for machine code is, ~/.cache unless set"
    )
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say no more than warnings and errors
    #[arg(long, short, global = true, conflicts_with = "verbose", display_order = 900)]
    quiet: bool,

    /// Say more
    #[arg(long, short, global = true, display_order = 901)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Arguments),
    Train(train::Arguments),
    Run(run::Arguments),
    Grad(grad::Arguments),
    Compile(compile::Arguments),
    Bench(bench::Arguments),
    Data(data::Arguments),
    Completions(Completions),
}

/// Write the completions of a shell to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  visage completions bash > ~/.local/share/bash-completion/completions/visage
  visage completions zsh > ~/.zfunc/_visage
  visage completions fish > ~/.config/fish/completions/visage.fish")]
struct Completions {
    /// The shell
    shell: Shell,
}

/// Runs the command with these arguments, the first of which is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and versions are no errors: clap gives 0 for them and 2 for wrong arguments.
            let code = if error.use_stderr() { failure::Code::Usage as u8 } else { 0 };
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::from(failure::Code::Failed as u8),
            };
        }
    };
    console::start(match (cli.quiet, cli.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    });
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Check(arguments) => check::check(&arguments),
        Command::Train(arguments) => train::train(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Grad(arguments) => grad::grad(&arguments),
        Command::Compile(arguments) => compile::compile(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Data(arguments) => data::data(&arguments),
        Command::Completions(arguments) => {
            let mut script = Vec::new();
            clap_complete::generate(arguments.shell, &mut Cli::command(), "visage", &mut script);
            print(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}

/// Writes a result to standard output. A reader that has gone away (`visage … | head`) is no failure.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
