//! Every limit of the system, in one place. Lengths in bytes.

use std::time::Duration;

/// Longest name of a directory entry, in bytes of UTF-8.
pub const NAME_LEN_MAX: usize = 255;
/// Longest path, and longest target of a symbolic link.
pub const PATH_LEN_MAX: usize = 4096;
/// Most names in a path, and deepest directory.
pub const PATH_DEPTH_MAX: usize = 1024;
/// Symbolic links followed in one resolution before it is refused as a loop.
pub const SYMLINKS_MAX: usize = 40;
/// Largest file.
pub const FILE_LEN_MAX: u64 = 1 << 62;
/// Most hard links to a file.
pub const LINKS_MAX: u32 = 65_000;

/// Smallest and largest chunk size a policy may ask for.
pub const CHUNK_SIZE_MIN: u64 = 64 * 1024;
/// See [`CHUNK_SIZE_MIN`].
pub const CHUNK_SIZE_MAX: u64 = 1 << 30;
/// Chunk size where no policy says otherwise.
pub const CHUNK_SIZE_DEFAULT: u64 = 64 << 20;
/// The unit of checksums within a chunk.
pub const BLOCK_LEN: usize = 64 * 1024;
/// Most payload in one frame of the chunk stream; a whole number of blocks.
pub const FRAME_PAYLOAD_MAX: usize = 1 << 20;
/// Largest header of a frame of the chunk stream.
pub const FRAME_HEADER_MAX: usize = 24 * 1024;

/// Most bytes a file may keep in its extent map instead of chunks.
pub const INLINE_MAX: u32 = 64 * 1024;
/// The same where no policy says otherwise.
pub const INLINE_DEFAULT: u32 = 4096;
/// Most copies a policy may ask for.
pub const REPLICAS_MAX: u8 = 16;
/// Fewest and most data chunks of a stripe.
pub const STRIPE_DATA_MIN: u8 = 2;
/// See [`STRIPE_DATA_MIN`].
pub const STRIPE_DATA_MAX: u8 = 32;
/// Most parity chunks of a stripe.
pub const STRIPE_PARITY_MAX: u8 = 8;
/// The length of a stripe's members is a multiple of this, so that parts of them, cut there, are
/// coded as the whole is.
pub const SHARD_UNIT: u64 = 64;
/// Fewer bytes than this are kept in copies, not in a stripe.
pub const STRIPE_LEN_MIN: u64 = 64 * 1024;

/// Largest control message (metadata, cluster), in bytes.
pub const MESSAGE_LEN_MAX: usize = 4 << 20;
/// Most rows one command may change beyond a handful: larger work is cut into many commands.
pub const ROWS_PER_COMMAND_MAX: usize = 1024;
/// Most pieces in one commit.
pub const PIECES_PER_COMMIT_MAX: usize = 256;
/// Most entries in one reply to a listing, a layout or a report.
pub const ENTRIES_PER_REPLY_MAX: usize = 4096;
/// Most extents one commit may replace; a larger rewrite takes more commits.
pub const EXTENTS_REPLACED_MAX: usize = 256;
/// Most extents that one command makes part of a clone; a file of more takes more commands.
pub const EXTENTS_CLONED_MAX: usize = 256;
/// Most files that one command appends to another.
pub const CONCAT_SOURCES_MAX: usize = 64;
/// Most quotas.
pub const QUOTAS_MAX: usize = 4096;
/// Most snapshots of one directory.
pub const SNAPSHOTS_PER_DIRECTORY_MAX: usize = 256;
/// Most snapshots, those included that are being removed.
pub const SNAPSHOTS_MAX: u64 = 4096;
/// Most chunks one command about the replicas of a data node may name.
pub const REPLICAS_PER_COMMAND_MAX: usize = 256;
/// Most chunk ids reserved at a time.
pub const CHUNK_RANGE_LEN_MAX: u32 = 65_536;
/// Longest address of a data node, and longest name of a failure domain.
pub const LABEL_LEN_MAX: usize = 255;
/// Most chunk ids in one write grant.
pub const CHUNKS_PER_GRANT_MAX: u32 = 64;
/// Most data nodes that a request for a write grant may ask to avoid.
pub const NODES_AVOIDED_MAX: usize = 256;
/// Most requests of one client whose answers are remembered at a time.
pub const REQUESTS_PER_CLIENT_MAX: u64 = 1024;

/// Most entries of a tree that are looked at for the right to remove it at once; of a larger one
/// who is no administrator removes the parts first.
pub const TREE_LOOKS_MAX: usize = 4096;
/// Most groups of one user, besides that of what it makes.
pub const GROUPS_PER_USER_MAX: usize = 64;
/// Most join tokens that are good at a time.
pub const JOIN_TOKENS_MAX: usize = 1024;
/// Longest that a join token is good.
pub const JOIN_TOKEN_TTL_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Most keys of one user.
pub const KEYS_PER_USER_MAX: usize = 16;

/// A signing key this old (in log time) is exchanged for a new one.
pub const SIGNING_KEY_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A new signing key is not signed with before every data node has heard of it.
pub const SIGNING_KEY_REST: Duration = Duration::from_secs(60);
/// How long after the next one was made a signing key still verifies: longer than all is good
/// that it has signed.
pub const SIGNING_KEY_LINGERS: Duration = Duration::from_secs(13 * 60 * 60);
/// Most signing keys at a time.
pub const SIGNING_KEYS_MAX: usize = 16;
/// A session that was silent for this long (in log time) is forgotten.
pub const SESSION_TTL: Duration = Duration::from_secs(60 * 60);
/// A range of chunk ids expires this long (in log time) after it was reserved.
pub const CHUNK_RANGE_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// A write grant is good for this long; shorter than what its range has left.
pub const GRANT_TTL: Duration = Duration::from_secs(60 * 60);
/// Chunks that nothing references are kept this long before they are deleted.
pub const RECLAIM_GRACE: Duration = Duration::from_secs(60);
/// Trash is kept this long.
pub const TRASH_TTL: Duration = Duration::from_secs(24 * 60 * 60);
