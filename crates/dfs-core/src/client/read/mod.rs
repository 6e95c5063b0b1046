//! Reading: ranges of replicas, verified, in order.
