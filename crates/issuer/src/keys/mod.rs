//! The keys that sign our tokens.

mod held;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_inbound::VerificationKeys;
use vestibule_model::{Clock, Timestamp};
use vestibule_store::{
    By, Change, Expect, Kind, Op, Put, Record, Store, StoreError, Subscriber,
    vault::{Vault, VaultError},
};

use held::{Held, Pair, StoredKey};

/// Beyond the life of the last token that an old key has signed, it verifies this much longer: clocks differ.
const OVERLAP_MARGIN: Duration = Duration::from_secs(60);

/// There is never a reason for more at once; a store that has more is not ours.
const KEYS_MAX: u32 = 100;

/// Why the signing keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The store failed, or another gateway rotated at the same moment.
    #[error("the signing keys cannot be read or written")]
    Store(#[from] StoreError),
    /// A stored key does not open.
    #[error(transparent)]
    Sealed(#[from] VaultError),
    /// What is stored is no ES256 key, or the cryptographic library refuses it.
    #[error("a signing key is not usable")]
    Unusable,
    /// No key has been loaded or made.
    #[error("there is no signing key")]
    Absent,
}

/// The ES256 keys that sign our tokens: the newest one signs, older ones verify what they have signed until that has
/// expired. They live in the store, so that every gateway signs and verifies with the same ones.
///
/// The private keys lie there sealed: who reads the store and not the vault's key cannot mint tokens.
pub struct Keys {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    overlap: Duration,
    held: Mutex<BTreeMap<String, Held>>,
    signing: ArcSwapOption<Pair>,
    verification: Arc<ArcSwap<VerificationKeys>>,
}

impl Keys {
    /// Loads the keys, and makes one if there is none that may sign. `token_ttl` is the longest life of a token. Keys of the
    /// time before they were sealed are sealed here, all at once, and leave nothing behind in the files of the store.
    ///
    /// # Errors
    /// [`KeysError`], when they cannot be read, used or written.
    pub async fn open(
        store: Arc<dyn Store>,
        vault: Arc<Vault>,
        clock: Arc<dyn Clock>,
        token_ttl: Duration,
    ) -> Result<Arc<Self>, KeysError> {
        let keys = Arc::new(Self {
            store,
            vault,
            clock,
            overlap: token_ttl + OVERLAP_MARGIN,
            held: Mutex::default(),
            signing: ArcSwapOption::empty(),
            verification: Arc::default(),
        });
        keys.seal().await?;
        for record in keys.store.scan(Kind::SigningKey, By::All, None, KEYS_MAX).await? {
            keys.hold(&record)?;
        }
        if keys.signing.load().is_none() {
            keys.rotate().await?;
        }
        Ok(keys)
    }

    /// All or none: where one is sealed, a key that is not was put there by somebody else, and is refused when it is read.
    async fn seal(&self) -> Result<(), KeysError> {
        let records = self.store.scan(Kind::SigningKey, By::All, None, KEYS_MAX).await?;
        let keys = records.iter().map(|record| Some((record, StoredKey::unsealed(record)?)));
        let mut ops = Vec::new();
        for (record, key) in keys.collect::<Option<Vec<_>>>().unwrap_or_default() {
            let put = self.sealed(&record.key, &key)?.expect(Expect::Version(record.version));
            ops.push(Op::Put(Put { expires_at: record.expires_at, ..put }));
        }
        let has_sealed = !ops.is_empty();
        self.store.commit(ops).await?;
        // At every start: the last one may have been killed between the two.
        let scrubbed = self.store.scrub().await;
        if has_sealed {
            return Ok(scrubbed?);
        }
        if let Err(error) = scrubbed {
            tracing::warn!(%error, "what was deleted may still be in the files of the store");
        }
        Ok(())
    }

    /// Makes a new key, which signs at once. The ones before it verify until every token that they have signed has
    /// expired, and a minute more; then they are gone.
    ///
    /// A gateway beside this one learns of the new key from the change log: until then, for a moment, it refuses the
    /// tokens that the new key signs.
    ///
    /// # Errors
    /// [`KeysError`]; the old key then goes on signing.
    pub async fn rotate(&self) -> Result<(), KeysError> {
        let now = self.clock.now();
        let fresh = StoredKey::generate(now)?;
        let kid = fresh.open()?.kid;
        let mut ops = vec![Op::Put(self.sealed(&kid, &fresh)?.expect(Expect::Absent))];
        let mut touched = vec![kid];
        let retire_at = now.plus(self.overlap);
        for old in self.active() {
            let Some(record) = self.store.get(Kind::SigningKey, &old).await? else { continue };
            let put = self.sealed(&old, &StoredKey::unseal(&self.vault, &record)?)?;
            ops.push(Op::Put(put.expect(Expect::Version(record.version)).expires_at(retire_at)));
            touched.push(old);
        }
        self.store.commit(ops).await?;
        for kid in touched {
            if let Some(record) = self.store.get(Kind::SigningKey, &kid).await? {
                self.hold(&record)?;
            }
        }
        Ok(())
    }

    /// Drops the keys whose overlap is over at `now`. To be called now and then.
    pub fn retire(&self, now: Timestamp) {
        let mut held = self.held();
        held.retain(|_, key| key.retire_at.is_none_or(|at| at > now));
        self.publish(&held);
    }

    /// What verifies our tokens, always up to date.
    #[must_use]
    pub fn verification(&self) -> Arc<ArcSwap<VerificationKeys>> {
        Arc::clone(&self.verification)
    }

    /// The public keys, as a JWK set (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": self.held().values().map(|key| key.pair.jwk.clone()).collect::<Vec<_>>()})
    }

    /// The `kid`s: the one that signs, and those that still verify.
    #[must_use]
    pub fn status(&self) -> KeysStatus {
        let signing = self.signing.load().as_ref().map(|pair| pair.kid.clone());
        let held = self.held();
        let retiring = held.iter().filter_map(|(kid, key)| Some((kid.clone(), key.retire_at?)));
        KeysStatus { signing, retiring: retiring.collect() }
    }

    /// A token of that type with these claims.
    pub(crate) fn sign(&self, typ: &str, claims: &Value) -> Result<String, KeysError> {
        let pair = self.signing.load_full().ok_or(KeysError::Absent)?;
        let header = json!({"typ": typ, "alg": "ES256", "kid": pair.kid});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&header), part(claims));
        let algorithm = jsonwebtoken::Algorithm::ES256;
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &pair.private, algorithm)
            .map_err(|_| KeysError::Unusable)?;
        Ok(format!("{input}.{signature}"))
    }

    fn sealed(&self, kid: &str, key: &StoredKey) -> Result<Put, KeysError> {
        Ok(Put::sealed(Kind::SigningKey, kid, &self.vault, &key.plain()?))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self) -> Vec<String> {
        let held = self.held();
        held.iter().filter(|(_, key)| key.retire_at.is_none()).map(|(kid, _)| kid.clone()).collect()
    }

    fn hold(&self, record: &Record) -> Result<(), KeysError> {
        let mut held = self.held();
        let known = held.get(&record.key);
        if known.is_none_or(|known| known.version < record.version) {
            let key = self.read(record, known)?;
            held.insert(record.key.clone(), key);
            self.publish(&held);
        }
        Ok(())
    }

    /// The key of a record. One that is known keeps its `Arc`, so that what it has verified stays remembered.
    fn read(&self, record: &Record, known: Option<&Held>) -> Result<Held, KeysError> {
        let stored = StoredKey::unseal(&self.vault, record)?;
        let pair = match known {
            Some(known) => Arc::clone(&known.pair),
            None => Arc::new(stored.open()?),
        };
        if pair.kid != record.key {
            return Err(KeysError::Unusable);
        }
        let (version, created_at, retire_at) = (record.version, stored.created_at, record.expires_at);
        Ok(Held { version, created_at, retire_at, pair })
    }

    /// INVARIANT: called with the lock on `held`, so that no older state is published over a newer one.
    fn publish(&self, held: &BTreeMap<String, Held>) {
        let public = |(kid, key): (&String, &Held)| (kid.clone(), Arc::clone(&key.pair.public));
        self.verification.store(Arc::new(VerificationKeys::new(held.iter().map(public).collect())));
        let active = held.values().filter(|key| key.retire_at.is_none());
        let newest = active.max_by_key(|key| (key.created_at, key.pair.kid.clone()));
        self.signing.store(newest.map(|key| Arc::clone(&key.pair)));
    }
}

