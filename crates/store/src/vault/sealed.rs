//! The sealed text: how it is made, and what of it is proven when it is opened.

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    KekId, Row, VaultError,
    kek::{Kek, cipher, random_key},
};

/// The form that is written and read here.
const FORM: u8 = 1;
/// Of AES-GCM.
const TAG_BYTES: usize = 16;

/// `{v, kek, dek, nonce, ct}`, binary parts in base64url.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    v: u8,
    /// Id of the key that wraps the data key.
    kek: String,
    /// Nonce, then the data key and its tag under that key.
    dek: String,
    /// Of `ct`.
    nonce: String,
    /// The text and its tag under the data key.
    ct: String,
}

impl Sealed {
    /// With a new data key.
    pub(super) fn make(kek: &Kek, row: &Row<'_>, plain: &[u8]) -> Result<Self, VaultError> {
        let (data_key, aad) = (random_key()?, row.associated_data());
        let (nonce, ct) = encrypt(&cipher(&*data_key)?, &aad, plain)?;
        Ok(Self {
            v: FORM,
            kek: kek.id().to_owned(),
            dek: wrap(kek, &aad, &*data_key)?,
            nonce: URL_SAFE_NO_PAD.encode(nonce),
            ct: URL_SAFE_NO_PAD.encode(ct),
        })
    }

    pub(super) fn parse(row: &Row<'_>, text: &str) -> Result<Self, VaultError> {
        let sealed: Self = serde_json::from_str(text).map_err(|_| VaultError::not_sealed(row))?;
        // The id is shown to people and compared with ours: it is one, or the text is not sealed.
        let is_ours = sealed.v == FORM && KekId::is_one(&sealed.kek);
        if is_ours { Ok(sealed) } else { Err(VaultError::not_sealed(row)) }
    }

    pub(super) fn text(&self, row: &Row<'_>) -> Result<String, VaultError> {
        serde_json::to_string(self).map_err(|_| VaultError::not_sealed(row))
    }

    pub(super) fn kek(&self) -> &str {
        &self.kek
    }

    pub(super) fn open(&self, kek: &Kek, row: &Row<'_>) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let aad = row.associated_data();
        let data_key = self.data_key(kek, row, &aad)?;
        let altered = || VaultError::altered(row);
        let nonce = URL_SAFE_NO_PAD.decode(&self.nonce).map_err(|_| altered())?;
        let ct = URL_SAFE_NO_PAD.decode(&self.ct).map_err(|_| altered())?;
        decrypt(&cipher(&data_key)?, &aad, &nonce, ct).ok_or_else(altered)
    }

    /// The same text, its data key under another key.
    pub(super) fn rewrap(self, old: &Kek, new: &Kek, row: &Row<'_>) -> Result<Self, VaultError> {
        let aad = row.associated_data();
        let data_key = self.data_key(old, row, &aad)?;
        Ok(Self { kek: new.id().to_owned(), dek: wrap(new, &aad, &data_key)?, ..self })
    }

    fn data_key(&self, kek: &Kek, row: &Row<'_>, aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let altered = || VaultError::altered(row);
        let wrapped = URL_SAFE_NO_PAD.decode(&self.dek).map_err(|_| altered())?;
        let (nonce, wrapped) = wrapped.split_at_checked(NONCE_LEN).ok_or_else(altered)?;
        decrypt(kek.cipher(), aad, nonce, wrapped.to_vec()).ok_or_else(altered)
    }
}

fn wrap(kek: &Kek, aad: &[u8], data_key: &[u8]) -> Result<String, VaultError> {
    let (nonce, wrapped) = encrypt(kek.cipher(), aad, data_key)?;
    Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &wrapped].concat()))
}

/// Under a random nonce, which is given back. A data key is used once, so its nonces cannot repeat at all; for the keys
/// that wrap see [`Kek`].
fn encrypt(key: &LessSafeKey, aad: &[u8], plain: &[u8]) -> Result<([u8; NONCE_LEN], Vec<u8>), VaultError> {
    let failed = |_| VaultError::Crypto("seal");
    let mut nonce = [0u8; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).map_err(failed)?;
    // Room for the tag from the start: a vector that grows would leave the plain text behind where it was.
    let mut text = Vec::with_capacity(plain.len() + TAG_BYTES);
    text.extend_from_slice(plain);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut text)
        .map_err(failed)?;
    Ok((nonce, text))
}

/// Nothing when it is not exactly what was encrypted.
fn decrypt(key: &LessSafeKey, aad: &[u8], nonce: &[u8], text: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = Zeroizing::new(text);
    let length = key.open_in_place(nonce, Aad::from(aad), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}
