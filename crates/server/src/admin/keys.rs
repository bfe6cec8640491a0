use axum::extract::State;
use serde_json::json;

use super::{Act, Answer, Gw, Refused, json as answer, recorded};

pub(super) async fn status(State(gw): Gw) -> Answer {
    answer(200, &gw.keys.status())
}

/// A new key signs at once; tokens of the old one stay valid until they expire.
pub(super) async fn rotate(State(gw): Gw) -> Answer {
    let act = Act { action: "keys-rotate", target: "keys/signing".to_owned(), detail: &json!({}) };
    recorded(&gw, act, async { gw.keys.rotate().await.map_err(Refused::broken) }).await?;
    status(State(gw)).await
}
