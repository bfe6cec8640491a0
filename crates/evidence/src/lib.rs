//! The tamper-evident record of every attempt and every administrative act.
//!
//! **What it guarantees.** An attempt leaves two entries, `opened` and `closed`, however it ends: denied, completed, cut,
//! abandoned, or torn away by a crash (the next start then closes it as `unknown`). What cannot be recorded is refused.
//! Nothing that was signed can be changed, removed, added or moved, not even by somebody who can write the files,
//! without [`verify`] saying so and naming the entry; all it needs is the public key.
//!
//! **Against whom.** Against whoever gets at the files afterwards. Not against a gateway that is itself compromised: it
//! can leave out what it has not yet written, and it holds the key. Not against putting the whole log back to an earlier
//! signed state, unless a checkpoint was kept elsewhere. Entries of the last second are not signed yet.
//!
//! **What is never in it.** [`Record`] has no field for a secret or a token.
//!
//! On disk it is a C2SP tlog-tiles log (RFC 9162 tree, signed-note checkpoints) whose entries are OCSF events, one JSON
//! object a line. Readers of either need to know nothing about us.

mod access;
mod attempt;
mod bundle;
mod checkpoint;
mod delegation;
mod entry;
mod error;
mod event;
mod evidence;
mod excerpt;
mod files;
mod key;
mod log;
mod ocsf;
mod outcome;
mod proof;
mod record;
mod recovery;
mod replay;
mod search;
mod segments;
mod tiles;
mod trace;
mod tree;
mod verify;
mod writer;

pub use access::AccessFact;
pub use attempt::{Attempt, Gap, State};
pub use bundle::{
    BUNDLE_ATTEMPTS, BUNDLE_CHECKPOINT, BUNDLE_ENTRIES, BUNDLE_FILES_MAX, BUNDLE_GATHERED, BUNDLE_KEY,
    BUNDLE_MANIFEST, BUNDLE_SEAL, BundleError, BundleReport, Bundling, seal_bundle, verify_bundle,
};
pub use delegation::{ChainLink, DelegationFact};
pub use entry::{Entry, Opened};
pub use error::{EvidenceError, FileError, Place, VerifyError};
pub use evidence::{Evidence, EvidenceConfig, Mode};
pub use excerpt::{Excerpt, Excerpted, Fit, Selection};
pub use key::{LogKey, PublicKey};
pub use outcome::{Cancelled, Decision, Outcome};
pub use proof::ProvenEntry;
pub use record::{ARGUMENTS_MAX_BYTES, Durations, LIST_MAX, Record, RecordKind, TEXT_MAX_BYTES, target};
pub use search::{Filter, get, newest, search};
pub use trace::{
    TRACE_ACTS_MAX, TRACE_ATTEMPTS_MAX, Trace, TraceAct, TraceBounds, TraceNode, TraceOf, TraceRecord,
    TraceStep, trace, trace_in,
};
pub use verify::{VerifyReport, verify};
