//! Links that one thread of each process serves in turn, without waiting for any of them in particular: as
//! many round trips at a time as there are links, and no scheduler.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quanta::Clock;

use super::threads::{answer_one, measure_one};
use super::{Ends, Leg, Over};
use crate::measure::Samples;
use crate::transport::{Arm, Link};

#[derive(Debug)]
pub(crate) struct Lanes<L>(pub(crate) Vec<L>);

impl<L: Link> Ends for Lanes<L> {
    fn measure(
        &mut self,
        arm: &Arm,
        clock: &Clock,
        leg: Leg,
        _over: &Arc<Over>,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)> {
        let Self(links) = self;
        if !arm.bench.is_side_by_side() {
            return measure_one(arm, clock, &mut links[0], leg, samples);
        }
        let (from, share, start) = (leg.from, leg.ops / links.len() as u64, clock.raw());
        let mut sent = vec![start; links.len()];
        for link in links.iter_mut() {
            link.send(2 * from, 1)?;
        }
        for seq in from..from + share {
            for (link, sent) in links.iter_mut().zip(&mut sent) {
                link.recv(2 * seq + 1)?;
                let now = clock.raw();
                samples.record(clock.delta_as_nanos(*sent, now), 1);
                *sent = now;
                if seq + 1 < from + share {
                    link.send(2 * (seq + 1), 1)?;
                }
            }
        }
        Ok((share * links.len() as u64, clock.delta(start, clock.raw())))
    }

    fn answer(&mut self, arm: &Arm, leg: Leg) -> io::Result<()> {
        let Self(links) = self;
        if !arm.bench.is_side_by_side() {
            return answer_one(arm, &mut links[0], leg);
        }
        for seq in leg.from..leg.from + leg.ops / links.len() as u64 {
            for link in links.iter_mut() {
                link.recv(2 * seq)?;
                link.send(2 * seq + 1, 1)?;
            }
        }
        Ok(())
    }

    fn bells(&self) -> u64 {
        self.0.iter().map(Link::bells).sum()
    }
}
