//! Some attempts of a log, each entry with the proof that it stands there.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::{Path, PathBuf},
};

use tlog_tiles::Hash;
use vestibule_model::AttemptId;

use crate::{
    Attempt, EvidenceError, Gap, ProvenEntry, PublicKey, State, VerifyError,
    checkpoint::{self, Signed},
    event::{self, EntryKind, Head},
    proof::Hashes,
    segments::{self, Step},
    tree::{HashTile, Tree, leaf_hash},
};

/// Whether an attempt belongs to an excerpt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It does not.
    No,
    /// It does. Of too many, the newest are kept.
    Yes,
    /// It does, and is kept apart from the others, so that however many they are they do not push it out.
    Key,
}

/// Which attempts belong to an excerpt.
pub trait Selection {
    /// A cheap look at a line that may be the last of an attempt: false only if it cannot fit.
    fn may_fit(&self, attempt: AttemptId, line: &str) -> bool;

    /// Asked of each attempt that may fit, in the order in which they ended; of those that have not, at the end.
    fn fits(&mut self, attempt: &Attempt) -> Fit;
}

/// Attempts of a log as they stood under its newest checkpoint.
#[derive(Debug)]
pub struct Excerpt {
    folder: PathBuf,
    note: String,
    size: u64,
    root: Hash,
    /// The unfinished tiles of the tree of this size: on disk they are gone as soon as it grows.
    edge: Vec<HashTile>,
    /// By index: the entries that are kept.
    kept: BTreeMap<u64, Role>,
    attempts: usize,
    left_out: u64,
    gaps: Vec<Gap>,
}

/// What an entry is to its attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The attempt is closed by a later entry.
    Begins,
    /// It tells all that is known.
    Tells(State),
}

/// An entry of an excerpt.
#[derive(Debug)]
pub struct Excerpted {
    /// The entry with its proof.
    pub proven: ProvenEntry,
    /// With the entry that tells all that is known about an attempt: the attempt.
    pub attempt: Option<Attempt>,
}

impl Excerpt {
    /// Reads the whole log up to its newest checkpoint, compares it with what was signed there, and keeps of what fits
    /// at most `attempts_max` attempts, and as many of the key ones. Sign the log first, to have in it what is new.
    ///
    /// # Errors
    /// When the log cannot be read or is not what was signed.
    pub fn of(
        folder: &Path,
        key: &PublicKey,
        selection: &mut dyn Selection,
        attempts_max: usize,
    ) -> Result<Self, EvidenceError> {
        Self::read(folder, key, selection, attempts_max).map_err(EvidenceError::damaged(folder))
    }

    fn read(
        folder: &Path,
        key: &PublicKey,
        selection: &mut dyn Selection,
        attempts_max: usize,
    ) -> Result<Self, VerifyError> {
        let note = checkpoint::newest(folder)?.ok_or(VerifyError::CheckpointUnknown)?;
        let signed = Signed::read(0, note, key)?;
        signed.verify(key)?;
        let mut reading = Reading::default();
        segments::walk(folder, &mut |place, line| {
            if place.index >= signed.size {
                return Ok(Step::Done);
            }
            let entry = std::str::from_utf8(line).map_err(|_| VerifyError::Malformed { place })?;
            reading
                .push(place.index, entry, selection, attempts_max)
                .map_err(|_| VerifyError::Malformed { place })?;
            Ok(Step::Next)
        })?;
        let (size, root) = (signed.size, signed.root);
        if reading.tree.size() < size {
            return Err(VerifyError::Truncated { entries: reading.tree.size(), signed: size });
        }
        if reading.tree.root() != root {
            return Err(VerifyError::ChangedBetween { from: 0, to: size.saturating_sub(1) });
        }
        reading.end(selection, attempts_max);
        // A note is text: `Signed::read` has parsed it.
        let note = String::from_utf8_lossy(&signed.note).into_owned();
        let edge = reading.tree.partial_tiles().collect();
        let (attempts, left_out) = (reading.usual.len() + reading.key.len(), reading.left_out);
        let mut kept = BTreeMap::new();
        for found in reading.usual.iter().chain(&reading.key) {
            kept.extend(found.begins.map(|index| (index, Role::Begins)));
            kept.insert(found.tells, Role::Tells(found.state));
        }
        let gaps = reading.gaps;
        Ok(Self { folder: folder.to_owned(), note, size, root, edge, kept, attempts, left_out, gaps })
    }

