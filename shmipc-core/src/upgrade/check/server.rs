//! One server of the row.

use super::{
    Case, End, LINES, Line, Message, Predecessor, SERVERS, Side, State, Step, Succession,
    Successor, TRIES, Weakening,
};
use crate::upgrade::{Failure, Heard, Reason, Steps};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Has not connected yet.
    #[default]
    Seeking,
    /// In the row.
    In,
    /// Has failed.
    Out,
    /// Was closed by its application.
    Closed,
    Dead,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct Server {
    pub(super) phase: Phase,
    pub(super) succession: Succession,
    before: Half,
    after: Half,
    tries: usize,
    /// The connection to the successor is to be cut next.
    cuts: bool,
    /// Whom it has seen serve after it.
    pub(super) followed_by: Option<usize>,
}

/// A connection as one end has it.
#[derive(Clone, Debug, Default, Hash)]
struct Half {
    line: Option<usize>,
    unsent: Vec<Message>,
    closing: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            phase: Phase::Seeking,
            succession: Succession::following(Successor::Claiming),
            before: Half::default(),
            after: Half::default(),
            tries: 0,
            cuts: false,
            followed_by: None,
        }
    }
}

impl Server {
    /// It has the sockets, and has not given up serving.
    pub(super) fn may_serve(&self) -> bool {
        let before = self.succession.before();
        let has = !matches!(before, Successor::Claiming | Successor::Failed(_));
        has && self.succession.after() != Predecessor::Retired
    }

    /// It will hear that its predecessor goes on.
    pub(super) fn is_refused(&self, lines: &[Line]) -> bool {
        let refusal = |message: &Message| matches!(message, Message::Refuse(_));
        self.before.line.is_some_and(|line| lines[line].to_after.iter().any(refusal))
    }

    fn side(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Before => &mut self.before,
            Side::After => &mut self.after,
        }
    }
}

impl State {
    /// The server whose connection to its predecessor this is.
    fn owner(line: usize) -> usize {
        line / TRIES
    }

    /// Somebody has the sockets: the upgrade socket can be connected to, and the path is locked.
    fn is_held(&self) -> bool {
        let has = |server: &Server| {
            let before = server.succession.before();
            let has = !matches!(before, Successor::Claiming | Successor::Failed(_));
            server.phase == Phase::In && has
        };
        // What is on its way is open too.
        let comes = |line: &Line| line.after_open && line.to_after.contains(&Message::Offer);
        self.servers.iter().any(has) || self.lines.iter().any(comes)
    }

    /// The last holder of the upgrade socket is gone: the kernel ends what waits in its backlog.
    fn drop_backlog(&mut self) {
        if !self.is_held() {
            for line in self.lines.iter_mut().filter(|line| line.before.is_none()) {
                line.before = Some(End::Closed);
            }
        }
    }
}

impl Case {
    pub(super) fn seek(&self, s: &mut State, server: usize) -> bool {
        if s.servers[server].phase != Phase::Seeking || s.servers[server].tries == TRIES {
            return false;
        }
        s.servers[server].phase = Phase::In;
        if !s.is_held() {
            s.servers[server].succession = Succession::first();
            return true;
        }
        let line = server * TRIES + s.servers[server].tries;
        s.servers[server].tries += 1;
        s.servers[server].succession = Succession::following(Successor::Claiming);
        s.servers[server].before = Half { line: Some(line), ..Half::default() };
        s.lines[line] = Line { after_open: true, ..Line::default() };
        s.lines[line].to_before.push(Message::Claim(Ok(())));
        true
    }

    pub(super) fn ready(&self, s: &mut State, server: usize) -> bool {
        let before = s.servers[server].succession.before();
        if !matches!(before, Successor::Holding | Successor::Inheriting) {
            return false;
        }
        let steps = s.servers[server].succession.ready();
        self.act(s, server, steps);
        true
    }

