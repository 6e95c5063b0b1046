//! What processes say: panics and errors are kept, the rest is shown on demand.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry};

thread_local! {
    static HOST: RefCell<String> = const { RefCell::new(String::new()) };
    static NOW: Cell<u64> = const { Cell::new(0) };
}

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ERRORS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static REBUILT: AtomicU64 = AtomicU64::new(0);
static REWRITTEN: AtomicU64 = AtomicU64::new(0);
/// Whoever says something there has made a member of a stripe from others, or has written bytes
/// anew: what a run is to have met.
const REBUILDING: &str = "dfs_core::datanode::tasks::rebuild";
const REWRITING: &str = "dfs_core::datanode::tasks::rewrite";
static ERRORS_MAX: usize = 1000;

/// What is said from now on is said by this host.
pub(super) fn enter(host: &str, now: &Arc<AtomicU64>) {
    NOW.set(now.load(Ordering::Relaxed));
    HOST.with_borrow_mut(|name| {
        if name != host {
            name.clear();
            name.push_str(host);
        }
    });
}

fn place() -> String {
    let now = NOW.get();
    HOST.with_borrow(|host| format!("{:>3}.{:03} {host:<3}", now / 1000, now % 1000))
}

/// Listens to what processes say; `show` is a filter such as `dfs_core=debug`, shown on stderr.
pub fn listen(show: Option<&str>) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let what = format!("{} {panic}", place());
        let what = what.replace('\n', " ");
        PANICS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
        usual(panic);
    }));
    let always = format!("{REBUILDING}=info,{REWRITING}=info");
    let filter = EnvFilter::new(format!("{},{always}", show.unwrap_or("error")));
    let listener = Listener {
        shows: show.is_some(),
    };
    let subscriber = Registry::default().with(listener.with_filter(filter));
    // Fails if there is one already: then it stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The panics so far.
pub(crate) fn panics() -> Vec<String> {
    PANICS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// The errors logged so far.
pub(crate) fn errors() -> Vec<String> {
    ERRORS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Members of stripes that were made from others so far.
pub(crate) fn rebuilt() -> u64 {
    REBUILT.load(Ordering::Relaxed)
}

/// Rewrites that were done so far.
pub(crate) fn rewritten() -> u64 {
    REWRITTEN.load(Ordering::Relaxed)
}

struct Listener {
    shows: bool,
}

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        let mut text = Text(String::new());
        event.record(&mut text);
        let target = event.metadata().target();
        let line = format!("{} {level:>5} {target}:{}", place(), text.0);
        if self.shows {
            show(&line);
        }
        match target {
            REBUILDING => drop(REBUILT.fetch_add(1, Ordering::Relaxed)),
            REWRITING => drop(REWRITTEN.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
        if level == Level::ERROR {
            let mut errors = ERRORS.lock().unwrap_or_else(PoisonError::into_inner);
            if errors.len() < ERRORS_MAX {
                errors.push(line);
            }
        }
    }
}

#[allow(clippy::print_stderr, reason = "asked for on the command line")]
fn show(line: &str) {
    eprintln!("{line}");
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
