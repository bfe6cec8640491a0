//! Reads a log from its beginning and compares it with everything that was signed. Recovery and verification are both
//! this, so what one accepts the other accepts.

use std::{collections::HashMap, path::Path};

use tlog_tiles::HASH_SIZE;
use vestibule_model::{AttemptId, Timestamp};

use crate::{
    Gap, Place, PublicKey, VerifyError,
    checkpoint::{self, History, Signed},
    error::at,
    event::{self, EntryKind, Head},
    files,
    segments::{self, Step},
    tiles::{self, Found},
    tree::{HashTile, TILE_WIDTH, Tree, leaf_hash},
};

/// What a log is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To say whether it is what was signed. Changes nothing.
    Verify,
    /// To append to it: checks no signature but the newest, as the roots of the others are compared anyway, and writes
    /// the full tiles that a power failure took.
    Recover,
}

pub(crate) struct Replay<'a> {
    folder: &'a Path,
    key: &'a PublicKey,
    purpose: Purpose,
    history: History,
    published: Option<Vec<u8>>,
    published_seen: bool,
    next: Option<Signed>,
    newest: Option<Signed>,
    full: Vec<HashTile>,
    /// Full tiles that are not on disk.
    missing: Vec<HashTile>,
    changed_tile: Option<String>,
    nonsense: Option<(Place, &'static str)>,
    state: Replayed,
}

