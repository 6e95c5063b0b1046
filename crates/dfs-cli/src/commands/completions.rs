//! `dfs completions`: for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::context::Context;
use crate::error::Result;

const EXAMPLES: &str = "\
Examples:
  dfs completions bash > ~/.local/share/bash-completion/completions/dfs
  dfs completions zsh > ~/.zfunc/_dfs
  dfs completions fish > ~/.config/fish/completions/dfs.fish";

/// Print a script that completes commands in a shell.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs it.
pub(crate) fn run(args: CompletionsArgs, context: &Context) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dfs", &mut script);
    let script = String::from_utf8_lossy(&script);
    context.output.print(format_args!("{script}"))
}
