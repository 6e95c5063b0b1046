//! How fast commands are applied. Run it in release to see a figure that means something.

use super::fixture::{ATTR, Machine, at, serial};
use crate::meta::Command;
use crate::types::{Caller, Change};

/// Creates files as many clients would, in batches as a busy log has them.
#[test]
#[allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement is printed"
)]
fn creates_are_applied_in_batches() {
    let count: u64 = if cfg!(debug_assertions) {
        2_000
    } else {
        200_000
    };
    let mut machine = Machine::new();
    let clients: Vec<_> = (0..64).map(|_| machine.open_session()).collect();
    for dir in 0..16 {
        let change = Change::MakeDirectory {
            at: at(&format!("d{dir}")),
            attr: ATTR,
            parents: true,
        };
        let request = serial(clients[0], dir + 1);
        machine.request(request, change).unwrap();
    }
    let start = std::time::Instant::now();
    for batch in 0..count / 64 {
        let commands = clients.iter().zip(0..).map(|(client, index)| {
            let path = format!("d{}/file{}", (index + batch) % 16, batch * 64 + index);
            let change = Change::Create {
                at: at(&path),
                attr: ATTR,
                exclusive: true,
            };
            let request = serial(*client, 100 + batch);
            (
                machine.now,
                Command::Client {
                    caller: Caller::System,
                    request,
                    change,
                },
            )
        });
        let commands: Vec<_> = commands.collect();
        machine.apply_batch(commands);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{:.0} creates/s", count as f64 / seconds);
    machine.check();
}
