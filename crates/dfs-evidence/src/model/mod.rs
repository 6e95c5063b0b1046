//! A namespace as it should be: sequential, plain, in memory.
