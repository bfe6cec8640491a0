use std::{fmt, sync::Arc};

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use vestibule_model::Digest;
use zeroize::Zeroizing;

use super::{Row, VaultError};

/// The most keys of one ring: two while one is exchanged for the other, and what an operator keeps for old backups.
pub const KEYS_MAX: usize = 16;

const KEY_BYTES: usize = 32;
const ID_DIGITS: usize = 16;

/// Names a key: the first 64 bits of a digest of it, in hexadecimal. Tells nothing about the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KekId(String);

impl KekId {
    pub(super) fn of_row(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn is_one(text: &str) -> bool {
        text.len() == ID_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key that wraps data keys. NIST SP 800-38D §8.3: with random nonces, one key should wrap fewer than 2^32 times. A
/// gateway that seals a hundred rows a second gets there in a year: rotate before.
pub(super) struct Kek {
    id: KekId,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    cipher: LessSafeKey,
}

impl Kek {
    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Result<Self, VaultError> {
        let cipher = cipher(&*bytes)?;
        let mut named = Zeroizing::new(b"vestibule/vault/kek/1".to_vec());
        named.reserve_exact(KEY_BYTES);
        named.extend_from_slice(&*bytes);
        let id = Digest::of(&named).to_string().chars().take(ID_DIGITS).collect();
        Ok(Self { id: KekId(id), bytes, cipher })
    }

    fn fresh() -> Result<Self, VaultError> {
        Self::new(random_key()?)
    }

    pub(super) fn id(&self) -> &str {
        self.id.as_str()
    }

    pub(super) fn cipher(&self) -> &LessSafeKey {
        &self.cipher
    }
}

/// 256 random bits.
pub(super) fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, VaultError> {
    let mut bytes = Zeroizing::new([0u8; KEY_BYTES]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| VaultError::Crypto("make a key"))?;
    Ok(bytes)
}

/// AES-256-GCM with that key.
pub(super) fn cipher(key: &[u8]) -> Result<LessSafeKey, VaultError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Crypto("use a key"))?;
    Ok(LessSafeKey::new(key))
}

/// The keys of a vault, at least one. The first one seals, the others open.
#[derive(Clone)]
pub struct KeyRing {
    first: Arc<Kek>,
    others: Vec<Arc<Kek>>,
}

impl KeyRing {
    /// One new key.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn fresh() -> Result<Self, VaultError> {
        Ok(Self { first: Arc::new(Kek::fresh()?), others: Vec::new() })
    }

    /// Keys of 32 bytes in base64, separated by line ends or commas. `place` says in errors where the text lies.
    ///
    /// # Errors
    /// [`VaultError::Keys`] says what the text must be.
    pub fn parse(text: &str, place: &str) -> Result<Self, VaultError> {
        let rule = |rule| VaultError::Keys { place: place.to_owned(), rule };
        let mut keys: Vec<Arc<Kek>> = Vec::new();
        for one in text.split(['\n', '\r', ',']).map(str::trim).filter(|one| !one.is_empty()) {
            let not_a_key = || {
                rule("must hold keys of 32 bytes in base64, one a line: `openssl rand -base64 32` makes one")
            };
            let decoded = Zeroizing::new(BASE64_STANDARD.decode(one).map_err(|_| not_a_key())?);
            let mut bytes = Zeroizing::new([0u8; KEY_BYTES]);
            if decoded.len() != KEY_BYTES {
                return Err(not_a_key());
            }
            bytes.copy_from_slice(&decoded);
            let key = Kek::new(bytes)?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(rule("holds a key twice: remove one of the two"));
            }
            keys.push(Arc::new(key));
        }
        if keys.len() > KEYS_MAX {
            return Err(rule("holds more than 16 keys: remove those that no row is under"));
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or_else(|| rule("holds no key: `openssl rand -base64 32` makes one"))?;
        Ok(Self { first, others: keys.collect() })
    }

    /// The ids; the first one seals.
    #[must_use]
    pub fn ids(&self) -> Vec<KekId> {
        self.iter().map(|key| key.id.clone()).collect()
    }

    /// This ring with a new key in front of the others.
    pub(super) fn with_fresh(&self) -> Result<Self, VaultError> {
        Ok(Self { first: Arc::new(Kek::fresh()?), others: self.iter().cloned().collect() })
    }

    /// The key that seals, alone.
    pub(super) fn only_first(&self) -> Self {
        Self { first: Arc::clone(&self.first), others: Vec::new() }
    }

    /// As a key file holds it.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(KEYS_MAX * 48));
        for key in self.iter() {
            text.push_str(&Zeroizing::new(BASE64_STANDARD.encode(*key.bytes)));
            text.push('\n');
        }
        text
    }

    pub(super) fn first(&self) -> &Kek {
        &self.first
    }

    pub(super) fn is_full(&self) -> bool {
        self.others.len() + 1 >= KEYS_MAX
    }

    /// The key that a row names.
    pub(super) fn of(&self, row: &Row<'_>, id: &str) -> Result<&Kek, VaultError> {
        self.iter().find(|key| key.id() == id).map(|key| &**key).ok_or_else(|| VaultError::KeyUnknown {
            kind: row.kind,
            key: row.key.to_owned(),
            kek: id.to_owned(),
        })
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Kek>> {
        [&self.first].into_iter().chain(&self.others)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        BASE64_STANDARD.encode([byte; 32])
    }

    #[test]
    fn keys_are_separated_by_lines_or_commas_and_the_first_one_seals() {
        let ids = |text: &str| KeyRing::parse(text, "here").unwrap().ids();
        let (one, two) = (key(1), key(2));
        let expected = ids(&format!("{one}\n{two}\n"));
        assert_eq!(expected.len(), 2);
        for text in [format!("{one},{two}"), format!(" {one} , {two} ,"), format!("\r\n{one}\r\n\r\n{two}")] {
            assert_eq!(ids(&text), expected);
        }
        assert_ne!(ids(&format!("{two},{one}")), expected);
        assert_eq!(ids(&one)[0].as_str().len(), 16);
        assert_eq!(ids(&KeyRing::parse(&format!("{one}\n{two}"), "").unwrap().text()), expected);
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_quoted() {
        let many = (0..17).map(key).collect::<Vec<_>>().join(",");
        let (twice, long) = (format!("{0},{0}", key(1)), BASE64_STANDARD.encode([1; 33]));
        for (text, rule) in [
            ("", "holds no key"),
            (" \n,", "holds no key"),
            ("hunter2", "32 bytes"),
            (&*long, "32 bytes"),
            (&*twice, "twice"),
            (&*many, "more than 16"),
        ] {
            let error = KeyRing::parse(text, "file `k`").unwrap_err().to_string();
            assert!(error.starts_with("file `k` ") && error.contains(rule), "{text}: {error}");
            assert!(text.is_empty() || !error.contains(text.trim()) || text.trim() == ",", "{error}");
        }
        let shown = format!("{:?}", KeyRing::parse(&key(1), "").unwrap());
        assert!(!shown.contains(&key(1)) && !shown.contains("1, 1"), "{shown}");
    }
}