/// What a log holds.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) tree: Tree,
    /// Attempts that are not closed, with the line that opened them.
    pub(crate) open: HashMap<AttemptId, Vec<u8>>,
    /// The last entry.
    pub(crate) last: Option<(EntryKind, Timestamp)>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) checkpoints: u64,
    /// Entries under the newest checkpoint.
    pub(crate) signed: u64,
    pub(crate) history_bytes: u64,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(folder: &'a Path, key: &'a PublicKey, purpose: Purpose) -> Result<Self, VerifyError> {
        let path = folder.join("log.vkey");
        let stated = files::if_found(std::fs::read_to_string(&path)).map_err(at(&path))?;
        if stated.is_some_and(|stated| stated != format!("{key}\n")) {
            return Err(VerifyError::KeyDiffers);
        }
        // Before the segments, which only grow: so everything signed must be found in them.
        let published = checkpoint::newest(folder)?;
        let mut history = History::open(folder)?;
        let next = history.next(key)?;
        Ok(Self {
            folder,
            key,
            purpose,
            history,
            published,
            published_seen: false,
            next,
            newest: None,
            full: Vec::new(),
            missing: Vec::new(),
            changed_tile: None,
            nonsense: None,
            state: Replayed::default(),
        })
    }

    /// Takes the next line.
    pub(crate) fn push(&mut self, place: Place, line: &[u8]) -> Result<Step, VerifyError> {
        let Ok(head) = Head::read(line) else {
            // What was signed was whole. After it, an interrupted write may have left anything.
            return if self.next.is_some() { Err(VerifyError::Malformed { place }) } else { Ok(Step::Torn) };
        };
        self.note(place, head, line);
        self.state.tree.push(leaf_hash(line), &mut self.full);
        for tile in std::mem::take(&mut self.full) {
            if self.check(&tile)? == Found::Nothing {
                self.missing.push(tile);
            }
        }
        if self.next.as_ref().is_some_and(|next| next.size == self.state.tree.size()) {
            self.compare()?;
        }
        Ok(Step::Next)
    }

    fn note(&mut self, place: Place, head: Head, line: &[u8]) {
        let open = &mut self.state.open;
        let nonsense = match head.entry {
            EntryKind::Opened => {
                open.insert(head.id, line.to_vec()).map(|_| "the attempt is opened a second time")
            }
            EntryKind::Closed => {
                open.remove(&head.id).is_none().then_some("the attempt is closed but not open")
            }
            EntryKind::Gap => match event::read_gap(line) {
                Ok(gap) => {
                    self.state.gaps.push(gap);
                    None
                }
                Err(_) => Some("the gap does not say from when to when"),
            },
            EntryKind::Start | EntryKind::Stop => None,
        };
        if self.nonsense.is_none() {
            self.nonsense = nonsense.map(|problem| (place, problem));
        }
        self.state.last = Some((head.entry, head.time));
    }

    /// Compares a tile with the one on disk.
    fn check(&mut self, tile: &HashTile) -> Result<Found, VerifyError> {
        let found = tiles::compare(self.folder, tile)?;
        if found == Found::Other && self.changed_tile.is_none() {
            self.changed_tile = Some(tile.path());
        }
        Ok(found)
    }

    /// Writes the tiles that a power failure took, once the entries below them are known to be good: a tile of changed
    /// entries would hide which they are.
    fn repair(&mut self) -> Result<(), VerifyError> {
        for tile in self.missing.drain(..) {
            if self.purpose == Purpose::Recover {
                tiles::store(self.folder, &tile)?;
            }
        }
        Ok(())
    }

    /// Compares the tree with the checkpoint of its size.
    fn compare(&mut self) -> Result<(), VerifyError> {
        let Some(signed) = self.next.take() else { return Ok(()) };
        if self.purpose == Purpose::Verify {
            signed.verify(self.key)?;
        }
        if signed.root != self.state.tree.root() {
            let from = self.state.signed;
            locate(self.folder, from, signed.size)?;
            return Err(VerifyError::ChangedBetween { from, to: signed.size.saturating_sub(1) });
        }
        if self.purpose == Purpose::Verify {
            for tile in self.state.tree.partial_tiles().collect::<Vec<_>>() {
                self.check(&tile)?;
            }
        }
        self.repair()?;
        self.published_seen |= self.published.as_ref() == Some(&signed.note);
        self.state.signed = signed.size;
        self.state.checkpoints = signed.number;
        self.state.history_bytes = self.history.whole_bytes();
        let next = self.history.next(self.key)?;
        if let Some(next) = &next
            && next.size <= signed.size
        {
            return Err(VerifyError::Checkpoint {
                number: next.number,
                problem: "not after the one before it",
            });
        }
        (self.newest, self.next) = (Some(signed), next);
        Ok(())
    }

    /// All entries are read.
    pub(crate) fn finish(mut self) -> Result<Replayed, VerifyError> {
        let entries = self.state.tree.size();
        if let Some(next) = &self.next {
            next.verify(self.key)?;
            locate(self.folder, self.state.signed, next.size)?;
            return Err(VerifyError::Truncated { entries, signed: next.size });
        }
        if let Some(newest) = &self.newest {
            newest.verify(self.key)?;
        }
        // Only between the very first record of the history and its publication there is none.
        let published = self.published_seen || (self.published.is_none() && self.state.checkpoints <= 1);
        if !published {
            return Err(VerifyError::CheckpointUnknown);
        }
        // Not before the roots are compared: they tell whether the tile was changed or the entries.
        if let Some(path) = self.changed_tile {
            return Err(VerifyError::TileChanged { path });
        }
        if let Some((place, problem)) = self.nonsense {
            return Err(VerifyError::Entry { place, problem });
        }
        self.repair()?;
        Ok(self.state)
    }
}

/// Fails with the first entry of `from..to` that is not the one whose hash stands in the tiles.
fn locate(folder: &Path, from: u64, to: u64) -> Result<(), VerifyError> {
    let (mut number, mut hashes) = (u64::MAX, Vec::new());
    segments::walk(folder, &mut |place, line| {
        if place.index >= to {
            return Ok(Step::Done);
        }
        if place.index < from {
            return Ok(Step::Next);
        }
        if number != place.index / TILE_WIDTH {
            number = place.index / TILE_WIDTH;
            hashes = tiles::leaves(folder, number)?;
        }
        let at = usize::try_from(place.index % TILE_WIDTH).unwrap_or(0) * HASH_SIZE;
        match hashes.get(at..at + HASH_SIZE) {
            Some(stored) if stored != leaf_hash(line).0 => Err(VerifyError::Changed { place }),
            Some(_) | None => Ok(Step::Next),
        }
    })
    .map(|_| ())
}
