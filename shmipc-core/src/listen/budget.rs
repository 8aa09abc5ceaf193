//! How much of what a peer feeds is taken in one turn of the lock.

/// The rounds that are left to a loop of which a peer feeds every round while the listener's lock is held.
///
/// A loop that runs out says that work is left, so that its caller lets go of the lock and comes back.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    /// A budget of so many rounds.
    pub(super) fn new(rounds: usize) -> Self {
        Self(rounds)
    }

    /// Takes one round. `false` if none is left.
    #[must_use = "without a round the loop ends"]
    pub(super) fn take(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}
