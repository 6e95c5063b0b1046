//! Who is let in at this master, with what others are let in elsewhere, and how it began.
//!
//! ```text
//! hello ─▶ admission ─▶ guest ─▶ rule of each method        who may ask
//! login ─▶ throttle ─▶ keys ─▶ ticket                       whom clients are
//! grant, layout, task ─▶ permits ─▶ keys                    what data nodes let through
//! change, query ─▶ proofs                                where clients were led, what is theirs
//! enrol, renew ─▶ papers                                    which nodes there are
//! dialer ─▶ hello                                           which masters are talked to
//! disk of a stopped master ─▶ recovery                      an administrator who lost its keys
//! backup ─▶ restoring                                       a master, where all were lost
//! all of them ─▶ trail ─▶ audit log                         who did what
//! ```

pub(in crate::master) mod admission;
pub(in crate::master) mod dialer;
pub(in crate::master) mod founding;
pub(in crate::master) mod keys;
pub(in crate::master) mod papers;
pub(in crate::master) mod permits;
pub(in crate::master) mod proofs;
pub(in crate::master) mod recovery;
pub(in crate::master) mod restoring;
pub(in crate::master) mod throttle;
pub(in crate::master) mod trail;
