//! What a person reads after a run: a table of what was withstood, and a page with a timeline.
//!
//! The page is one file of HTML that needs nothing else: throughput and latency over time, every
//! fault as a bar below them, and what was found.

mod chart;
mod coverage;
mod matrix;
mod page;
mod series;

pub use chart::duration;
pub use coverage::Coverage;
pub use matrix::{Matrix, PROMISES};
pub use page::{Band, Page};
pub use series::{Bucket, Series, quantile};
