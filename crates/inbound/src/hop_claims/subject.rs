use std::sync::Arc;

use vestibule_model::{Actor, AgentId, Chain, DEPTH_MAX, Refusal, UserId, json::Json};

use super::{invalid, text};

/// Who acts for whom. Without `act`, the subject is the agent itself. With it, the outermost `act` is the agent that
/// acts now and the innermost the first (RFC 8693 §4.1); `sub_id` (RFC 9493) names the human with the issuer that
/// vouches for them, and without one the subject is the root agent.
pub(super) fn read(claims: &Json, issuer: &Arc<str>) -> Result<(Option<UserId>, Chain), Refusal> {
    let subject = text(claims, "sub")?;
    let user = claims.get("sub_id").map(|id| user(id, subject)).transpose()?;
    let mut actors = actors(claims)?;
    if user.is_none() {
        actors.push(actor(issuer, subject)?);
    }
    actors.reverse();
    let chain = Chain::new(actors).map_err(invalid)?;
    // The token was issued to the agent that acts, and to nobody else.
    if chain.current().agent.as_str() != text(claims, "client_id")? {
        return Err(invalid("`client_id` is not the agent that acts"));
    }
    Ok((user, chain))
}

fn user(id: &Json, subject: &str) -> Result<UserId, Refusal> {
    // RFC 9493 §3.2.4, §4.2: `sub_id` and `sub` name the same subject.
    if text(id, "format")? != "iss_sub" || text(id, "sub")? != subject {
        return Err(invalid("`sub_id` does not name the subject"));
    }
    Ok(UserId { issuer: text(id, "iss")?.to_owned(), subject: subject.to_owned() })
}

/// The agents of the nested `act`, the current one first.
fn actors(claims: &Json) -> Result<Vec<Actor>, Refusal> {
    let mut actors = Vec::new();
    let mut next = claims.get("act");
    while let Some(act) = next {
        if actors.len() == DEPTH_MAX {
            return Err(invalid("the chain is too deep"));
        }
        actors.push(actor(&text(act, "iss")?.into(), text(act, "sub")?)?);
        next = act.get("act");
    }
    Ok(actors)
}

fn actor(issuer: &Arc<str>, agent: &str) -> Result<Actor, Refusal> {
    Ok(Actor { issuer: Arc::clone(issuer), agent: AgentId::new(agent).map_err(invalid)? })
}
