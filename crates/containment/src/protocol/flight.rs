use std::sync::{Arc, PoisonError};

use vestibule_model::{AgentId, AttemptId, Denial};

use super::super::sync::{AtomicU32, CancellationToken, Mutex, Ordering};
use crate::{
    CutAttempt, Path, Stage, Wire,
    path::{Known, trace},
};

/// One attempt under way.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Unique in this process; the attempt's own identifier is the caller's word.
    pub(super) id: u64,
    pub(super) attempt: AttemptId,
    agent: AgentId,
    pub(crate) names: Vec<Known>,
    pub(super) calls: Box<[AttemptId]>,
    /// How far it has come, and why it was cut, in one word: so of "it began to stream" and "it was cut" one always
    /// knows of the other. See the masks below.
    word: AtomicU32,
    wire: Mutex<Option<Carrier>>,
    pub(super) cancelled: CancellationToken,
}

#[derive(Debug, Clone)]
struct Carrier {
    wire: Arc<dyn Wire>,
    is_shared: bool,
}

/// Bits 0 and 1: the stage. It stands still once the attempt is cut.
const STAGE: u32 = 0b11;
/// Its passage was dropped.
const LEFT: u32 = 0b100;
/// It was cut and did not leave in time.
const OVERDUE: u32 = 0b1000;
/// From here on: 0 while it is not cut, else one more than the denial's place among all.
const CUT_SHIFT: u32 = 8;

impl Flight {
    pub(super) fn new(id: u64, attempt: AttemptId, agent: &AgentId, path: &Path<'_>) -> Self {
        Self {
            id,
            attempt,
            agent: agent.clone(),
            names: path.names(),
            calls: path.calls.into(),
            word: AtomicU32::new(0),
            wire: Mutex::new(None),
            cancelled: CancellationToken::new(),
        }
    }

    /// The traces of all its names.
    pub(super) fn trace(&self) -> u64 {
        self.names.iter().fold(0, |all, name| all | trace(name.hash))
    }

    /// Why it was cut.
    pub(super) fn cut(&self) -> Option<Denial> {
        denial(self.word.load(Ordering::Acquire))
    }

    pub(super) fn is_under_way(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        denial(word).is_none() && word & LEFT == 0
    }

    /// What it is doing, unless it was cut or has left.
    pub(super) fn stage(&self) -> Option<Stage> {
        let word = self.word.load(Ordering::Acquire);
        (denial(word).is_none() && word & LEFT == 0).then(|| stage(word))
    }

    pub(super) fn has_left(&self) -> bool {
        self.word.load(Ordering::Acquire) & LEFT != 0
    }

    /// Whether an order may still wait for it: it is here, and its wire has not been ended for that.
    pub(super) fn is_unsettled(&self) -> bool {
        self.word.load(Ordering::Acquire) & (LEFT | OVERDUE) == 0
    }

    pub(super) fn cut_attempt(&self, stage: Stage) -> CutAttempt {
        CutAttempt { attempt: self.attempt, agent: self.agent.clone(), stage }
    }

    /// It has come so far; it never goes back.
    pub(super) fn advance(&self, to: Stage) -> Result<(), Denial> {
        let done = self.change(|word| match denial(word) {
            Some(denial) => Err(denial),
            None => Ok((word & !STAGE) | (word & STAGE).max(to as u32)),
        });
        done.map(|_| ())
    }

    /// Marks it as cut, and tells what it was doing if it is this call that did. Nobody has been woken and nothing severed
    /// yet: see [`sever_cut`](Self::sever_cut).
    pub(super) fn cut_for(&self, why: Denial) -> Option<Stage> {
        let cut = (why as u32 + 1) << CUT_SHIFT;
        let before = self
            .change(|word| match denial(word) {
                None if word & LEFT == 0 => Ok(word | cut),
                Some(_) | None => Err(()),
            })
            .ok()?;
        Some(stage(before))
    }

    /// Ends the wire of its own of one that was cut while its reply was being written.
    pub(super) fn sever_cut(&self) {
        // INVARIANT: the word first. Whoever sets the wire after this look at it finds the cut, see `carried_by`.
        let word = self.word.load(Ordering::Acquire);
        let is_due = denial(word).is_some() && stage(word) >= Stage::Streaming;
        self.sever_if(|is_shared| is_due && !is_shared);
    }

    pub(super) fn carried_by(&self, wire: Arc<dyn Wire>, is_shared: bool) {
        *self.wire.lock().unwrap_or_else(PoisonError::into_inner) = Some(Carrier { wire, is_shared });
        let word = self.word.load(Ordering::Acquire);
        let is_late = denial(word).is_some() && stage(word) >= Stage::Streaming;
        self.sever_if(|is_shared| word & OVERDUE != 0 || (is_late && !is_shared));
    }

    /// It was cut and had time to leave. Whatever carries it, now or later, ends.
    pub(super) fn sever(&self) {
        let done: Result<_, ()> = self.change(|word| Ok(word | OVERDUE));
        if done.is_ok_and(|before| before & LEFT == 0) {
            self.sever_if(|_| true);
        }
    }

    /// Says whether it was cut.
    pub(super) fn leave(&self) -> bool {
        // Dropped at the end, without the lock.
        let _carrier = self.wire.lock().unwrap_or_else(PoisonError::into_inner).take();
        let done: Result<_, ()> = self.change(|word| Ok(word | LEFT));
        done.is_ok_and(|before| denial(before).is_some())
    }

    /// What the word was before.
    fn change<E>(&self, to: impl Fn(u32) -> Result<u32, E>) -> Result<u32, E> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            match self.word.compare_exchange(word, to(word)?, Ordering::AcqRel, Ordering::Acquire) {
                Ok(before) => return Ok(before),
                Err(other) => word = other,
            }
        }
    }

    /// INVARIANT: severed under the lock under which `leave` lets go of the wire. Once the attempt has left, its connection
    /// may carry another agent's, which must not end for this one.
    fn sever_if(&self, is_due: impl Fn(bool) -> bool) {
        let carrier = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Carrier { wire, is_shared }) = carrier.as_ref()
            && is_due(*is_shared)
        {
            wire.sever();
        }
    }
}

fn stage(word: u32) -> Stage {
    match word & STAGE {
        0 => Stage::Queued,
        1 => Stage::Forwarded,
        2 => Stage::Streaming,
        _ => Stage::Completed,
    }
}

fn denial(word: u32) -> Option<Denial> {
    let place = (word >> CUT_SHIFT).checked_sub(1)?;
    Denial::ALL.get(place as usize).copied()
}