/// Which keys are in use, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeysStatus {
    /// The `kid` of the key that signs.
    pub signing: Option<String>,
    /// The `kid`s of the keys that only verify, and until when.
    pub retiring: BTreeMap<String, Timestamp>,
}

impl Subscriber for Keys {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::SigningKey]
    }

    fn reset(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let mut held = self.held();
        let mut fresh = BTreeMap::new();
        for record in &records {
            let known = held.get(&record.key);
            let key = self.read(record, known).map_err(|error| unreadable(&record.key, error))?;
            fresh.insert(record.key.clone(), key);
        }
        *held = fresh;
        self.publish(&held);
        Ok(())
    }

    fn apply(&self, change: &Change) -> Result<(), StoreError> {
        match &change.record {
            Some(record) => self.hold(record).map_err(|error| unreadable(&record.key, error)),
            None => {
                let mut held = self.held();
                held.remove(&change.key);
                self.publish(&held);
                Ok(())
            }
        }
    }
}

fn unreadable(kid: &str, error: KeysError) -> StoreError {
    match error {
        KeysError::Store(error) => error,
        KeysError::Sealed(_) | KeysError::Unusable | KeysError::Absent => {
            StoreError::Unreadable { kind: Kind::SigningKey, key: kid.to_owned(), source: Box::new(error) }
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("status", &self.status()).finish_non_exhaustive()
    }
}
