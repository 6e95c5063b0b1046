//! The command line: one variant a verb.

use clap::{Parser, Subcommand};

use crate::commands::{
    admin, bench, cat, chaos, chgrp, chmod, chown, completions, concat, cp, df, du, explain, get,
    getfacl, group, ln, login, logout, ls, master, mkdir, mv, node, policy, put, quota, rm,
    setfacl, snap, stat, status, token, touch, trash, tree, up, user, whoami,
};
use crate::context::Context;
use crate::error::Result;

const ABOUT: &str = "\
A distributed file storage system.

Paths in the cluster begin with `/`. Without a cluster named by --masters, --url, DFS_MASTERS or \
the profile in the local data directory, commands use a cluster of this machine, kept in that \
directory ($DFS_HOME, else ~/.local/share/dfs) and made when it is first needed.";

const EXAMPLES: &str = "\
Examples:
  dfs put report.pdf /              store a file; nothing needs to be set up
  dfs get /report.pdf .             get it back
  dfs put -r photos /backup/        store a directory
  dfs ls -lh /backup/photos         see what is there
  dfs up                            keep a local cluster running for other commands
  dfs status --url dfs://m1:7400    ask a cluster elsewhere how it is

Exit status: 0 done, 1 refused, 2 usage, 3 unavailable (try again), 4 data damaged, 130 interrupted.
Environment: DFS_MASTERS, DFS_PROFILE, DFS_HOME, NO_COLOR, DFS_LOG (a filter such as `debug`).";

/// All of the command line.
#[derive(Debug, Parser)]
#[command(name = "dfs", version, about = "A distributed file storage system", long_about = ABOUT)]
#[command(after_help = EXAMPLES, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Say nothing on standard error but errors; show no progress.
    #[arg(long, short, global = true, display_order = 900)]
    pub(crate) quiet: bool,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(up::UpArgs),
    Login(login::LoginArgs),
    Logout(logout::LogoutArgs),
    Whoami(whoami::WhoamiArgs),
    Put(put::PutArgs),
    Get(get::GetArgs),
    Cat(cat::CatArgs),
    Ls(ls::LsArgs),
    Stat(stat::StatArgs),
    Tree(tree::TreeArgs),
    Du(du::DuArgs),
    Df(df::DfArgs),
    Mkdir(mkdir::MkdirArgs),
    Rm(rm::RmArgs),
    Mv(mv::MvArgs),
    Cp(cp::CpArgs),
    Concat(concat::ConcatArgs),
    Ln(ln::LnArgs),
    Touch(touch::TouchArgs),
    Chmod(chmod::ChmodArgs),
    Chown(chown::ChownArgs),
    Chgrp(chgrp::ChgrpArgs),
    Getfacl(getfacl::GetfaclArgs),
    Setfacl(setfacl::SetfaclArgs),
    Policy(policy::PolicyArgs),
    Quota(quota::QuotaArgs),
    Snap(snap::SnapArgs),
    Trash(trash::TrashArgs),
    User(user::UserArgs),
    Group(group::GroupArgs),
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Master(master::MasterArgs),
    Node(node::NodeArgs),
    Token(token::TokenArgs),
    Admin(admin::AdminArgs),
    Bench(bench::BenchArgs),
    Chaos(chaos::ChaosArgs),
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Runs it. `up` runs apart, because a signal is how it is meant to end.
    ///
    /// Each is boxed: in one future of all of them the compiler would lay out all of the client.
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Command::Up(args) => Box::pin(up::run(args, context, std::future::pending())).await,
            Command::Login(args) => Box::pin(login::run(args, context)).await,
            Command::Logout(args) => logout::run(&args, context),
            Command::Whoami(args) => Box::pin(whoami::run(args, context)).await,
            Command::Put(args) => Box::pin(put::run(args, context)).await,
            Command::Get(args) => Box::pin(get::run(args, context)).await,
            Command::Cat(args) => Box::pin(cat::run(args, context)).await,
            Command::Ls(args) => Box::pin(ls::run(args, context)).await,
            Command::Stat(args) => Box::pin(stat::run(args, context)).await,
            Command::Tree(args) => Box::pin(tree::run(args, context)).await,
            Command::Du(args) => Box::pin(du::run(args, context)).await,
            Command::Df(args) => Box::pin(df::run(args, context)).await,
            Command::Mkdir(args) => Box::pin(mkdir::run(args, context)).await,
            Command::Rm(args) => Box::pin(rm::run(args, context)).await,
            Command::Mv(args) => Box::pin(mv::run(args, context)).await,
            Command::Cp(args) => Box::pin(cp::run(args, context)).await,
            Command::Concat(args) => Box::pin(concat::run(args, context)).await,
            Command::Ln(args) => Box::pin(ln::run(args, context)).await,
            Command::Touch(args) => Box::pin(touch::run(args, context)).await,
            Command::Chmod(args) => Box::pin(chmod::run(args, context)).await,
            Command::Chgrp(args) => Box::pin(chgrp::run(args, context)).await,
            Command::Chown(args) => Box::pin(chown::run(args, context)).await,
            Command::Getfacl(args) => Box::pin(getfacl::run(args, context)).await,
            Command::Setfacl(args) => Box::pin(setfacl::run(args, context)).await,
            Command::Policy(args) => Box::pin(policy::run(args, context)).await,
            Command::Quota(args) => Box::pin(quota::run(args, context)).await,
            Command::Snap(args) => Box::pin(snap::run(args, context)).await,
            Command::Trash(args) => Box::pin(trash::run(args, context)).await,
            Command::User(args) => Box::pin(user::run(args, context)).await,
            Command::Group(args) => Box::pin(group::run(args, context)).await,
            Command::Status(args) => Box::pin(status::run(args, context)).await,
            Command::Explain(args) => Box::pin(explain::run(args, context)).await,
            Command::Master(args) => Box::pin(master::run(args, context)).await,
            Command::Node(args) => Box::pin(node::run(args, context)).await,
            Command::Token(args) => Box::pin(token::run(args, context)).await,
            Command::Admin(args) => Box::pin(admin::run(args, context)).await,
            Command::Bench(args) => Box::pin(bench::run(args, context)).await,
            Command::Chaos(args) => Box::pin(chaos::run(args, context)).await,
            Command::Completions(args) => completions::run(args, context),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_examples() {
        for verb in Cli::command().get_subcommands() {
            let has_verbs = verb.get_subcommands().next().is_some();
            let help = verb.get_after_help().map(ToString::to_string);
            assert!(
                has_verbs || help.is_some_and(|text| text.starts_with("Examples:")),
                "{}",
                verb.get_name()
            );
        }
    }
}