    /// Takes a connection from the backlog of the upgrade socket.
    pub(super) fn take_in(&self, s: &mut State, server: usize) -> bool {
        let waits =
            |line: &usize| s.lines[*line].before.is_none() && !s.lines[*line].to_before.is_empty();
        let Some(line) = (0..LINES).find(waits) else { return false };
        let this = &mut s.servers[server];
        if this.phase != Phase::In || !this.succession.accepts() {
            return false;
        }
        // The last one may still have to be told why not.
        let mut taken = this.after.line.is_none() && this.succession.ask();
        if !taken && self.is(Weakening::SecondTakenIn) {
            this.succession.after = Predecessor::Asked;
            if let Some(first) = this.after.line {
                s.lines[first].before = Some(End::Closed);
            }
            taken = true;
        }
        if taken {
            s.lines[line].before = Some(End::Open);
            s.lines[line].taken_by = Some(server);
            this.after = Half { line: Some(line), ..Half::default() };
        } else {
            s.lines[line].to_after.push(Message::Refuse(Reason::InProgress));
            s.lines[line].before = Some(End::Closed);
        }
        true
    }

    /// Hears the next thing that a neighbour has said, or its end.
    pub(super) fn hear(&self, s: &mut State, server: usize, side: Side) -> bool {
        if side == Side::After && std::mem::take(&mut s.servers[server].cuts) {
            self.cut(s, server);
            return true;
        }
        let Some(heard) = self.heard(s, server, side) else { return false };
        self.hear_this(s, server, side, heard);
        true
    }

    fn heard(&self, s: &mut State, server: usize, side: Side) -> Option<Heard> {
        let this = s.servers[server].side(side);
        let number = this.line.filter(|_| !this.closing)?;
        let line = &mut s.lines[number];
        let (queue, ended, unwatched) = match side {
            Side::Before => (
                &mut line.to_after,
                line.before == Some(End::Closed),
                Weakening::PredecessorUnwatched,
            ),
            Side::After => (&mut line.to_before, !line.after_open, Weakening::SuccessorUnwatched),
        };
        let overtaken = ended && self.is(Weakening::DeathOvertakes);
        if !queue.is_empty() && !overtaken {
            Some(Heard::Message(queue.remove(0)))
        } else if side == Side::After && line.cut {
            Some(Heard::Silence)
        } else {
            (ended && !self.is(unwatched)).then_some(Heard::Gone)
        }
    }

    /// The time is over, and nothing has come that was not heard.
    pub(super) fn be_late(&self, s: &mut State, server: usize, side: Side) -> bool {
        let succession = s.servers[server].succession;
        let limited = match side {
            Side::Before => succession.before().has_deadline(),
            Side::After => succession.after().has_deadline(),
        };
        let waits = limited && s.servers[server].phase == Phase::In;
        if !waits || self.heard(&mut s.clone(), server, side).is_some() {
            return false;
        }
        if side == Side::Before && succession.before() != Successor::Claiming {
            let line = s.servers[server].before.line.expect("a predecessor");
            let predecessor = s.lines[line].taken_by.expect("it has answered");
            s.given_up |= s.servers[predecessor].phase == Phase::Dead;
        }
        self.hear_this(s, server, side, Heard::Late);
        true
    }

    fn hear_this(&self, s: &mut State, server: usize, side: Side, heard: Heard) {
        let succession = &mut s.servers[server].succession;
        let mut steps = match side {
            Side::Before => succession.hear_before(heard),
            Side::After => succession.hear_after(heard),
        };
        if succession.after == Predecessor::Claimed && self.is(Weakening::OfferedUnreleased) {
            steps = succession.after.freed().map(|step| (Side::After, step)).into_iter().collect();
        }
        self.act(s, server, steps);
    }

    fn act(&self, s: &mut State, server: usize, steps: Steps) {
        for (side, step) in steps {
            let early = step == Step::Send(Message::Yield) && self.is(Weakening::LeavesEarly);
            match step {
                Step::Send(Message::Refuse(_)) if self.is(Weakening::NoRefusal) => {}
                Step::Send(Message::Release) if self.is(Weakening::NoRelease) => {}
                Step::Send(message) => s.servers[server].side(side).unsent.push(message),
                Step::Cut => s.servers[server].cuts = true,
                Step::Finish => self.begin_to_close(s, server, side),
                Step::HangUp => self.hang_up(s, server, side),
                Step::Leave => {}
            }
            if step == Step::Leave || early {
                let line = s.servers[server].after.line.expect("a successor");
                let follower = State::owner(line);
                let begun = match s.servers[follower].phase {
                    Phase::Dead | Phase::Closed => true,
                    _ => s.servers[follower].succession.before().accepts(),
                };
                s.left_too_soon |= !begun;
                s.servers[server].followed_by = Some(follower);
            }
        }
        if let Successor::Failed(failure) = s.servers[server].succession.before() {
            self.fail(s, server, failure);
        }
    }

