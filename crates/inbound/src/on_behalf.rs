use serde_json::{Map, Value, json};
use vestibule_model::{AgentId, UserId};

/// Who acts for whom, as every token of ours says it: the claims `sub`, `sub_id`, `client_id` and `act`.
///
/// `agents` are those of the chain, each with the issuer that names it, the root first. With a user, `sub` is the user
/// and `act` has all of them; without one, the root is `sub`, and `act` has the others. RFC 8693 §4.1: the outermost
/// `act` is the agent that acts now, the ones nested in it came before.
#[must_use]
pub fn on_behalf(user: Option<&UserId>, agents: &[(&str, &AgentId)]) -> Map<String, Value> {
    let mut claims = Map::new();
    let acting = match (user, agents.split_first()) {
        (Some(user), _) => {
            claims.insert("sub".to_owned(), json!(user.subject));
            // RFC 9493 §3.2.4: `sub` alone does not say whose subject it is.
            let id = json!({"format": "iss_sub", "iss": user.issuer, "sub": user.subject});
            claims.insert("sub_id".to_owned(), id);
            agents
        }
        (None, Some(((_, root), others))) => {
            claims.insert("sub".to_owned(), json!(root));
            others
        }
        (None, None) => &[],
    };
    let act = acting.iter().fold(None, |before, (issuer, agent)| {
        let mut act = json!({"iss": issuer, "sub": agent});
        if let (Some(before), Some(members)) = (before, act.as_object_mut()) {
            members.insert("act".to_owned(), before);
        }
        Some(act)
    });
    claims.extend(act.map(|act| ("act".to_owned(), act)));
    claims.insert("client_id".to_owned(), json!(agents.last().map(|(_, agent)| agent)));
    claims
}
