//! The segment files: `segments/NNNNNNNN.jsonl`, numbered from 1 without a hole, one entry a line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{Place, VerifyError, error::at};

/// The longest line that is an entry. A bounded record stays far below.
const LINE_MAX_BYTES: u64 = 1024 * 1024;

pub(crate) fn folder(folder: &Path) -> PathBuf {
    folder.join("segments")
}

pub(crate) fn path(folder: &Path, number: u64) -> PathBuf {
    self::folder(folder).join(format!("{number:08}.jsonl"))
}

/// Where the entries end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// The last segment; 0 when there is none.
    pub(crate) segment: u64,
    /// Its bytes that are whole entries.
    pub(crate) whole_bytes: u64,
    /// What follows them.
    pub(crate) torn_bytes: u64,
}

/// What a walk does after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Next,
    /// The line is no entry: it and all that follows is what an interrupted write left.
    Torn,
    /// Nothing more is wanted.
    Done,
}

/// What is done with each line.
pub(crate) type Each<'a> = dyn FnMut(Place, &[u8]) -> Result<Step, VerifyError> + 'a;

/// Hands out every line, without its line break, in order.
///
/// Only the last segment can be torn: a segment is complete before the next one is begun.
pub(crate) fn walk(folder: &Path, each: &mut Each<'_>) -> Result<End, VerifyError> {
    let last = count(folder)?;
    let mut end = End { segment: last, whole_bytes: 0, torn_bytes: 0 };
    let mut place = Place { segment: 0, line: 0, index: 0 };
    let mut line = Vec::new();
    for segment in 1..=last {
        let path = path(folder, segment);
        let file = File::open(&path).map_err(at(&path))?;
        let mut reader = BufReader::with_capacity(256 * 1024, file);
        (place.segment, place.line) = (segment, 0);
        end.whole_bytes = 0;
        loop {
            place.line += 1;
            line.clear();
            let read = reader.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line);
            if read.map_err(at(&path))? == 0 {
                break;
            }
            let step = match line.split_last() {
                Some((b'\n', entry)) => each(place, entry)?,
                Some(_) | None => Step::Torn,
            };
            match step {
                Step::Next => {}
                Step::Done => return Ok(end),
                Step::Torn if segment != last => return Err(VerifyError::Malformed { place }),
                Step::Torn => {
                    let bytes = reader.get_ref().metadata().map_err(at(&path))?.len();
                    end.torn_bytes = bytes.saturating_sub(end.whole_bytes);
                    return Ok(end);
                }
            }
            end.whole_bytes += u64::try_from(line.len()).unwrap_or(0);
            place.index += 1;
        }
    }
    Ok(end)
}

/// How many segments there are.
fn count(folder: &Path) -> Result<u64, VerifyError> {
    let path = self::folder(folder);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(at(&path))? {
        names.push(entry.map_err(at(&path))?.file_name());
    }
    let count = u64::try_from(names.len()).unwrap_or(0);
    match (1..=count).find(|number| !names.contains(&format!("{number:08}.jsonl").into())) {
        Some(number) => Err(VerifyError::SegmentMissing { number }),
        None => Ok(count),
    }
}
