use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use vestibule_model::{Clock, Entropy, Monotonic};

/// How long a nonce is handed out. It is taken as long again: a proof is good for two minutes at most.
const NONCE_EPOCH: Duration = Duration::from_secs(60);

/// The epoch in eight bytes, and its MAC.
const NONCE_BYTES: usize = 8 + 32;

/// In base64url without padding.
const NONCE_CHARS: usize = 54;

/// Which of its epochs the process is in, from 0 on. By the clock that never goes back: an epoch that is over stays over,
/// whatever happens to the time of day.
pub(super) type Epoch = u64;

/// Nonces that nobody has to remember (RFC 9449 §8): the epoch, and a MAC over it by a key that this process made and
/// never tells. So nobody can make a proof now that will be good tomorrow, or at another process.
pub(super) struct Nonces {
    clock: Arc<dyn Clock>,
    start: Monotonic,
    key: hmac::Key,
}

impl Nonces {
    pub(super) fn new(clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Self {
        let mut secret = [0u8; 32];
        entropy.fill(&mut secret);
        let start = clock.monotonic();
        Self { clock, start, key: hmac::Key::new(hmac::HMAC_SHA256, &secret) }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.clock.monotonic().since(self.start).as_secs() / NONCE_EPOCH.as_secs()
    }

    pub(super) fn current(&self) -> String {
        let epoch = self.epoch().to_be_bytes();
        let mut bytes = [0u8; NONCE_BYTES];
        let mac = hmac::sign(&self.key, &epoch);
        for (slot, byte) in bytes.iter_mut().zip(epoch.iter().chain(mac.as_ref())) {
            *slot = *byte;
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The epoch of a nonce of this process, if that is the current one or the one before.
    pub(super) fn epoch_of(&self, nonce: &str) -> Option<Epoch> {
        if nonce.len() != NONCE_CHARS {
            return None;
        }
        let mut bytes = [0u8; NONCE_BYTES];
        URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes).ok()?;
        let (epoch, mac) = bytes.split_first_chunk::<8>()?;
        hmac::verify(&self.key, epoch, mac).ok()?;
        let epoch = Epoch::from_be_bytes(*epoch);
        (self.epoch().checked_sub(epoch)? <= 1).then_some(epoch)
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").finish_non_exhaustive()
    }
}
