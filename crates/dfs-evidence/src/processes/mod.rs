//! A cluster of real processes, each in its own network namespace and on its own disk.
