//! `dfs up`: a whole cluster in one process.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;

use clap::Args;
use tokio::time::timeout;

use crate::context::{CLOSE_TIMEOUT, Context, SHAPE};
use crate::error::{Exit, Failure, Result};
use crate::local::embedded::Embedded;
use crate::local::home::{Home, Shape};
use crate::text::table::{Align, Table};

const EXAMPLES: &str = "\
Examples:
  dfs up                               commands of other terminals find it by themselves
  dfs up --masters 1 --data-nodes 1    as small as it gets: one copy of everything
  DFS_HOME=/srv/dfs dfs up             with its data elsewhere";

/// Run a whole cluster on this machine, until stopped with Ctrl-C.
///
/// Data and profile are kept in the local data directory ($DFS_HOME, else ~/.local/share/dfs),
/// where other commands look for them. It is as durable as the one disk it is on.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpArgs {
    /// How many masters [default: as before, else 3].
    #[arg(long, value_name = "N", value_parser = small::<7>)]
    masters: Option<usize>,

    /// How many data nodes [default: as before, else 3].
    #[arg(long, value_name = "N", value_parser = small::<64>)]
    data_nodes: Option<usize>,

    /// The local data directory, instead of DFS_HOME.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it until `stop`.
pub(crate) async fn run(
    args: UpArgs,
    context: &Context,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let home = match &args.dir {
        Some(dir) => Home::at(dir.clone()),
        None => Home::find()?,
    };
    let lock = home.try_lock()?.map_err(|holder| in_use(&home, holder))?;
    home.remove_serving(&lock)?;
    let shape = shape(&args, home.shape()?)?;
    home.write_shape(shape, &lock)?;
    let mut stop = pin!(stop);
    let path = home.cluster();
    let cluster = tokio::select! {
        cluster = Embedded::start(&path, shape) => cluster?,
        () = &mut stop => return Err(Failure::interrupted()),
    };
    home.write_serving(cluster.profile())?;
    announce(context, &home, &args, shape, &cluster)?;
    stop.await;
    context.output.note("stopping");
    home.remove_serving(&lock)?;
    match timeout(CLOSE_TIMEOUT, cluster.stop()).await {
        Ok(stopped) => stopped,
        // What was acknowledged is on stable storage: an abrupt end loses nothing.
        Err(_) => {
            context
                .output
                .note("the cluster took too long to stop; left as it is");
            Err(Failure::Told(Exit::Unavailable))
        }
    }
}

/// How large it will be: as asked, if that goes with what is there.
fn shape(args: &UpArgs, before: Option<Shape>) -> Result<Shape> {
    let known = before.unwrap_or(SHAPE);
    let shape = Shape {
        masters: args.masters.unwrap_or(known.masters),
        data_nodes: args.data_nodes.unwrap_or(known.data_nodes),
    };
    match before {
        Some(before) if shape.masters != before.masters => Err(Failure::refused(format!(
            "the cluster there has {} masters, not {}",
            before.masters, shape.masters
        ))
        .hint("its number of masters is fixed when it is made; leave out `--masters`")),
        Some(before) if shape.data_nodes < before.data_nodes => Err(Failure::refused(format!(
            "the cluster there has {} data nodes, more than {}",
            before.data_nodes, shape.data_nodes
        ))
        .hint("data nodes can be added, but those that hold data are needed")),
        _ => Ok(shape),
    }
}

/// A number from 1 to `MAX`.
fn small<const MAX: usize>(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MAX).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is not a number from 1 to {MAX}")),
    }
}

fn announce(
    context: &Context,
    home: &Home,
    args: &UpArgs,
    shape: Shape,
    cluster: &Embedded,
) -> Result<()> {
    let mut table = Table::new([Align::Left, Align::Left]);
    table.row(["masters", &cluster.profile().masters.join(",")]);
    let data_nodes = shape
        .data_nodes
        .saturating_sub(cluster.removed_data_nodes());
    table.row(["data nodes", &data_nodes.to_string()]);
    table.row(["data", &home.path().display().to_string()]);
    context.output.lines(table.lines())?;
    context.output.line("ready")?;
    context.output.flush()?;
    let prefix = match &args.dir {
        Some(_) => format!("DFS_HOME={} ", home.path().display()),
        None => String::new(),
    };
    context.output.hint(format_args!(
        "`{prefix}dfs status` in another terminal; Ctrl-C stops it"
    ));
    Ok(())
}

fn in_use(home: &Home, holder: Option<u32>) -> Failure {
    let who = holder.map_or_else(String::new, |pid| format!(" by process {pid}"));
    let path = home.path().display();
    Failure::unavailable(format!("the local cluster in `{path}` is in use{who}"))
        .hint("if that is `dfs up`, other commands find it by themselves")
        .hint("`--dir` runs another one in another directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        masters: Option<usize>,
        data_nodes: Option<usize>,
        before: Option<Shape>,
    ) -> Option<Shape> {
        let dir = None;
        let args = UpArgs {
            masters,
            data_nodes,
            dir,
        };
        shape(&args, before).ok()
    }

    #[test]
    fn a_cluster_keeps_its_masters_and_never_loses_data_nodes() {
        let five = Shape {
            masters: 1,
            data_nodes: 5,
        };
        assert_eq!(asked(None, None, None), Some(SHAPE));
        assert_eq!(asked(None, None, Some(five)), Some(five));
        assert_eq!(asked(Some(3), None, Some(five)), None);
        assert_eq!(asked(None, Some(4), Some(five)), None);
        assert_eq!(
            asked(None, Some(6), Some(five)).map(|s| s.data_nodes),
            Some(6)
        );
    }
}
