//! Chunk bytes on their way: between clients and data nodes, and from data node to data node.
//!
//! After [`hello`](super::hello) a connection carries one request after the other, each in
//! [frames](frame). A whole write through a pipeline of two, and a read:
//!
//! ```text
//! writer                     n1                          n2
//!   │ Request(Write c19, →n2) │                           │
//!   ├────────────────────────▶│ Request(Write c19)        │
//!   │ Data 0+512K             ├──────────────────────────▶│
//!   ├────────────────────────▶│ Data 0+512K               │   forwarded while it arrives,
//!   │ Data 512K+100           ├──────────────────────────▶│   verified at every hop
//!   ├────────────────────────▶│ …                         │
//!   │ ◀─ Alive ───────────────┤ ◀─ Alive ─────────────────┤   at least every `beat`
//!   │ Finish(length, crc)     │                           │
//!   ├────────────────────────▶├──────────────────────────▶│
//!   │                         │ fsync                     │ fsync        in parallel
//!   │                         │ ◀─ Reply(Stored n2) ──────┤
//!   │ ◀─ Reply(Stored n1 n2) ─┤                           │
//!
//! reader                     n1
//!   │ Request(Read c19 9+70K) │
//!   ├────────────────────────▶│
//!   │ ◀─ Reply(Reading) ──────┤   the chunk's length and checksum
//!   │ ◀─ Data 0+128K ─────────┤   whole blocks, with the checksums they were written with
//!   │ ◀─ Reply(End) ──────────┤
//! ```
//!
//! **Progress.** A process that hangs still has its connections open, so being connected proves
//! nothing. Whoever works for another on a stream therefore says something at least every
//! [`Deadlines::beat`], and is given up after [`Deadlines::silence`] without a byte. That a node
//! waits for the next one in the pipeline is thus never mistaken for a hang of its own. One that
//! talks and does not get on is given up after [`Deadlines::stall`].
//!
//! **Trust.** Lengths are checked before memory is taken for them; heads and headers carry a
//! checksum, payloads one for every block, made once by the writer of the chunk and kept with
//! it. Bytes that a [`ChunkReader`] returns have passed them.
//!
//! Not done here: which replica to read, how many replicas are enough, trying again elsewhere.

pub mod frame;
mod message;
mod pool;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use message::{
    Blocks, DataHeader, Finish, ReadRequest, Reply, Request, Stored, StreamError, StreamErrorKind,
    WriteRequest, decode,
};
pub(crate) use pool::is_target;
pub use pool::{ChunkPool, Elsewhere, PoolConfig};
pub use reader::ChunkReader;
pub use writer::{BlockWriter, ChunkWriter};

use frame::Patience;

/// How long one end of a stream waits for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// To connect and say hello.
    pub connect: Duration,
    /// For any byte of a node that works on a request; then it is taken to hang.
    pub silence: Duration,
    /// For a peer to take bytes, or to send the rest of a frame.
    pub stall: Duration,
    /// For a node to put a chunk on stable storage once it has all bytes.
    pub finish: Duration,
    /// For the next request on a connection.
    pub idle: Duration,
}

impl Deadlines {
    /// How often to say "still here": four chances before silence is a verdict.
    pub fn beat(&self) -> Duration {
        self.silence / 4
    }

    /// Checks them against each other.
    ///
    /// # Errors
    /// Names the two that contradict.
    pub fn validate(&self) -> Result<(), String> {
        let ordered = [
            ("connect", self.connect, "stall", self.stall),
            ("silence", self.silence, "stall", self.stall),
            ("stall", self.stall, "finish", self.finish),
        ];
        for (short, shorter, long, longer) in ordered {
            if shorter.is_zero() || shorter > longer {
                return Err(format!(
                    "{short} {shorter:?} must be more than 0, at most {long} {longer:?}"
                ));
            }
        }
        Ok(())
    }

    /// Patience with someone who works for us, and says so.
    pub fn with_worker(&self) -> Patience {
        Patience {
            first: self.silence,
            silence: self.silence,
            whole: self.stall,
        }
    }

    /// Patience with someone whom we work for: nobody waits for us if they hang.
    pub fn with_caller(&self) -> Patience {
        Patience {
            first: self.stall,
            silence: self.stall,
            whole: self.finish,
        }
    }

    /// How long it may take someone to show that it may ask: half of what one has who has shown it.
    pub fn with_stranger(&self) -> Duration {
        self.idle / 2
    }

    /// Patience with someone who may have nothing to ask.
    pub fn between_requests(&self) -> Patience {
        Patience {
            first: self.idle,
            silence: self.silence,
            whole: self.stall,
        }
    }
}

impl Default for Deadlines {
    /// For a local network: a hung peer is noticed within a second.
    fn default() -> Deadlines {
        Deadlines {
            connect: Duration::from_secs(1),
            silence: Duration::from_secs(1),
            stall: Duration::from_secs(10),
            finish: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}
