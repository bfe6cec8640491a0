//! A log in a folder of its own, with a clock that stands still.

use std::{fs, path::Path, sync::Arc};

use tempfile::TempDir;
use vestibule_evidence::{
    Evidence, EvidenceConfig, EvidenceError, LogKey, Mode, PublicKey, Record, RecordKind, VerifyError,
    VerifyReport,
};
use vestibule_model::{AttemptId, Clock, FixedClock, SeededEntropy, Timestamp, TraceId};

pub(crate) const ORIGIN: &str = "gateway.example/1";
pub(crate) const START: i64 = 1_760_000_000_000;

pub(crate) struct Rig {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) entropy: Arc<SeededEntropy>,
    pub(crate) config: EvidenceConfig,
}

impl Rig {
    pub(crate) fn new(mode: Mode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = EvidenceConfig {
            folder: folder.path().to_owned(),
            origin: ORIGIN.to_owned(),
            mode,
            segment_max_bytes: 64 * 1024,
            queue_max: 10_000,
        };
        let clock = Arc::new(FixedClock::at(Timestamp::from_millis(START)));
        Self { folder, clock, entropy: Arc::new(SeededEntropy::new(1)), config }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn open(&self) -> Evidence {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Evidence, EvidenceError> {
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        Evidence::open(self.config.clone(), key(), clock, entropy)
    }

    pub(crate) fn record(&self) -> Record {
        let now = self.clock.now();
        let id = AttemptId::new(now, &*self.entropy);
        Record::new(RecordKind::Call, id, now, TraceId::of(id))
    }

    pub(crate) fn verify(&self) -> Result<VerifyReport, VerifyError> {
        vestibule_evidence::verify(self.path(), &public())
    }

    /// The folder as a crash would leave it now, with everything else as it is here.
    pub(crate) fn killed(&self) -> Self {
        let killed = Self::new(self.config.mode);
        // What is signed first, as the segments only grow.
        for name in ["checkpoint", "checkpoints", "log.vkey"] {
            fs::copy(self.path().join(name), killed.path().join(name)).unwrap();
        }
        for name in ["tile", "segments"] {
            copy(&self.path().join(name), &killed.path().join(name));
        }
        Self { clock: self.clock.clone(), entropy: self.entropy.clone(), ..killed }
    }

    /// All segments, as text.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut text = String::new();
        for number in 1.. {
            match fs::read_to_string(self.path().join(format!("segments/{number:08}.jsonl"))) {
                Ok(segment) => text.push_str(&segment),
                Err(_) => break,
            }
        }
        text.lines().map(str::to_owned).collect()
    }

    /// The kinds of the entries, in order.
    pub(crate) fn kinds(&self) -> Vec<String> {
        self.lines().iter().map(|line| own(line)["entry"].as_str().unwrap().to_owned()).collect()
    }
}

/// What stands under `unmapped.vestibule` in a line.
pub(crate) fn own(line: &str) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["unmapped"]["vestibule"].take()
}

pub(crate) fn key() -> LogKey {
    LogKey::from_seed(&[7; 32])
}

pub(crate) fn public() -> PublicKey {
    key().public(ORIGIN).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
