//! Peers that attack a server, and the server that has to bear it.
//!
//! | module | purpose |
//! |---|---|
//! | [`attacks`] | a list of named attacks, each with the rule that it breaks, or none |
//! | [`scribbler`] | a peer that takes part and meanwhile writes what it likes, at random |
//! | [`by_hand`] | what both are made with: a client's end of a session, without a session on it |
//! | [`lingering`](mod@lingering) | a file whose close blocks |
//! | [`server`] | a server of either flavour that says why each session ended, and some that are worse |
//! | [`silent`] | connections that say too little, as many as there may be |
//! | [`unmet`] | why handshakes have failed |
//! | [`siege`] | a server under attack beside a neighbour who must not notice |

pub mod attacks;
pub mod by_hand;
pub mod lingering;
pub mod scribbler;
pub mod server;
pub mod siege;
pub mod silent;
pub mod unmet;
