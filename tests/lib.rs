//! What the tests of this package share.
#![recursion_limit = "256"]
pub mod decoders;
pub mod sim;

/// The commit that is checked out here, if any is.
pub fn commit() -> String {
    let here = env!("CARGO_MANIFEST_DIR");
    let words = ["-C", here, "describe", "--always", "--dirty"];
    let output = std::process::Command::new("git").args(words).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.unwrap_or_default()
}
