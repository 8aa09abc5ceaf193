//! A peer's outbox that says anything.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use super::lies::Lies;
use super::{Script, WatchedMemory};
use crate::layout::{
    FINAL_AT, Geometry, HEAD_AT, LEAVING_AT, RETURNED_AT, RING_AT, TAIL_AT, segment_bytes,
};
use crate::mem::Memory;
use crate::notify::event::Cursor;

/// Memory that answers every load from a script: two loads of the same word need not agree, and what
/// is there need not make sense.
///
/// Pure noise would not get past the first check, so most answers are what a peer could have written
/// that knows our outbox and the limits: cursors that move on a little, records that fit, streams
/// that are open. Made with [`over`](Self::over) it is an honest peer's outbox, of which few words
/// are changed.
///
/// It panics on a load outside of its size or at an odd place, as a mapping does.
#[derive(Clone, Debug)]
pub struct AdversarialMemory {
    script: Arc<Script>,
    size: usize,
    own: Arc<WatchedMemory>,
    truth: Option<Arc<WatchedMemory>>,
    loads: Arc<AtomicU64>,
    lies: Arc<Mutex<Lies>>,
}

impl AdversarialMemory {
    /// The outbox of a server that answers from `script` to the owner of `own`. Both directions have
    /// this geometry.
    pub fn new(script: &Arc<Script>, own: &Arc<WatchedMemory>, geometry: &Geometry) -> Self {
        Self {
            script: Arc::clone(script),
            size: segment_bytes(geometry, geometry),
            own: Arc::clone(own),
            truth: None,
            loads: Arc::default(),
            lies: Arc::new(Mutex::new(Lies::new(geometry))),
        }
    }

    /// The same, but it mostly answers what is in `truth`, and lies in one of 256 loads.
    pub fn over(self, truth: Arc<WatchedMemory>) -> Self {
        Self { truth: Some(truth), ..self }
    }

    /// Loads and copies so far.
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// The tail as it was said last.
    pub(super) fn tail(&self) -> u64 {
        self.lies().tail
    }

    /// An event word as it was said last.
    pub(super) fn event(&self, cursor: Cursor) -> u64 {
        self.lies().events[cursor as usize]
    }

    /// Counts an access, checks its place, and says whether it is to be answered honestly.
    fn honest(&self, at: usize, len: usize, align: usize) -> Option<&WatchedMemory> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        assert!(at % align == 0, "misaligned word");
        assert!(at <= self.size && len <= self.size - at, "access outside of the memory");
        let truth = self.truth.as_deref()?;
        (self.script.next() != Some(255)).then_some(truth)
    }

    fn lies(&self) -> std::sync::MutexGuard<'_, Lies> {
        self.lies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory for AdversarialMemory {
    fn size(&self) -> usize {
        self.size
    }

    fn load32(&self, at: usize) -> u32 {
        if let Some(truth) = self.honest(at, 4, 4) {
            return truth.load32(at);
        }
        match self.script.byte() {
            255 => self.script.word() as u32,
            byte => u32::from(byte % 4) | u32::from(byte / 128) << 31,
        }
    }

    fn load64(&self, at: usize) -> u64 {
        let truth = self.honest(at, 8, 8).map(|truth| truth.load64(at));
        let mut lies = self.lies();
        let answer = truth.unwrap_or_else(|| match at {
            TAIL_AT => lies.tail(&self.script),
            HEAD_AT => lies.head(&self.script, self.own.load64(TAIL_AT)),
            RETURNED_AT => lies.returned(&self.script),
            LEAVING_AT => lies.leaving(&self.script),
            FINAL_AT => lies.last(&self.script, self.own.load64(TAIL_AT)),
            RING_AT.. => lies.record(&self.script, at),
            _ => match Cursor::ALL.into_iter().find(|cursor| cursor.event_at() == at) {
                Some(cursor) => lies.event(&self.script, self.own.load64(cursor.cursor_at())),
                None => self.script.word(),
            },
        });
        lies.said(at, answer);
        answer
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        match self.honest(at, out.len(), 1) {
            Some(truth) => truth.read(at, out),
            None => out.fill(self.script.byte()),
        }
    }

    fn fence_acquire(&self) {
        fence(Ordering::Acquire);
    }

    fn fence_seq_cst(&self) {
        fence(Ordering::SeqCst);
    }
}
