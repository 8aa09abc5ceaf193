//! A thread of the opener's that reads the socket and takes a bell which was rung for others (`notify`, N4).

use super::{Case, State, Weakening, opener};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Bystander {
    /// About to read the socket.
    #[default]
    Reads,
    /// Has taken a bell.
    Took,
    /// Has kicked whoever sleeps.
    Kicked,
}

impl Case {
    /// The bystander takes a step: kicks, if that helps anybody, and looks for the final position.
    pub(super) fn pass_by(&self, s: &mut State) -> bool {
        s.bystander = match s.bystander {
            Bystander::Reads if !s.bell => return false,
            Bystander::Reads => {
                s.bell = false;
                Bystander::Took
            }
            Bystander::Took => {
                let asleep = s.opener.threads.iter().any(|thread| thread.at == opener::At::Sleep);
                s.kick |= asleep && !self.is(Weakening::BellKept);
                Bystander::Kicked
            }
            Bystander::Kicked => {
                if !self.is(Weakening::BellNotPassedOn) && !self.is(Weakening::BellKept) {
                    self.look_for_final(s);
                }
                Bystander::Reads
            }
        };
        true
    }
}
