//! Honest sides: what they keep at every step, and what would go wrong with a weaker rule.
//!
//! | module | what holds | its twins |
//! |---|---|---|
//! | `allocator` | extents never overlap, forged returns change nothing | |
//! | `conserved` | credit is charged, held, in the ring or in an inbox, of the session and of each stream | |
//! | `cost` | a record costs the same, however many reservations wait | |
//! | `leaving` | a stream is served or was not seen, and nothing of it is left behind | (`notify::check`) |
//! | `credit` | one unread update per stream, eight per session; nobody honest is accused | `>=`, overdraft, S/32, S/2, order |
//! | `evict` | a reader that leaves messages unread keeps nobody from memory | no eviction, one plea per session, pleas without limit |
//! | `given_back` | parts of a message, unwanted records and places come back in time | taken together, kept, tied to the handle |
//! | `reserve` | a control record always finds room | 48 bytes a place, no padding, reuse at once |
//! | `segments` | the largest and the tiniest message find room, nothing piles up | messages of a quarter, guards by length or by bytes alone, no way between regions, retired unacknowledged or only after use |
//! | `sessions` | credit is conserved by whole sessions; what was let go comes back | |
//! | `waiters` | who waits holds nothing, and is rung when there is space | extent first, credit first, a quarter whatever others hold |

mod allocator;
mod conserved;
mod cost;
mod credit;
mod evict;
mod given_back;
mod leaving;
mod pair;
mod reserve;
mod segments;
mod sessions;
mod waiters;
