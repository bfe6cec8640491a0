use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{KeyRing, VaultError};

/// Largest key file, in bytes: 16 keys and their line ends are 720.
const FILE_MAX_BYTES: u64 = 4096;

/// A file with the keys of a vault, one a line in base64, which only its owner may read.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is, in words.
    #[must_use]
    pub fn place(&self) -> String {
        format!("the key file `{}`", self.path.display())
    }

    /// Its keys, or nothing when it is not there.
    ///
    /// # Errors
    /// When it cannot be read, when others than its owner may read it, or when it holds no keys.
    pub fn read(&self) -> Result<Option<KeyRing>, VaultError> {
        let failed = |source| self.failed("read", source);
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let rule = |rule| VaultError::Keys { place: self.place(), rule };
        // Of the file that was opened, not of whatever bears the name meanwhile.
        if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
            return Err(rule(
                "can be read by others than its owner: `chmod 600` it, and rotate the key if somebody may have read it",
            ));
        }
        let mut text = Zeroizing::new(String::with_capacity(FILE_MAX_BYTES as usize + 1));
        file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_MAX_BYTES {
            return Err(rule("is larger than 4096 bytes, and so no key file"));
        }
        KeyRing::parse(&text, &self.place()).map(Some)
    }

    /// Makes it with these keys, 0600, unless it is there: then it stays as it is. Whole and durable, or not there.
    pub(super) fn create(&self, ring: &KeyRing) -> Result<(), VaultError> {
        let write = || {
            let fresh = self.write_beside(ring)?;
            // A link never replaces what bears the name, a rename would.
            let linked = match fs::hard_link(&fresh, &self.path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
            fs::remove_file(&fresh)?;
            linked?;
            sync_folder(&self.path)
        };
        write().map_err(|source| self.failed("made", source))
    }

    /// Puts these keys into its place. Durable when it returns; a crash leaves the old keys or the new.
    pub(super) fn replace(&self, ring: &KeyRing) -> Result<(), VaultError> {
        let write = || {
            fs::rename(self.write_beside(ring)?, &self.path)?;
            sync_folder(&self.path)
        };
        write().map_err(|source| self.failed("written", source))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn write_beside(&self, ring: &KeyRing) -> io::Result<PathBuf> {
        let fresh = self.path.with_added_extension("new");
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {} // what a crash has left
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(ring.text().as_bytes())?;
        file.sync_all()?;
        Ok(fresh)
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> VaultError {
        VaultError::KeyFile { path: self.path.clone(), doing, source }
    }
}

/// Makes the names in a file's folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_its_owners_only_made_once_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("vault.key"));
        assert!(file.read().unwrap().is_none());
        let (one, two) = (KeyRing::fresh().unwrap(), KeyRing::fresh().unwrap());
        file.create(&one).unwrap();
        file.create(&two).unwrap();
        assert_eq!(file.read().unwrap().unwrap().ids(), one.ids(), "the second one found it there");
        // A rotation that was killed while it wrote.
        fs::write(folder.path().join("vault.key.new"), "half a k").unwrap();
        file.replace(&one.with_fresh().unwrap()).unwrap();
        assert_eq!(file.read().unwrap().unwrap().ids()[1..], one.ids());
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["vault.key"], "no copy of a key is left beside it");
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn one_that_others_may_read_is_refused_and_says_how_to_mend_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("vault.key"));
        file.create(&KeyRing::fresh().unwrap()).unwrap();
        for mode in [0o640, 0o604, 0o622] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = file.read().unwrap_err().to_string();
            assert!(error.contains("vault.key") && error.contains("chmod 600"), "{mode:o}: {error}");
        }
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o400)).unwrap();
        assert!(file.read().unwrap().is_some());
    }
}
