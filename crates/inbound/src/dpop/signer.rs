use std::sync::Arc;

use quick_cache::sync::Cache;
use vestibule_model::Digest;

use super::{ALGORITHMS, Flaw, PROOF_TYPE, ProofError};
use crate::jws::{Algorithm, Key, Parts, Profile};

const PROFILE: Profile = Profile { types: &[PROOF_TYPE], is_type_optional: false, algorithms: ALGORITHMS };

/// How many headers are remembered; one takes about half a kilobyte, two with the longest of RSA keys.
const REMEMBERED_MAX: usize = 4096;

/// What the header of a proof says: the key, and how it signs.
pub(super) struct Signer {
    pub(super) key: Key,
    pub(super) algorithm: Algorithm,
}

/// Reads the headers of proofs. An agent sends the same header with each of its proofs, byte for byte, so what was read
/// from it is remembered by its SHA-256. It is only a memory: nothing in it is trusted more than a header that is new.
pub(super) struct Signers(Cache<Digest, Arc<Signer>>);

impl Default for Signers {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_MAX))
    }
}

/// What was found for the header of one proof.
pub(super) struct Found {
    pub(super) signer: Arc<Signer>,
    header: Digest,
    is_new: bool,
}

impl Signers {
    pub(super) fn of(&self, parts: &Parts<'_>) -> Result<Found, ProofError> {
        let header = Digest::of(parts.header.as_bytes());
        Ok(match self.0.get(&header) {
            Some(signer) => Found { signer, header, is_new: false },
            None => Found { signer: Arc::new(read(parts)?), header, is_new: true },
        })
    }

    /// Only after its signature was verified: it must cost an attacker that much to drive out somebody's key.
    pub(super) fn remember(&self, found: &Found) {
        if found.is_new {
            self.0.insert(found.header, Arc::clone(&found.signer));
        }
    }
}

fn read(parts: &Parts<'_>) -> Result<Signer, ProofError> {
    // RFC 9449 §4.3 (4): `typ` is `dpop+jwt`; (5): `alg` is an asymmetric algorithm, not `none`, and on the list.
    let (header, algorithm) = parts.header(&PROFILE)?;
    // (7): "The jwk JOSE Header Parameter does not contain a private key."
    let key = Key::from_json(header.get("jwk").ok_or(Flaw::NoKey)?).map_err(Flaw::Key)?;
    Ok(Signer { key, algorithm })
}
