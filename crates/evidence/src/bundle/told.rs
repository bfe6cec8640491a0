//! The two files that the log itself proves: the entries, and the attempts that they tell of.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use tlog_tiles::Hash;
use vestibule_model::AttemptId;

use super::{BUNDLE_ATTEMPTS, BUNDLE_ENTRIES, BundleError, LINE_MAX_BYTES};
use crate::{
    Attempt, ProvenEntry, State,
    error::at,
    event::{self, EntryKind, Head},
};

/// How much they tell.
pub(super) struct Told {
    pub(super) entries: u64,
    pub(super) attempts: u64,
}

/// Checks each entry against the tree, and each attempt against its entries.
pub(super) fn check(folder: &Path, size: u64, root: Hash) -> Result<Told, BundleError> {
    let ended = prove(folder, size, root)?;
    let mut entries = Lines::open(folder, BUNDLE_ENTRIES)?;
    let mut attempts = Lines::open(folder, BUNDLE_ATTEMPTS)?;
    let mut told = 0;
    while let Some(line) = entries.next()? {
        let proven: ProvenEntry = entries.parse(&line)?;
        let head = entries.head(&proven)?;
        let state = match head.entry {
            EntryKind::Closed => State::Closed,
            EntryKind::Opened if !ended.contains(&head.id) => State::Open,
            EntryKind::Opened => continue,
            EntryKind::Start | EntryKind::Stop | EntryKind::Gap => {
                return Err(entries.fault("is an entry of no attempt"));
            }
        };
        let expected = event::read_attempt(proven.entry.as_bytes(), state)
            .map_err(|_| entries.fault("is an entry of no attempt"))?;
        let missing = BundleError::Malformed { name: BUNDLE_ATTEMPTS, problem: "an attempt is missing" };
        let line = attempts.next()?.ok_or(missing)?;
        if attempts.parse::<Attempt>(&line)? != expected {
            return Err(attempts.fault("tells something else than the entries"));
        }
        told += 1;
    }
    match attempts.next()? {
        None => Ok(Told { entries: entries.number, attempts: told }),
        Some(_) => Err(attempts.fault("is an attempt of no entry")),
    }
}

/// Checks that each entry stands in the log, in its order. Gives the attempts that have ended.
fn prove(folder: &Path, size: u64, root: Hash) -> Result<HashSet<AttemptId>, BundleError> {
    let mut ended = HashSet::new();
    let mut entries = Lines::open(folder, BUNDLE_ENTRIES)?;
    let mut before: Option<u64> = None;
    while let Some(line) = entries.next()? {
        let proven: ProvenEntry = entries.parse(&line)?;
        if before.is_some_and(|before| proven.index <= before) {
            return Err(entries.fault("is not after the one before it"));
        }
        if !proven.is_under(size, root) {
            return Err(entries.fault("is not an entry of the log"));
        }
        before = Some(proven.index);
        let head = entries.head(&proven)?;
        if head.entry == EntryKind::Closed {
            ended.insert(head.id);
        }
    }
    Ok(ended)
}

struct Lines {
    name: &'static str,
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
}

impl Lines {
    fn open(folder: &Path, name: &'static str) -> Result<Self, BundleError> {
        let path = folder.join(name);
        let file = File::open(&path).map_err(at(&path))?;
        Ok(Self { name, path, reader: BufReader::new(file), number: 0 })
    }

    fn next(&mut self) -> Result<Option<String>, BundleError> {
        let mut line = String::new();
        let read = self.reader.by_ref().take(LINE_MAX_BYTES).read_line(&mut line);
        if read.map_err(at(&self.path))? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.pop() != Some('\n') {
            return Err(self.fault("is too long or has no end"));
        }
        Ok(Some(line))
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, line: &str) -> Result<T, BundleError> {
        serde_json::from_str(line).map_err(|_| self.fault("is not what it must be"))
    }

    fn head(&self, proven: &ProvenEntry) -> Result<Head, BundleError> {
        Head::read(proven.entry.as_bytes()).map_err(|_| self.fault("is no entry"))
    }

    fn fault(&self, problem: &'static str) -> BundleError {
        BundleError::Line { name: self.name, line: self.number, problem }
    }
}
