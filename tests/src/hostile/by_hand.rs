//! The client's end of a session, played by hand: it writes whatever it is told to.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use shmipc_core::config::Config;
use shmipc_core::handshake::{Established, Role, connect};
use shmipc_core::layout::{Geometry, RETURNED_AT, RING_AT, TAIL_AT};
use shmipc_core::link::{self, PeerSocket, Sent};
use shmipc_core::mem::{self, Memory, MemoryMut, OwnMapping, PeerMapping};
use shmipc_core::pool::ReturnWriter;
use shmipc_core::queue::{ExtentRef, Flags, Header, Kind, Record, RecordReader, RecordWriter};
use shmipc_core::session::StreamId;
use shmipc_core::wire::{BELL, SegmentClass, add_segment};

use super::lingering::let_go;
use crate::deadline::until;

/// Bytes that are not yet a frame's header.
pub(super) const HALF: usize = 7;

type Own = Arc<OwnMapping>;
type Theirs = Arc<PeerMapping>;

/// One end, without a session on it.
#[derive(Debug)]
pub struct ByHand {
    /// Its outbox.
    pub own: Own,
    /// The server's.
    pub peer: Theirs,
    /// The direction to the server.
    pub out: Geometry,
    /// The direction from the server.
    pub incoming: Geometry,
    /// Hands extents back, and acknowledges segments.
    pub returns: ReturnWriter<Own>,
    records: RecordWriter<Own, Theirs>,
    replies: RecordReader<Own, Theirs>,
    socket: PeerSocket,
}

/// The first use of a place of ours.
pub fn stream(place: u32) -> u64 {
    StreamId::new(Role::Client, place, 1).word()
}

