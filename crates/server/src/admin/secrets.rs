use std::time::Duration;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::JsonRejection},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use vestibule_outbound::{SECRET_MAX_BYTES, SecretRef};
use vestibule_store::Seq;

use super::{Act, Answer, Gw, Refused, json as answer, page, recorded_with};
use crate::{
    gateway::Gateway,
    vault::{Kept, SECRETS_MAX, SetError},
};

/// How long an answer waits until the change that it tells of is in force.
const IN_FORCE_MAX: Duration = Duration::from_secs(2);

/// A secret to keep. Not `Debug`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    value: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Paging {
    after: Option<String>,
    limit: Option<usize>,
}

/// Keeps a secret, in place of an older one of that name. What the record and the answer say of it is that it was set.
pub(super) async fn set(
    State(gw): Gw,
    Path(name): Path<String>,
    body: Result<Json<Body>, JsonRejection>,
) -> Answer {
    SecretRef::check_vault_name(&name).map_err(Refused::invalid)?;
    // What the parser says could quote the secret.
    let Ok(Json(body)) = body else {
        return Err(Refused::invalid("the body must be the JSON object `{\"value\": TEXT}`"));
    };
    let value = checked(body.value)?;
    let detail = json!({});
    let act = Act { action: "secret-set", target: format!("secret/{name}"), detail: &detail };
    let secrets = gw.vault.secrets();
    let work = async {
        let (seq, kept) = secrets.set(&name, &value).await.map_err(refused)?;
        in_force(&gw, seq).await;
        Ok(kept)
    };
    let kept = recorded_with(&gw, act, work, |kept| Some(json!({ "version": kept.version }))).await?;
    answer(200, &shown(&kept))
}

pub(super) async fn list(State(gw): Gw, Query(paging): Query<Paging>) -> Answer {
    let limit = paging.limit.unwrap_or(100).clamp(1, SECRETS_MAX);
    let kept = gw.vault.secrets().list(paging.after.as_deref(), limit);
    let next = if kept.len() == limit { kept.last().map(|one| one.name.clone()) } else { None };
    page(kept.iter().map(shown).collect(), next)
}

/// Applications that use it are closed within five seconds.
pub(super) async fn remove(State(gw): Gw, Path(name): Path<String>) -> Answer {
    SecretRef::check_vault_name(&name).map_err(Refused::invalid)?;
    let detail = json!({});
    let act = Act { action: "secret-remove", target: format!("secret/{name}"), detail: &detail };
    let work = async {
        let removed = gw.vault.secrets().remove(&name).await.map_err(Refused::broken)?;
        in_force(&gw, removed.ok_or_else(|| Refused::not_found("secret"))?).await;
        Ok(())
    };
    recorded_with(&gw, act, work, |()| None).await?;
    answer(200, &json!({ "id": name, "kind": "secret", "removed": true }))
}

/// Waits for the change, but not for long: it stands, and a gateway that cannot follow its store refuses calls anyway.
async fn in_force(gw: &Gateway, seq: Seq) {
    let _late = tokio::time::timeout(IN_FORCE_MAX, gw.follower.caught_up(seq)).await;
}

/// The same rules as for a secret in a file.
fn checked(value: String) -> Result<SecretString, Refused> {
    let value = SecretString::from(value);
    let length = value.expose_secret().trim_end_matches(['\r', '\n']).len();
    if length == 0 {
        return Err(Refused::invalid("the secret is empty"));
    }
    if length as u64 > SECRET_MAX_BYTES {
        return Err(Refused::invalid("the secret is larger than 64 KiB"));
    }
    if length == value.expose_secret().len() {
        return Ok(value);
    }
    let trimmed = value.expose_secret().get(..length).unwrap_or_default();
    Ok(SecretString::from(trimmed.to_owned()))
}

fn refused(error: SetError) -> Refused {
    match error {
        SetError::Full => Refused::new(409, "limit-reached", error.to_string()),
        SetError::Store(error) => Refused::broken(error),
    }
}

fn shown(kept: &Kept) -> Value {
    json!({
        "id": kept.name, "kind": "secret", "version": kept.version, "set_at": kept.set_at,
        "usable": kept.set_at.is_some(),
    })
}
