use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher as _,
    mem,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest::{Context, SHA256};
use vestibule_model::Thumbprint;

use super::{ProofError, nonce::Epoch};

/// How much is remembered for each nonce, so twice as much in total.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Proofs of all keys together.
    pub(super) proofs: usize,
    /// Proofs of one key.
    pub(super) of_a_key: usize,
}

/// When both generations are full, the proofs take about 70 MB, and the counts as much again if every proof is by another
/// key.
pub(super) const PROOFS_MAX: usize = 1_000_000;

/// More than 800 in each second of an epoch. A key that is revoked, or whose holder is hostile, still makes good proofs:
/// without a share of its own, a single one could use up the memory for everybody.
pub(super) const PROOFS_OF_A_KEY_MAX: usize = 50_000;

/// A proof to be used up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used<'a> {
    /// Whose it is.
    pub(super) signer: &'a Thumbprint,
    pub(super) jti: &'a str,
    /// That of its nonce.
    pub(super) epoch: Epoch,
}

/// What one proof is remembered by.
///
/// By the key too: a `jti` is its signer's to choose, and nobody must be able to use up another's. 128 bits of a hash are
/// enough: to collide with a proof of somebody else's key, a second preimage has to be found within two minutes.
fn key(signer: &Thumbprint, jti: &str) -> u128 {
    let mut context = Context::new(&SHA256);
    context.update(signer.bytes());
    context.update(jti.as_bytes());
    let digest = context.finish();
    digest.as_ref().first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// The proofs that were used, in two generations: those with the nonce of the current epoch, and those with the one
/// before. A generation is forgotten when no nonce of it is taken any more, and not before, so there is no moment at
/// which a proof that was forgotten would still pass.
pub(super) struct Replays {
    bounds: Bounds,
    /// Secret, so that nobody can find a key that is counted with another's.
    signers: RandomState,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    epoch: Epoch,
    current: Generation,
    previous: Generation,
}

#[derive(Default)]
struct Generation {
    proofs: HashSet<u128>,
    /// How many of the proofs are by each key, by the key's hash: never more entries than proofs.
    of_keys: HashMap<u64, usize>,
}

impl Replays {
    /// Beyond these bounds, proofs are refused: to forget one is to let it pass again.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, signers: RandomState::new(), generations: Mutex::default() }
    }

    /// Remembers a proof, at the epoch `now`.
    pub(super) fn use_up(&self, used: Used<'_>, now: Epoch) -> Result<(), ProofError> {
        let (proof, signer) = (key(used.signer, used.jti), self.signers.hash_one(used.signer.bytes()));
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.advance(now);
        // `now` may have been read before another request moved the generations on.
        let generation = match generations.epoch.checked_sub(used.epoch) {
            Some(0) => &mut generations.current,
            Some(1) => &mut generations.previous,
            Some(_) | None => return Err(ProofError::NonceNeeded),
        };
        generation.insert(proof, signer, self.bounds)
    }
}

impl Generation {
    fn insert(&mut self, proof: u128, signer: u64, bounds: Bounds) -> Result<(), ProofError> {
        if self.proofs.contains(&proof) {
            return Err(ProofError::Replayed);
        }
        if self.proofs.len() >= bounds.proofs {
            return Err(ProofError::Exceeded);
        }
        let count = self.of_keys.entry(signer).or_default();
        if *count >= bounds.of_a_key {
            return Err(ProofError::Exceeded);
        }
        *count += 1;
        self.proofs.insert(proof);
        Ok(())
    }

    /// An empty one with room for as much, so that it need not grow again under the lock.
    fn next(&self) -> Self {
        Self {
            proofs: HashSet::with_capacity(self.proofs.len()),
            of_keys: HashMap::with_capacity(self.of_keys.len()),
        }
    }
}