impl ByHand {
    /// Completes a handshake.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn connect(path: &Path, config: &Config) -> Self {
        let established = connect(path, config).expect("the server lives");
        let Established { own, peer, out, incoming, socket, .. } = established;
        Self {
            returns: ReturnWriter::new(Arc::clone(&own), &out, &incoming),
            records: RecordWriter::new(Arc::clone(&own), Arc::clone(&peer), &out),
            replies: RecordReader::new(Arc::clone(&own), Arc::clone(&peer), &incoming),
            own,
            peer,
            out,
            incoming,
            socket,
        }
    }

    /// Puts a record with inline payload into the queue when there is room, without saying so; nothing once the
    /// session is over.
    pub fn put(&mut self, kind: Kind, flags: Flags, stream: u64, value: u32) {
        let payload = vec![7; if kind == Kind::Inline { value as usize } else { 0 }];
        let header = Header { kind, flags, value, stream };
        if self.has_room(header.size()) {
            if header.is_control() {
                // These have room of their own.
                self.records.ungrant(header.size());
            }
            self.records.put(header, &payload);
        }
    }

    /// Puts a record that names an extent.
    pub fn put_extent(&mut self, flags: Flags, stream: u64, extent: ExtentRef) {
        let header = Header { kind: Kind::Extent, flags, value: 0, stream };
        if self.has_room(header.size()) {
            self.records.put_extent(header, extent);
        }
    }

    /// Publishes what was put, and rings.
    pub fn publish(&mut self) {
        self.records.publish();
        self.ring();
    }

    /// One record that is said at once.
    pub fn say(&mut self, kind: Kind, flags: Flags, stream: u64, value: u32) {
        self.put(kind, flags, stream, value);
        self.publish();
    }

    /// Two words where the next record is to be, as a record of so many bytes.
    pub fn write(&self, words: [u64; 2], bytes: u64) {
        let tail = self.records.written();
        let at = RING_AT + (tail % u64::from(self.out.ring_bytes)) as usize;
        self.own.store64(at, words[0]);
        self.own.store64(at + 8, words[1]);
        self.own.publish64(TAIL_AT, tail + bytes);
        self.ring();
    }

    /// Stores a word of the header, and rings.
    pub fn set(&self, at: usize, value: u64) {
        self.own.publish64(at, value);
        self.ring();
    }

    /// Rings, whether the server sleeps or not.
    pub fn ring(&self) {
        // A full socket has rung.
        let _ = link::send(self.socket.as_fd(), &BELL, &[]);
    }

    /// Sends a frame when the socket takes it; nothing once the session is over.
    pub fn frame(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        until("the server reads its socket", || {
            match link::send(self.socket.as_fd(), bytes, fds).expect("a socket") {
                Sent::Whole | Sent::Gone => true,
                Sent::Full | Sent::Later => false,
            }
        });
    }

    /// Sends a frame with a descriptor that only the server has when the frame is whole.
    pub fn frame_with_last(&self, bytes: &[u8], fd: OwnedFd) {
        let (begin, end) = bytes.split_at(HALF);
        self.frame(begin, &[fd.as_fd()]);
        let_go(fd);
        self.frame(end, &[]);
    }

    /// Sends a byte with a descriptor out of band, or in band if the kernel has no such thing for these sockets.
    pub fn out_of_band(&self, byte: u8, fd: BorrowedFd<'_>) {
        let (socket, numbers) = (self.socket.as_fd().as_raw_fd(), [fd.as_raw_fd()]);
        let rights = [ControlMessage::ScmRights(&numbers)];
        let sent =
            sendmsg::<()>(socket, &[IoSlice::new(&[byte])], &rights, MsgFlags::MSG_OOB, None);
        if sent.is_err() {
            self.frame(&[byte], &[fd]);
        }
    }

    /// Announces a good segment as the next, and waits until the server has mapped it. It is not to be written.
    pub fn segment(&self, id: u32, bytes: u32) {
        let (_, file) = mem::create_arena(c"shmipc-test", bytes as usize).expect("memory");
        self.frame(&add_segment(id, bytes, SegmentClass::Dedicated), &[file.as_fd()]);
    }

    /// The next data that the server sends; `None` once the session is over. Everything before it has been read.
    pub fn reply(&mut self) -> Option<Record> {
        self.reply_or(|_| false)
    }

    /// The same, or a record of another kind that is waited for.
    pub fn reply_or(&mut self, wanted: fn(Kind) -> bool) -> Option<Record> {
        let mut found = None;
        until("the server answers", || {
            self.replies.load_tail().expect("an honest server");
            while let Some(record) = self.replies.next_record().expect("an honest server") {
                let kind = record.header.kind;
                if matches!(kind, Kind::Inline | Kind::Extent) || wanted(kind) {
                    found = Some(record);
                    break;
                }
            }
            self.replies.done();
            self.replies.end_batch();
            self.replies.publish_head();
            found.is_some() || self.is_over()
        });
        if found.is_some() {
            self.ring();
        }
        found
    }

    /// Sends a message of so many bytes, in as many records as that takes.
    pub fn send(&mut self, flags: Flags, stream: u64, len: u32) {
        let (mut left, mut flags) = (len, flags);
        while left > 4000 {
            self.put(Kind::Inline, flags.with_if(Flags::MORE, true), stream, 4000);
            (left, flags) = (left - 4000, Flags::none());
        }
        self.say(Kind::Inline, flags, stream, left);
    }

    /// Has a message of so many bytes echoed. The reply stays where it is.
    pub fn exchange(&mut self, flags: Flags, stream: u64, len: u32) -> Option<Record> {
        self.send(flags, stream, len);
        self.reply()
    }

    /// Whether the server has ended the session.
    pub fn is_over(&self) -> bool {
        loop {
            match mem::receive(self.socket.as_fd(), &mut [0; 1024], 5) {
                Ok(received) if received.bytes > 0 => {}
                Err(nix::errno::Errno::EAGAIN) => return false,
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// Rings until the server has ended the session.
    pub fn wait_for_the_end(&self) {
        until("the server ends the session", || {
            self.ring();
            self.is_over()
        });
    }

    /// Waits until the server has read all that was published.
    pub fn until_read(&mut self) {
        until("the server reads", || {
            self.ring();
            let head = self.records.load_head().expect("an honest server");
            head == self.records.published() || self.is_over()
        });
    }

    /// Waits until the server has acknowledged so many segments, and returned nothing.
    pub fn until_acknowledged(&self, segments: u64) {
        let acknowledged = || self.peer.load64(RETURNED_AT) >= segments;
        until("the server maps the segment", || acknowledged() || self.is_over());
    }

    /// Position up to which the server has published.
    pub fn published_by_server(&self) -> u64 {
        self.peer.load64(TAIL_AT)
    }

    fn has_room(&mut self, bytes: u64) -> bool {
        let mut room = false;
        until("the server reads", || {
            room = self.records.grant(bytes).expect("an honest server");
            if !room {
                self.records.publish();
                self.ring();
            }
            room || self.is_over()
        });
        room
    }
}
