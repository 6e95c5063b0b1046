//! What a person reads after a run: tables and a timeline.
