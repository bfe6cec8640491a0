//! The policies in their folder: loaded, watched by content, and kept at the last good state. What is running and what
//! lies in the files are told apart everywhere.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use vestibule_model::{Digest, Timestamp};
use vestibule_policy::{Lock, Options, PolicyFile, PolicySet, Problem};

use crate::apps::Apps;

/// Largest policy file, in bytes.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// What is running, what lies in the folder, and why they differ if they do.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyStatus {
    /// The digest of the set that decides; none while nothing has ever loaded, and everything is refused.
    pub running: Option<String>,
    /// When it was loaded.
    pub loaded_at: Option<Timestamp>,
    /// Why the files in the folder are not running; empty when they are.
    pub problems: Vec<Problem>,
    /// What is suspicious in the running set.
    pub warnings: Vec<Problem>,
}

/// Keeps the lock's policies in step with the folder and the catalog.
#[derive(Debug)]
pub(crate) struct Policies {
    folder: PathBuf,
    options: Options,
    /// Digest of the files and the catalog that were last tried. Held while they are: see [`Policies::refresh`].
    tried: Mutex<Option<Digest>>,
    status: Mutex<PolicyStatus>,
}

impl Policies {
    pub(crate) fn new(folder: PathBuf, timezone: &str) -> Self {
        let status =
            PolicyStatus { running: None, loaded_at: None, problems: Vec::new(), warnings: Vec::new() };
        let options = Options { timezone: timezone.to_owned() };
        Self { folder, options, tried: Mutex::default(), status: Mutex::new(status) }
    }

    pub(crate) fn status(&self) -> PolicyStatus {
        held(&self.status).clone()
    }

    /// Loads the folder if its content or the catalog has changed. A set that does not load leaves the last good one
    /// deciding.
    ///
    /// One at a time, from reading to replacing: else a slow load of older files could replace the newer ones, and who
    /// waits for a change would return while somebody else is still loading it.
    pub(crate) fn refresh(&self, lock: &Lock, apps: &Apps, now: Timestamp) {
        let mut tried = held(&self.tried);
        let files = match read_folder(&self.folder) {
            Ok(files) => files,
            Err(problem) => {
                *tried = None;
                return self.keep(vec![problem]);
            }
        };
        let fingerprint = fingerprint(&files, apps);
        if tried.replace(fingerprint) == Some(fingerprint) {
            return;
        }
        match PolicySet::load(&files, &apps.catalog(), &self.options) {
            Ok(set) => {
                let status = PolicyStatus {
                    running: Some(set.digest().to_owned()),
                    loaded_at: Some(now),
                    problems: Vec::new(),
                    warnings: set.warnings().to_vec(),
                };
                tracing::info!(digest = set.digest(), files = files.len(), "policies loaded");
                lock.replace_policies(set);
                *held(&self.status) = status;
            }
            Err(problems) => self.keep(problems),
        }
    }

    fn keep(&self, problems: Vec<Problem>) {
        for problem in &problems {
            tracing::error!(%problem, "policies not loaded, the last good set stays");
        }
        held(&self.status).problems = problems;
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of everything that a policy set is loaded from. Operations are read before they are digested, so a change between the
/// two is seen the next time.
fn fingerprint(files: &[PolicyFile], apps: &Apps) -> Digest {
    let mut text = String::new();
    for file in files {
        text.push_str(&format!("{}\0{}\0{}\0", file.name, file.text.len(), file.text));
    }
    for app in apps.iter() {
        let operations = app.operations().map(|operations| operations.digest());
        text.push_str(&format!("{}\0{operations:?}\0", app.id()));
    }
    Digest::of(text.as_bytes())
}

/// The `*.cedar` files of a folder, in order of their names. A folder that is missing is an empty set, which refuses
/// everything.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<PolicyFile>, Problem> {
    let fault = |path: &Path, error: std::io::Error| Problem::error(&path.display().to_string(), error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(folder, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| fault(folder, error))?.path();
        let Some(name) =
            path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".cedar"))
        else {
            continue;
        };
        let size = std::fs::metadata(&path).map_err(|error| fault(&path, error))?.len();
        if size > FILE_MAX_BYTES {
            return Err(Problem::error(name, format!("is {size} bytes, at most {FILE_MAX_BYTES} are read")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| fault(&path, error))?;
        files.push(PolicyFile { name: name.to_owned(), text });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}
