//! What the tests of shmipc share.
//!
//! | module | purpose |
//! |---|---|
//! | [`flavour`] | the small trait that the conformance suite is written against |
//! | [`blocking`] | the blocking flavour behind it |
//! | [`setup`] | configurations, as text too, so that a peer process can be told |
//! | [`conformance`] | the suite: every case has two ends, which run on two threads or in two processes |
//! | [`payload`] | contents that can be checked, and random sizes that both ends know |
//! | [`meeting`] | a client and a server, each with its configuration, and what they can do together |
//! | [`orders`] | all orders of what one side can do, and what the other must see |
//! | [`client`] | clients of both flavours behind one trait |
//! | [`serving`] | a server process that leaves when it is told, and goes on accepting |
//! | [`passing`] | servers in threads, whose sessions do not last |
//! | [`child`] | peer processes that never outlive their test |
//! | [`deadline`] | a bug is a failure, never a hang |
//! | [`hostile`] | peers that attack a server, by name or at random, and the server that has to bear it |
//! | [`scripted`] | a peer that does what it is told, call by call, and is inside no call in between |
//! | [`generations`] | servers that hand over to each other, and clients that follow |
//! | [`follower`] | clients of such servers that can be short of descriptors |
//! | [`soak`] | mixed traffic beside kills, stalls and reconnects, every message accounted for |
//! | [`crashing`] | processes killed or stopped at each named step, and what the other side makes of it |
//! | [`upgrading`] | upgrades under load, every message of which is accounted for |
//! | [`impatience`] | futures that are given up before they are ready |
//! | [`pair`] | a session between the tokio flavour and threads, for such futures |
//! | [`idle`] | measures sessions that do nothing |
//! | [`times`] | how long something has taken, many times |
//! | [`proc`] | descriptors, mappings, memory and CPU time of a process, as the kernel counts them |
//!
//! The peers are the binaries `peer` (an end of a conformance case, or one of the roles that the fault
//! tests need), `generation` (a server that hands over to the next), `follower` (a client of such servers),
//! `hostile` (a peer that attacks, and its server), `soak` (a long run under disturbances), `crashes` (the crash
//! matrix, and its victims), `upgrades` (upgrades under load) and `idle` (what sessions cost that do nothing).

pub mod blocking;
pub mod child;
pub mod client;
pub mod conformance;
pub mod crashing;
pub mod deadline;
pub mod flavour;
pub mod follower;
pub mod generations;
pub mod hostile;
pub mod idle;
pub mod impatience;
pub mod meeting;
pub mod needs;
pub mod orders;
pub mod pair;
pub mod passing;
pub mod payload;
pub mod proc;
pub mod scripted;
pub mod serving;
pub mod setup;
pub mod soak;
pub mod times;
pub mod tokio;
pub mod upgrading;
