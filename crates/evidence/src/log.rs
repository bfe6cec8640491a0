//! The log on disk, written by one thread: entries go to the active segment and into the tree, and the tree is signed.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use crate::{
    EvidenceError, PublicKey,
    checkpoint::{self, Publisher},
    error::{FileError, at},
    files,
    key::NoteSigner,
    segments, tiles,
    tree::{HashTile, Tree, leaf_hash},
};

#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) folder: PathBuf,
    /// Held as long as the log is written.
    pub(crate) _lock: File,
    pub(crate) segment: Segment,
    pub(crate) tree: Tree,
    pub(crate) signer: NoteSigner,
    pub(crate) public: PublicKey,
    pub(crate) publisher: Publisher,
    /// Entries under the newest checkpoint.
    pub(crate) signed: u64,
}

impl Log {
    /// Appends whole lines and makes them durable.
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<(), EvidenceError> {
        self.segment.append(&self.folder, lines)?;
        let mut full: Vec<HashTile> = Vec::new();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.tree.push(leaf_hash(line.strip_suffix(b"\n").unwrap_or(line)), &mut full);
        }
        full.iter().try_for_each(|tile| tiles::store(&self.folder, tile))?;
        Ok(())
    }

    /// Whether there are entries that no checkpoint covers.
    pub(crate) fn is_unsigned(&self) -> bool {
        self.tree.size() > self.signed
    }

    /// Signs what there is. Only when there is something new: sizes in the history grow.
    pub(crate) fn checkpoint(&mut self) -> Result<(), EvidenceError> {
        // The tiles first: they tell what was changed if the checkpoint ever stops to fit.
        self.tree.partial_tiles().try_for_each(|tile| tiles::store(&self.folder, &tile))?;
        let (size, root) = (self.tree.size(), self.tree.root());
        let note = checkpoint::sign(&self.signer, self.public.origin(), size, root)?;
        self.publisher.publish(&note)?;
        self.signed = size;
        Ok(())
    }
}

/// The segment that is appended to.
#[derive(Debug)]
pub(crate) struct Segment {
    file: File,
    path: PathBuf,
    number: u64,
    bytes: u64,
    max_bytes: u64,
}

impl Segment {
    /// Continues segment `number`, or begins the first one when `number` is 0.
    pub(crate) fn open(folder: &Path, number: u64, bytes: u64, max_bytes: u64) -> Result<Self, FileError> {
        if number == 0 {
            return Self::create(folder, 1, max_bytes);
        }
        let path = segments::path(folder, number);
        let file = files::append(&path).map_err(at(&path))?;
        Ok(Self { file, path, number, bytes, max_bytes })
    }

    fn create(folder: &Path, number: u64, max_bytes: u64) -> Result<Self, FileError> {
        let path = segments::path(folder, number);
        let file = files::create(&path)
            .and_then(|file| files::sync_folder(&segments::folder(folder)).map(|()| file))
            .map_err(at(&path))?;
        Ok(Self { file, path, number, bytes: 0, max_bytes })
    }

    fn append(&mut self, folder: &Path, lines: &[u8]) -> Result<(), FileError> {
        let added = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(added) > self.max_bytes {
            *self = Self::create(folder, self.number + 1, self.max_bytes)?;
        }
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        written.map_err(at(&self.path))?;
        self.bytes += added;
        Ok(())
    }
}
