use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest::{Context, SHA256};
use vestibule_model::Thumbprint;

use super::{ProofError, nonce::Epoch};

/// How many proofs are remembered for each nonce, so twice as many in total: about 70 MB when both are full.
pub(super) const PROOFS_MAX: usize = 1_000_000;

/// What one proof is remembered by.
///
/// By the key too: a `jti` is its signer's to choose, and nobody must be able to use up another's. 128 bits of a hash are
/// enough: to collide with a proof of somebody else's key, a second preimage has to be found within two minutes.
pub(super) fn key(signer: &Thumbprint, jti: &str) -> u128 {
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
    max: usize,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    epoch: Epoch,
    current: HashSet<u128>,
    previous: HashSet<u128>,
}

impl Replays {
    /// At most `max` proofs in each generation. Beyond, they are refused: to forget one is to let it pass again.
    pub(super) fn new(max: usize) -> Self {
        Self { max, generations: Mutex::default() }
    }

    /// Remembers a proof with a nonce of the epoch `nonce`, at the epoch `now`.
    pub(super) fn use_up(&self, proof: u128, nonce: Epoch, now: Epoch) -> Result<(), ProofError> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.advance(now);
        // `now` may have been read before another request moved the generations on.
        let generation = match generations.epoch.checked_sub(nonce) {
            Some(0) => &mut generations.current,
            Some(1) => &mut generations.previous,
            Some(_) | None => return Err(ProofError::NonceNeeded),
        };
        if generation.contains(&proof) {
            return Err(ProofError::Replayed);
        }
        if generation.len() >= self.max {
            return Err(ProofError::Exceeded);
        }
        generation.insert(proof);
        Ok(())
    }
}

impl Generations {
    fn advance(&mut self, now: Epoch) {
        if now <= self.epoch {
            return;
        }
        // Room for as many as last time, so that it need not grow again under the lock.
        let next = HashSet::with_capacity(self.current.len());
        let old = mem::replace(&mut self.current, next);
        self.previous = if now == self.epoch.saturating_add(1) { old } else { HashSet::new() };
        self.epoch = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_good_once_in_its_own_generation_and_in_the_next() {
        let replays = Replays::new(10);
        assert_eq!(replays.use_up(1, 0, 0), Ok(()));
        assert_eq!(replays.use_up(1, 0, 0), Err(ProofError::Replayed));
        // The generation is that of the nonce, not that of the arrival.
        assert_eq!(replays.use_up(1, 0, 1), Err(ProofError::Replayed));
        assert_eq!(replays.use_up(2, 0, 1), Ok(()));
        assert_eq!(replays.use_up(2, 0, 1), Err(ProofError::Replayed));
        // What another nonce is in makes another proof.
        assert_eq!(replays.use_up(1, 1, 1), Ok(()));
    }

    #[test]
    fn what_is_forgotten_is_no_longer_good() {
        let replays = Replays::new(10);
        assert_eq!(replays.use_up(1, 0, 0), Ok(()));
        assert_eq!(replays.use_up(1, 0, 2), Err(ProofError::NonceNeeded));
        // Nor for a request that read the time before the others moved on.
        assert_eq!(replays.use_up(1, 0, 0), Err(ProofError::NonceNeeded));
        assert_eq!(replays.use_up(1, 0, 1), Err(ProofError::NonceNeeded));
        assert_eq!(replays.use_up(3, 3, 2), Err(ProofError::NonceNeeded));
    }

    #[test]
    fn a_leap_over_several_epochs_forgets_both_generations() {
        let replays = Replays::new(1);
        assert_eq!(replays.use_up(1, 0, 0), Ok(()));
        assert_eq!(replays.use_up(2, 7, 7), Ok(()));
        assert_eq!(replays.use_up(3, 6, 7), Ok(()));
    }

    #[test]
    fn each_generation_is_bounded_and_refuses_rather_than_forgets() {
        let replays = Replays::new(2);
        for proof in [1, 2] {
            assert_eq!(replays.use_up(proof, 0, 0), Ok(()));
        }
        assert_eq!(replays.use_up(3, 0, 0), Err(ProofError::Exceeded));
        assert_eq!(replays.use_up(1, 0, 0), Err(ProofError::Replayed));
        // The next one has room of its own, and the full one stays full.
        assert_eq!(replays.use_up(3, 1, 1), Ok(()));
        assert_eq!(replays.use_up(4, 0, 1), Err(ProofError::Exceeded));
    }

    #[test]
    fn the_same_jti_of_another_key_is_another_proof() {
        let (a, b) = (Thumbprint::from_bytes([1; 32]), Thumbprint::from_bytes([2; 32]));
        assert_ne!(key(&a, "x"), key(&b, "x"));
        assert_ne!(key(&a, "x"), key(&a, "y"));
        assert_eq!(key(&a, "x"), key(&a, "x"));
    }
}
