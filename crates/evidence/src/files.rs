//! The few things that the log does with files. Everything is readable by the owner only: arguments may stand in it.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Makes a folder and those above it, 0700.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates a file, 0600. Refuses one that exists.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file for appending, creating it when it is not there, 0600.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Puts `bytes` into the place of `path`, so that a reader sees the old or the new, never a part. After a power failure
/// the file may be empty: for what can be computed again.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_beside(path, bytes)?;
    std::fs::rename(beside(path), path)
}

/// Like [`put`], and durable when it returns: a power failure leaves the old or the new.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_beside(path, bytes)?.sync_all()?;
    std::fs::rename(beside(path), path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside(path))?;
    file.write_all(bytes)?;
    Ok(file)
}

/// `NotFound` is an answer, not an error.
pub(crate) fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
