//! Tokens that the issuer would never sign, signed with its key.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_model::SystemClock;
use vestibule_store::{
    By, Kind, SqliteStore, Store,
    vault::{KeyFile, Vault},
};
use vestibule_testkit::AgentKey;

use super::parts;
use crate::gateway::TestGateway;

/// A real token with the very key that signed it: header and claims can be changed and signed again, so that a token
/// that is refused is refused for that change and for nothing else.
pub(super) struct Mint {
    pub(super) key: AgentKey,
    header: Value,
    pub(super) claims: Value,
}

impl Mint {
    pub(super) async fn of(gateway: &TestGateway, token: &str) -> Self {
        let clock = Arc::new(SystemClock::default());
        let store = SqliteStore::open(&gateway.dir.path().join("state"), clock).unwrap();
        let records = store.scan(Kind::SigningKey, By::All, None, 2).await.unwrap();
        assert_eq!(records.len(), 1);
        let file = KeyFile::new(gateway.dir.path().join("state/vault.key"));
        let vault = Vault::new(file.read().unwrap().unwrap());
        let plain = vault.open_record(&records[0]).unwrap();
        let stored: Value = serde_json::from_slice(&plain).unwrap();
        let pkcs8 = URL_SAFE_NO_PAD.decode(stored["pkcs8"].as_str().unwrap()).unwrap();
        let (header, claims) = parts(token);
        Self { key: AgentKey::from_pkcs8(&records[0].key, &pkcs8), header, claims }
    }

    pub(super) fn with(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        self.by(&self.key, change)
    }

    pub(super) fn by(&self, key: &AgentKey, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut claims) = (self.header.clone(), self.claims.clone());
        change(&mut header, &mut claims);
        key.sign(&header.to_string(), &claims.to_string())
    }

    /// With a member of the header replaced, or removed by `null`.
    pub(super) fn header(&self, name: &str, value: Value) -> String {
        self.with(|header, _| replace(header, name, value))
    }

    /// With a claim replaced, or removed by `null`.
    pub(super) fn claim(&self, name: &str, value: Value) -> String {
        self.with(|_, claims| replace(claims, name, value))
    }

    /// With another algorithm in the header, and the signature that `sign` makes.
    pub(super) fn signed(&self, alg: &str, sign: impl FnOnce(&str) -> Vec<u8>) -> String {
        let mut header = self.header.clone();
        replace(&mut header, "alg", json!(alg));
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&header), part(&self.claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(&input));
        format!("{input}.{signature}")
    }
}

/// Replaces a member, or removes it by `null`.
pub(super) fn replace(object: &mut Value, name: &str, value: Value) {
    let members = object.as_object_mut().unwrap();
    if value.is_null() {
        members.shift_remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}
