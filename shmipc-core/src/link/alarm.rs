//! A time of the system's clock, as a descriptor.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::error::OsError;

/// A descriptor that becomes readable after a while, and stays so. For a loop whose own timers do not follow
/// the system's clock.
#[derive(Debug)]
pub struct Alarm {
    timer: TimerFd,
}

impl Alarm {
    /// Rings after `time`.
    ///
    /// # Errors
    /// Without a descriptor.
    pub fn after(time: Duration) -> Result<Self, OsError> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)
            .map_err(|errno| OsError::new("timerfd_create", errno))?;
        // Zero would turn it off.
        let time = TimeSpec::from_duration(time.max(Duration::from_nanos(1)));
        timer
            .set(Expiration::OneShot(time), TimerSetTimeFlags::empty())
            .map_err(|errno| OsError::new("timerfd_settime", errno))?;
        Ok(Self { timer })
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}
