//! The hash tiles on disk: derived from the entries, so they are not synced, and recovery writes what a power failure
//! took. They serve readers of tlog-tiles, and they tell which entry was changed.

use std::path::Path;

use crate::{
    error::{FileError, at},
    files,
    tree::{HashTile, TILE_WIDTH, tile_path},
};

/// Writes a tile and removes the partial ones that it replaces.
pub(crate) fn store(folder: &Path, tile: &HashTile) -> Result<(), FileError> {
    let path = folder.join(tile.path());
    let partial = folder.join(format!("{}.p", tile.full_path()));
    let write = || {
        if let Some(parent) = path.parent() {
            files::create_folder(parent)?;
        }
        files::put(&path, &tile.hashes)?;
        if tile.is_full() {
            return files::if_found(std::fs::remove_dir_all(&partial)).map(|_| ());
        }
        for other in std::fs::read_dir(&partial)? {
            let other = other?.path();
            if other != path {
                std::fs::remove_file(other)?;
            }
        }
        Ok(())
    };
    write().map_err(at(&path))
}

/// What is on disk in the place of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Same,
    /// Nothing, or a file that is shorter, as a power failure leaves it: no sign of a change.
    Nothing,
    Other,
}

/// Compares a tile with the one on disk.
pub(crate) fn compare(folder: &Path, tile: &HashTile) -> Result<Found, FileError> {
    Ok(match read(folder, &tile.path())? {
        Some(stored) if stored == tile.hashes => Found::Same,
        Some(stored) if stored.len() >= tile.hashes.len() => Found::Other,
        Some(_) | None => Found::Nothing,
    })
}

/// The hashes of entries `number * 256` and on, as many as are on disk.
pub(crate) fn leaves(folder: &Path, number: u64) -> Result<Vec<u8>, FileError> {
    let full = u32::try_from(TILE_WIDTH).unwrap_or(u32::MAX);
    for width in (1..=full).rev() {
        if let Some(hashes) = read(folder, &tile_path(0, number, width))? {
            return Ok(hashes);
        }
    }
    Ok(Vec::new())
}

/// What is on disk under the path of a tile.
pub(crate) fn read(folder: &Path, path: &str) -> Result<Option<Vec<u8>>, FileError> {
    let path = folder.join(path);
    files::if_found(std::fs::read(&path)).map_err(at(&path))
}
