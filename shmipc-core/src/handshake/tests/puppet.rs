//! A peer that says whatever the test wants.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{ftruncate, write};

use super::{config, sockets};
use crate::config::Config;
use crate::error::HandshakeError;
use crate::handshake::{Exchange, Progress, Role, Terms, Until, hello};
use crate::layout::{MAGIC, VERSION};
use crate::link::{self, Receive, Sent};
use crate::wire::{BELL, Decoder, Frame, Hello, Outbox};

/// One end of a socket pair, played by hand, with the real thing at the other end.
pub(super) struct Puppet {
    socket: OwnedFd,
    decoder: Decoder,
    config: Config,
    real: Option<Exchange>,
    /// Another descriptor of the real end's socket.
    real_socket: OwnedFd,
}

impl Puppet {
    /// A puppet client before a real server.
    pub(super) fn client() -> Self {
        Self::facing(Role::Server, config(|b| b))
    }

    /// A puppet server before a real client.
    pub(super) fn server() -> Self {
        Self::facing(Role::Client, config(|b| b))
    }

    /// A puppet before a real end with this configuration, which it also pretends to have.
    fn facing(role: Role, config: Config) -> Self {
        let (socket, real) = sockets();
        let real_socket = real.try_clone().unwrap();
        let real = Some(Exchange::new(role, real, &config).unwrap());
        Self { socket, decoder: Decoder::new(), config, real, real_socket }
    }

    pub(super) fn send(&self, frame: &[u8], fds: &[BorrowedFd<'_>]) {
        assert_eq!(link::send(self.socket.as_fd(), frame, fds).unwrap(), Sent::Whole);
    }

    /// Lets the real end work: an error, or whether it is done.
    pub(super) fn answer(&mut self) -> Result<bool, HandshakeError> {
        let progress = self.real.as_mut().unwrap().progress();
        if progress.is_err() {
            self.real = None;
        }
        Ok(progress? == Progress::Done)
    }

    /// Sends a frame and takes the real end's judgement, which must be an error.
    pub(super) fn fails_on(&mut self, frame: &[u8], fds: &[BorrowedFd<'_>]) -> HandshakeError {
        self.send(frame, fds);
        self.answer().unwrap_err()
    }

    /// The next frame of the real end.
    pub(super) fn hear(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            match link::receive(self.socket.as_fd(), &mut self.decoder).unwrap() {
                Receive::Bytes => {}
                Receive::Empty | Receive::End => return None,
            }
        }
    }

    /// A puppet client that has said Hello and heard the server's.
    pub(super) fn greeted_client() -> Self {
        Self::greeted_client_of(config(|b| b))
    }

    pub(super) fn greeted_client_of(config: Config) -> Self {
        let mut puppet = Self::facing(Role::Server, config);
        puppet.send(&hello(&puppet.config).encode(), &[]);
        assert_eq!(puppet.answer(), Ok(false));
        assert!(matches!(puppet.hear(), Some(Frame::Hello(_))));
        puppet
    }

    /// A puppet server that has exchanged Hellos and holds the client's outbox.
    pub(super) fn greeted_server() -> (Self, Outbox) {
        let mut puppet = Self::server();
        assert_eq!(puppet.answer(), Ok(false));
        assert!(matches!(puppet.hear(), Some(Frame::Hello(_))));
        puppet.send(&good_hello().encode(), &[]);
        assert_eq!(puppet.answer(), Ok(false));
        match puppet.hear() {
            Some(Frame::Outbox(outbox)) => (puppet, outbox),
            other => panic!("{other:?}"),
        }
    }

    /// Fills what the real end can send until the puppet reads, with bells.
    pub(super) fn jam(&self) -> usize {
        let ring = || link::send(self.real_socket.as_fd(), &BELL, &[]).unwrap() == Sent::Whole;
        std::iter::repeat_with(ring).take_while(|sent| *sent).count()
    }

    /// What the real end waits for.
    pub(super) fn until(&mut self) -> Until {
        match self.real.as_mut().unwrap().progress().unwrap() {
            Progress::Pending(until) => until,
            Progress::Done => panic!("done"),
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Closes the puppet's end, and gives the real one.
    pub(super) fn hang_up(self) -> Exchange {
        self.real.unwrap()
    }
}

/// A Hello that the real end agrees with.
pub(super) fn good_hello() -> Hello {
    hello(&config(|b| b))
}

/// Bytes of segment 0 with [`good_hello`] on both sides.
pub(super) fn segment_bytes() -> usize {
    Terms::agree(&good_hello(), &good_hello()).unwrap().own_bytes()
}

/// All seals that are asked for.
pub(super) fn all_seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL
        | SealFlag::from_bits_retain(libc::F_SEAL_FUTURE_WRITE)
}

/// A segment made by hand: the first two words, then `written - 16` bytes that are present, of `size`.
pub(super) fn memfd(words: [u64; 2], written: usize, size: usize, seals: SealFlag) -> OwnedFd {
    let name: &CStr = c"puppet";
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create(name, flags).unwrap();
    let mut content = vec![0; written];
    for (place, word) in content.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    assert_eq!(write(&fd, &content).unwrap(), written);
    ftruncate(&fd, size as i64).unwrap();
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    fd
}

/// A segment 0 that nothing is wrong with.
pub(super) fn good_segment() -> OwnedFd {
    memfd([MAGIC, VERSION], segment_bytes(), segment_bytes(), all_seals())
}
