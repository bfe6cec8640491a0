//! Tokens of applications whose holder was revoked: dropped at once, and given back to their servers (RFC 7009).
//!
//! Best effort. What was revoked gets nowhere through the gateway in any case; what is given back is of no use to whoever
//! has a copy, either. The record says what was given back and what was not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::time::MissedTickBehavior;
use vestibule_containment::Path;
use vestibule_evidence::{Outcome, Record, RecordKind, TEXT_MAX_BYTES};
use vestibule_model::{AttemptId, Denial, Fault, TraceId};
use vestibule_outbound::{GiveBack, MintedFor};

use crate::gateway::Gateway;

/// How often is looked whether something was revoked.
const LOOK: Duration = Duration::from_millis(200);
/// After so many looks the tokens are gone through in any case: calls end, and so do tokens.
const LOOKS_PER_SWEEP: u32 = 50;
/// So many tokens are given back to one server at once.
const AT_ONCE: usize = 8;
/// And no longer than this, whatever is left: a gateway that stops waits for it.
const AT_MOST: Duration = Duration::from_secs(30);
/// Of what the record says so much names agents and applications: an agent that was spawned has a name of 89 bytes, and the
/// whole must stay readable JSON.
const NAMES_MAX_BYTES: usize = TEXT_MAX_BYTES - 80;

/// Keeps the tokens in step with what is revoked.
pub(crate) async fn keep(gateway: Arc<Gateway>) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut swept_at, mut looks) = (None, 0);
    loop {
        let is_due = tokio::select! {
            _ = tick.tick() => {
                looks += 1;
                swept_at != Some(gateway.containment.version()) || looks >= LOOKS_PER_SWEEP
            }
            () = gateway.outbound.has_strays() => true,
        };
        if is_due {
            // Read before, so that an order that comes meanwhile is seen by the next look.
            swept_at = Some(gateway.containment.version());
            looks = 0;
            sweep(&gateway);
        }
    }
}

fn sweep(gateway: &Arc<Gateway>) {
    let dropped = gateway.outbound.sweep(|minted_for| is_dead(gateway, minted_for));
    let mut by_server = BTreeMap::<String, Vec<GiveBack>>::new();
    for token in dropped {
        by_server.entry(token.server().to_owned()).or_default().push(token);
    }
    for (server, tokens) in by_server {
        // INVARIANT: tracked, so that a gateway that stops waits for it.
        gateway.withdrawals.spawn(give_back(Arc::clone(gateway), server, tokens));
    }
}

fn is_dead(gateway: &Gateway, minted_for: &MintedFor) -> bool {
    let MintedFor { app, at, agents, nodes, user, calls, token, behind } = minted_for;
    let (jti, issued_at, user, behind) = (token.as_ref(), *at, user.as_ref(), behind.as_ref());
    let path = Path { jti, issued_at, agents, nodes, user, behind, app: Some(app), calls };
    // A gateway that cannot tell what is revoked serves nobody, and throws nothing away.
    gateway.containment.check(&path).is_err_and(|denial| denial != Denial::ContainmentStale)
}

fn detail_of(count: usize, given: usize, names: &[String]) -> String {
    json!({ "tokens": count, "given_back": given, "of": names }).to_string()
}

/// Gives them back, and records it.
async fn give_back(gateway: Arc<Gateway>, server: String, tokens: Vec<GiveBack>) {
    let count = tokens.len();
    let names = fitting(tokens.iter().map(whose).collect());
    let at = gateway.clock.now();
    let id = AttemptId::new(at, &*gateway.entropy);
    let mut record = Record::new(RecordKind::Administration, id, at, TraceId::of(id));
    record.author = Some("gateway".to_owned());
    record.action = Some("tokens-give-back".to_owned());
    record.target = Some(format!("authorization-server/{server}"));
    let (given, cause) = all(&gateway, tokens).await;
    if let Some(cause) = &cause {
        tracing::warn!(server, given, count, cause, "tokens of what was revoked live until they expire");
    }
    record.detail = Some(detail_of(count, given, &names));
    record.cause = cause;
    let outcome = if given == count { Outcome::Completed } else { Outcome::Failed };
    let written = match gateway.evidence.begin_act(record) {
        Ok(entry) => entry.close(outcome).await,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = written {
        tracing::error!(server, %fault, "what was given back cannot be recorded");
    }
}

/// How many were taken back, and why the others were not.
async fn all(gateway: &Gateway, tokens: Vec<GiveBack>) -> (usize, Option<String>) {
    let (mut given, mut cause) = (0, None);
    let results = stream::iter(tokens).map(|token| gateway.outbound.give_back(token));
    let mut results = std::pin::pin!(results.buffer_unordered(AT_ONCE));
    let work = async {
        while let Some(result) = results.next().await {
            match result {
                Ok(()) => given += 1,
                Err(Fault { cause: why, .. }) => cause = Some(why),
            }
        }
    };
    if tokio::time::timeout(AT_MOST, work).await.is_err() {
        cause.get_or_insert_with(|| format!("not all within {AT_MOST:?}"));
    }
    (given, cause)
}

/// `app: agent`, the one whose token it is; `app` alone where it is of nobody.
fn whose(token: &GiveBack) -> String {
    match token.minted_for().agents.last() {
        Some(actor) => format!("{}: {}", token.app(), actor.agent.as_str()),
        None => token.app().to_string(),
    }
}

/// Each once, and as many as the record has room for.
fn fitting(names: BTreeSet<String>) -> Vec<String> {
    let mut room = NAMES_MAX_BYTES;
    let fits = |name: &String| {
        // With the quotes, and the comma.
        let left = room.checked_sub(json!(name).to_string().len() + 1);
        left.inspect(|left| room = *left).is_some()
    };
    names.into_iter().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_record_says_stays_readable_however_many_tokens_there_are() {
        let thumbprint = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:";
        let names: BTreeSet<_> = (0..100).map(|number| format!("orders: {thumbprint}{number:043}")).collect();
        let few = fitting(names.iter().take(3).cloned().collect());
        assert_eq!(few.len(), 3);
        let many = fitting(names);
        assert!(few.len() < many.len() && many.len() < 100);
        let detail = detail_of(usize::MAX, usize::MAX, &many);
        assert!(detail.len() <= TEXT_MAX_BYTES, "{}", detail.len());
    }
}
