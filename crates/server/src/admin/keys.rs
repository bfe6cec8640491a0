use axum::extract::State;
use serde_json::json;
use vestibule_store::vault::VaultError;

use super::{Act, Answer, Gw, Refused, json as answer, recorded, recorded_with};

pub(super) async fn status(State(gw): Gw) -> Answer {
    let signing = gw.keys.status();
    let vault = gw.vault.status().await.map_err(Refused::broken)?;
    answer(200, &json!({ "signing": signing.signing, "retiring": signing.retiring, "vault": vault }))
}

/// A new key signs at once; tokens of the old one stay valid until they expire.
pub(super) async fn rotate(State(gw): Gw) -> Answer {
    let act = Act { action: "keys-rotate", target: "keys/signing".to_owned(), detail: &json!({}) };
    recorded(&gw, act, async { gw.keys.rotate().await.map_err(Refused::broken) }).await?;
    status(State(gw)).await
}

/// Everything that is sealed goes under a new key, or under the first one where the keys are not the gateway's to make.
pub(super) async fn rotate_vault(State(gw): Gw) -> Answer {
    let act = Act { action: "keys-rotate", target: "keys/vault".to_owned(), detail: &json!({}) };
    let work = async { gw.vault.rotate().await.map_err(refused) };
    recorded_with(&gw, act, work, |rotated| Some(json!(rotated))).await?;
    status(State(gw)).await
}

fn refused(error: VaultError) -> Refused {
    match error {
        VaultError::Store(error) => Refused::broken(error),
        VaultError::UnderWay
        | VaultError::Changed(_)
        | VaultError::Incomplete { .. }
        | VaultError::Keys { .. }
        | VaultError::KeyFile { .. }
        | VaultError::KeyMissing { .. }
        | VaultError::KeyWrong { .. }
        | VaultError::KeyUnknown { .. }
        | VaultError::NotSealed { .. }
        | VaultError::Altered { .. }
        | VaultError::TooLarge { .. }
        | VaultError::Crypto(_) => Refused::new(409, "vault-not-rotated", error.to_string()),
    }
}
