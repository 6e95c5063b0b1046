//! Sent forms keep their bytes.
