//! Honest sides: what they keep at every step, and what would go wrong with a weaker rule.
//!
//! | module | what holds | its twins |
//! |---|---|---|
//! | `allocator` | extents never overlap, forged returns change nothing | |
//! | `leaving` | a stream is served or was not seen, and nothing of it is left behind | (`notify::check`) |
//! | `credit` | one unread update per stream, eight per session; nobody honest is accused | `>=`, overdraft, S/32, S/2, order |
//! | `evict` | a reader that leaves messages unread keeps nobody from memory | no eviction, one plea per session |
//! | `reserve` | a control record always finds room | 48 bytes a place, no padding, reuse at once |
//! | `sessions` | credit is conserved; what was let go comes back | |

mod allocator;
mod conserved;
mod credit;
mod evict;
mod given_back;
mod leaving;
mod pair;
mod reserve;
mod segments;
mod sessions;
mod waiters;