    /// The signed note under which its entries stand.
    #[must_use]
    pub fn checkpoint(&self) -> &str {
        &self.note
    }

    /// How many entries the log had.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many entries it has.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.kept.len()
    }

    /// How many attempts it has.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.attempts
    }

    /// How many attempts fit and are not in it, because they were too many: older than the others.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// When entries may be missing, as the gateway itself recorded it.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Hands out its entries in their order. Reads the log once more, and holds one entry at a time.
    ///
    /// # Errors
    /// What `each` says, and [`EvidenceError`] when the log or its tiles cannot be read or were changed meanwhile.
    pub fn each<E: From<EvidenceError>>(
        &self,
        mut each: impl FnMut(Excerpted) -> Result<(), E>,
    ) -> Result<(), E> {
        let hashes = Hashes::new(&self.folder, self.size, self.root, &self.edge);
        let mut ended: Result<(), E> = Ok(());
        let walked = segments::walk(&self.folder, &mut |place, line| {
            if place.index >= self.size {
                return Ok(Step::Done);
            }
            let Some(role) = self.kept.get(&place.index) else { return Ok(Step::Next) };
            let malformed = || VerifyError::Malformed { place };
            let entry = std::str::from_utf8(line).map_err(|_| malformed())?;
            let proven = hashes.prove(place.index, entry).ok_or(VerifyError::Changed { place })?;
            let attempt = match role {
                Role::Begins => None,
                Role::Tells(state) => Some(event::read_attempt(line, *state).map_err(|_| malformed())?),
            };
            ended = each(Excerpted { proven, attempt });
            Ok(if ended.is_ok() { Step::Next } else { Step::Done })
        });
        walked.map_err(EvidenceError::damaged(&self.folder))?;
        ended
    }
}

/// What is known of a log that is read up to here.
#[derive(Default)]
struct Reading {
    tree: Tree,
    /// The full tiles are on disk.
    full: Vec<HashTile>,
    open: HashMap<AttemptId, (u64, String)>,
    usual: VecDeque<Found>,
    key: VecDeque<Found>,
    left_out: u64,
    gaps: Vec<Gap>,
}

struct Found {
    begins: Option<u64>,
    tells: u64,
    state: State,
}

impl Reading {
    fn push(
        &mut self,
        index: u64,
        entry: &str,
        selection: &mut dyn Selection,
        max: usize,
    ) -> Result<(), serde_json::Error> {
        self.tree.push(leaf_hash(entry.as_bytes()), &mut self.full);
        self.full.clear();
        let head = Head::read(entry.as_bytes())?;
        match head.entry {
            EntryKind::Opened => {
                self.open.insert(head.id, (index, entry.to_owned()));
            }
            EntryKind::Closed => {
                let begins = self.open.remove(&head.id).map(|(index, _)| index);
                if selection.may_fit(head.id, entry) {
                    let attempt = event::read_attempt(entry.as_bytes(), State::Closed)?;
                    let found = Found { begins, tells: index, state: State::Closed };
                    self.keep(found, selection.fits(&attempt), max);
                }
            }
            EntryKind::Gap => self.gaps.push(event::read_gap(entry.as_bytes())?),
            EntryKind::Start | EntryKind::Stop => {}
        }
        Ok(())
    }

    /// Attempts that have not ended.
    fn end(&mut self, selection: &mut dyn Selection, max: usize) {
        let mut open: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        open.sort_unstable_by_key(|(_, (index, _))| *index);
        for (id, (index, entry)) in open {
            if !selection.may_fit(id, &entry) {
                continue;
            }
            if let Ok(attempt) = event::read_attempt(entry.as_bytes(), State::Open) {
                let found = Found { begins: None, tells: index, state: State::Open };
                self.keep(found, selection.fits(&attempt), max);
            }
        }
    }

    fn keep(&mut self, found: Found, fit: Fit, max: usize) {
        let kept = match fit {
            Fit::No => return,
            Fit::Yes => &mut self.usual,
            Fit::Key => &mut self.key,
        };
        kept.push_back(found);
        if kept.len() > max {
            kept.pop_front();
            self.left_out += 1;
        }
    }
}
