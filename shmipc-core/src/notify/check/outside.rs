//! The steps of an event loop outside: V1 to V5. Its drive and its look at its own result are those of
//! the other threads.

use super::ours::Ours;
use super::rules::{Bell, Weakening};
use super::state::{Pc, TAIL, THREADS};

impl Ours<'_> {
    pub(super) fn outside(&mut self, at: Pc) {
        match at {
            Pc::ComeBack => {
                let free = self.s.book().come_back();
                self.go(if free { Pc::Take } else { Pc::Result });
            }
            Pc::Take => {
                let socket = self.rules.bell == Bell::Socket;
                if std::mem::take(&mut self.s.kick) || (!socket && self.s.bell) {
                    self.took();
                }
                if socket && self.s.bell {
                    return self.go(Pc::TakeSocket);
                }
                self.s.bell = false;
                self.wake_then(Pc::DriveLock);
            }
            Pc::TakeSocket => {
                if std::mem::take(&mut self.s.bell) {
                    self.took();
                }
                self.wake_then(Pc::DriveLock);
            }
            Pc::PostOutside => {
                let arm = self.s.book().post_outside();
                let unarmed = self.rules.is(Weakening::LoopSleepsUnarmed);
                if !arm || unarmed {
                    return self.go(Pc::Outside);
                }
                self.s.event[TAIL] = self.s.drained;
                if self.rules.is(Weakening::LoopArmsWithoutLook) {
                    return self.go(Pc::Outside);
                }
                self.me().armed = self.s.drained;
                self.go(Pc::LookOutside);
            }
            Pc::LookOutside => {
                let news = self.s.cursor[TAIL] != self.me().armed;
                self.me().armed = 0;
                self.go(if news { Pc::ComeBack } else { Pc::Outside });
            }
            Pc::Outside => {
                let told = std::mem::take(&mut self.me().token);
                let readable = (self.s.bell || self.s.kick) && self.s.book.inside().is_none();
                self.go(if told && !readable { Pc::Result } else { Pc::ComeBack });
            }
            _ => unreachable!("not a step of a loop"),
        }
    }

    /// What it took may have been meant for a thread that has gone inside.
    fn took(&mut self) {
        if !self.rules.is(Weakening::LoopTakesAndDoesNotKick) {
            self.me().noted |= 1 << THREADS;
        }
    }
}