    fn cut(&self, s: &mut State, server: usize) {
        let line = s.servers[server].after.line.expect("a successor");
        s.lines[line].cut = !self.is(Weakening::NoCut);
        if self.is(Weakening::CutUnread) {
            s.lines[line].to_before.clear();
        }
        if self.is(Weakening::NoCut) {
            // It looks once, and takes that for the end.
            let found = match s.lines[line].to_before.is_empty() {
                true => Heard::Silence,
                false => Heard::Message(s.lines[line].to_before.remove(0)),
            };
            self.hear_this(s, server, Side::After, found);
        }
    }

    /// The connection ends when everything is sent.
    fn begin_to_close(&self, s: &mut State, server: usize, side: Side) {
        let this = s.servers[server].side(side);
        if this.unsent.is_empty() {
            self.hang_up(s, server, side);
        } else {
            this.closing = this.line.is_some();
        }
    }

    fn hang_up(&self, s: &mut State, server: usize, side: Side) {
        let this = std::mem::take(s.servers[server].side(side));
        let Some(line) = this.line else { return };
        match side {
            Side::Before => s.lines[line].after_open = false,
            Side::After => s.lines[line].before = Some(End::Closed),
        }
    }

    /// Sends the first thing that is to be sent.
    pub(super) fn send(&self, s: &mut State, server: usize, side: Side) -> bool {
        let this = s.servers[server].side(side);
        let Some(number) = this.line.filter(|_| !this.unsent.is_empty()) else { return false };
        let message = this.unsent.remove(0);
        let line = &mut s.lines[number];
        let taken = match side {
            Side::Before => !line.cut && line.before != Some(End::Closed),
            Side::After => line.after_open,
        };
        match (taken, side) {
            (true, Side::Before) => line.to_before.push(message),
            (true, Side::After) => line.to_after.push(message),
            (false, _) => {}
        }
        if message == Message::Serving {
            let enough = taken || self.is(Weakening::YieldIsEnough);
            s.servers[server].succession.sent_serving(enough);
        }
        let this = s.servers[server].side(side);
        if this.closing && this.unsent.is_empty() {
            self.hang_up(s, server, side);
        }
        true
    }

    /// The application closes the listener.
    pub(super) fn close(&self, s: &mut State, server: usize) -> bool {
        if s.closes == 0 || s.servers[server].phase != Phase::In {
            return false;
        }
        s.closes -= 1;
        let steps = s.servers[server].succession.close();
        self.act(s, server, steps);
        // All is sent at once, or never.
        for side in [Side::Before, Side::After] {
            while self.send(s, server, side) {}
            self.hang_up(s, server, side);
        }
        s.servers[server].phase = Phase::Closed;
        s.servers[server].cuts = false;
        s.drop_backlog();
        true
    }

    fn fail(&self, s: &mut State, server: usize, failure: Failure) {
        if failure == Failure::Closed {
            return;
        }
        let starts_over = failure == Failure::Gone;
        s.servers[server].phase = if starts_over { Phase::Seeking } else { Phase::Out };
        s.drop_backlog();
    }

    pub(super) fn die(&self, s: &mut State, server: usize) -> bool {
        if s.kills == 0 || s.servers[server].phase != Phase::In {
            return false;
        }
        s.kills -= 1;
        for side in [Side::Before, Side::After] {
            self.hang_up(s, server, side);
        }
        s.servers[server].phase = Phase::Dead;
        s.drop_backlog();
        true
    }
}

const _: () = assert!(SERVERS * TRIES == LINES);