impl Generations {
    fn advance(&mut self, now: Epoch) {
        if now <= self.epoch {
            return;
        }
        let next = self.current.next();
        let old = mem::replace(&mut self.current, next);
        self.previous = if now == self.epoch.saturating_add(1) { old } else { Generation::default() };
        self.epoch = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replays(proofs: usize, of_a_key: usize) -> Replays {
        Replays::new(Bounds { proofs, of_a_key })
    }

    /// What becomes of a proof by the key `signer` with a nonce of the epoch `epoch`.
    fn by(replays: &Replays, signer: u8, jti: &str, epoch: Epoch, now: Epoch) -> Result<(), ProofError> {
        let signer = &Thumbprint::from_bytes([signer; 32]);
        replays.use_up(Used { signer, jti, epoch }, now)
    }

    #[test]
    fn a_proof_is_good_once_in_its_own_generation_and_in_the_next() {
        let replays = replays(10, 10);
        assert_eq!(by(&replays, 1, "a", 0, 0), Ok(()));
        assert_eq!(by(&replays, 1, "a", 0, 0), Err(ProofError::Replayed));
        // The generation is that of the nonce, not that of the arrival.
        assert_eq!(by(&replays, 1, "a", 0, 1), Err(ProofError::Replayed));
        assert_eq!(by(&replays, 1, "b", 0, 1), Ok(()));
        assert_eq!(by(&replays, 1, "b", 0, 1), Err(ProofError::Replayed));
        // What another nonce is in makes another proof.
        assert_eq!(by(&replays, 1, "a", 1, 1), Ok(()));
    }

    #[test]
    fn what_is_forgotten_is_no_longer_good() {
        let replays = replays(10, 10);
        assert_eq!(by(&replays, 1, "a", 0, 0), Ok(()));
        assert_eq!(by(&replays, 1, "a", 0, 2), Err(ProofError::NonceNeeded));
        // Nor for a request that read the time before the others moved on.
        assert_eq!(by(&replays, 1, "a", 0, 0), Err(ProofError::NonceNeeded));
        assert_eq!(by(&replays, 1, "a", 0, 1), Err(ProofError::NonceNeeded));
        assert_eq!(by(&replays, 1, "c", 3, 2), Err(ProofError::NonceNeeded));
    }

    #[test]
    fn a_leap_over_several_epochs_forgets_both_generations() {
        let replays = replays(1, 1);
        assert_eq!(by(&replays, 1, "a", 0, 0), Ok(()));
        assert_eq!(by(&replays, 1, "b", 7, 7), Ok(()));
        assert_eq!(by(&replays, 1, "c", 6, 7), Ok(()));
    }

    #[test]
    fn each_generation_is_bounded_and_refuses_rather_than_forgets() {
        let replays = replays(2, 2);
        for signer in [1, 2] {
            assert_eq!(by(&replays, signer, "a", 0, 0), Ok(()));
        }
        assert_eq!(by(&replays, 3, "a", 0, 0), Err(ProofError::Exceeded));
        assert_eq!(by(&replays, 1, "a", 0, 0), Err(ProofError::Replayed));
        // The next one has room of its own, and the full one stays full.
        assert_eq!(by(&replays, 3, "a", 1, 1), Ok(()));
        assert_eq!(by(&replays, 4, "a", 0, 1), Err(ProofError::Exceeded));
    }

    #[test]
    fn a_key_that_has_used_up_its_share_leaves_room_for_the_others() {
        let replays = replays(10, 2);
        for jti in ["a", "b"] {
            assert_eq!(by(&replays, 1, jti, 0, 0), Ok(()));
        }
        for jti in ["c", "d", "e", "f", "g", "h", "i", "j", "k"] {
            assert_eq!(by(&replays, 1, jti, 0, 0), Err(ProofError::Exceeded));
        }
        // What was used stays used, and what was refused has taken nobody's room.
        assert_eq!(by(&replays, 1, "a", 0, 0), Err(ProofError::Replayed));
        for signer in [2, 3, 4, 5] {
            assert_eq!([by(&replays, signer, "a", 0, 0), by(&replays, signer, "b", 0, 0)], [Ok(()), Ok(())]);
        }
        // Its share is of a generation: the next one has another, and the old one stays used up.
        assert_eq!(by(&replays, 1, "c", 1, 1), Ok(()));
        assert_eq!(by(&replays, 1, "c", 0, 1), Err(ProofError::Exceeded));
    }

    #[test]
    fn a_refused_replay_takes_nothing_of_the_share() {
        let replays = replays(10, 2);
        assert_eq!(by(&replays, 1, "a", 0, 0), Ok(()));
        for _ in 0..5 {
            assert_eq!(by(&replays, 1, "a", 0, 0), Err(ProofError::Replayed));
        }
        assert_eq!(by(&replays, 1, "b", 0, 0), Ok(()));
    }

    #[test]
    fn the_same_jti_of_another_key_is_another_proof() {
        let (a, b) = (Thumbprint::from_bytes([1; 32]), Thumbprint::from_bytes([2; 32]));
        assert_ne!(key(&a, "x"), key(&b, "x"));
        assert_ne!(key(&a, "x"), key(&a, "y"));
        assert_eq!(key(&a, "x"), key(&a, "x"));
    }
}
