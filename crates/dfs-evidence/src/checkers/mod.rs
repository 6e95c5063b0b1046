//! Judges of histories: each gives the violations of one promise.
