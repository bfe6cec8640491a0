use axum::extract::State;
use serde_json::json;

use super::{Answer, Gw, Refused, json as answer, record};

pub(super) async fn status(State(gw): Gw) -> Answer {
    answer(200, &gw.keys.status())
}

/// A new key signs at once; tokens of the old one stay valid until they expire.
pub(super) async fn rotate(State(gw): Gw) -> Answer {
    record(&gw, "keys-rotate", "signing-keys", &json!({})).await?;
    gw.keys.rotate().await.map_err(Refused::broken)?;
    status(State(gw)).await
}
