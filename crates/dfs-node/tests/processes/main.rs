//! Real processes on loopback, killed with SIGKILL.

mod cluster;
mod process;
mod refusals;
mod survival;
mod workload;

type TestResult = Result<(), Box<dyn std::error::Error>>;
