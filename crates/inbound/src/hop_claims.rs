//! The claims of a hop token, read once and strictly. Everything here was signed by us, so what does not fit is either
//! a token of another version or a mistake of ours, and is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use vestibule_model::{
    Actor, AgentId, Chain, DEPTH_MAX, Denial, Digest, Jti, NodeId, Refusal, Timestamp, UserId, WorkflowId,
    json::Json,
};

use crate::{Caller, TokenFacts, jws::sole_audience};

/// The revision of the `vst` claim that is minted and read.
pub const VST_REVISION: i64 = 1;

/// Claims with a meaning of their own: in our tokens, or in the registry of JWT claims where another party would act
/// on them. A custom claim may have none of these names.
const REGISTERED: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "cnf",
    "act",
    "may_act",
    "acti",
    "actc",
    "actp",
    "authorization_details",
    "vst",
    "sub_id",
    "azp",
    "nonce",
    "auth_time",
    "acr",
    "amr",
    "sid",
    "txn",
    "events",
    "mission",
    "bounds",
];

/// Whether `name` is taken, so that no custom claim may have it.
#[must_use]
pub fn is_registered_claim(name: &str) -> bool {
    REGISTERED.contains(&name)
}

/// A caller, and the moment from which its token is good.
pub(crate) struct HopClaims {
    pub(crate) caller: Caller,
    pub(crate) valid_from: Timestamp,
}

/// Reads verified claims.
///
/// # Errors
/// [`Denial::TokenWrongIssuer`], [`Denial::TokenWrongAudience`], else [`Denial::TokenInvalid`] with the claim in the
/// cause.
pub(crate) fn read(claims: &Json, issuer: &Arc<str>, digest: Digest) -> Result<HopClaims, Refusal> {
    if text(claims, "iss")? != issuer.as_ref() {
        return Err(Denial::TokenWrongIssuer.into());
    }
    let audience = sole_audience(claims)
        .ok_or_else(|| Refusal::new(Denial::TokenWrongAudience, "`aud` does not name one resource"))?;
    // RFC 9449 §6.1, RFC 8705 §3: a token bound to a key is no bearer token, and no proof of possession is read yet.
    if claims.get("cnf").is_some() {
        return Err(invalid("a token bound to a key came without its proof"));
    }
    let (user, chain) = subject(claims, issuer)?;
    let issued_at = moment(claims, "iat")?;
    let valid_from =
        if claims.get("nbf").is_some() { moment(claims, "nbf")?.max(issued_at) } else { issued_at };
    let (nodes, node_expires_at) = nodes(claims, chain.depth())?;
    let token = TokenFacts {
        issuer: Arc::clone(issuer),
        audience: audience.to_owned(),
        jti: Jti::parse(text(claims, "jti")?).map_err(invalid)?,
        issued_at,
        expires_at: moment(claims, "exp")?,
        scopes: scopes(claims)?,
        claims: custom(claims)?,
        node_expires_at,
        nodes,
        workflow: WorkflowId::parse(text(claims, "acti")?).map_err(invalid)?,
        digest,
    };
    Ok(HopClaims { caller: Caller::verified(user, chain, token), valid_from })
}

fn invalid(cause: impl std::fmt::Display) -> Refusal {
    Refusal::new(Denial::TokenInvalid, cause)
}

fn text<'a>(claims: &'a Json, name: &str) -> Result<&'a str, Refusal> {
    claims.get(name).and_then(Json::as_str).ok_or_else(|| invalid(format!("`{name}` is not a string")))
}

fn moment(claims: &Json, name: &str) -> Result<Timestamp, Refusal> {
    let seconds = claims.get(name).and_then(Json::as_i64);
    seconds
        .map(Timestamp::from_seconds)
        .ok_or_else(|| invalid(format!("`{name}` is not a whole number of seconds")))
}

/// Who acts for whom. Without `act`, the subject is the agent itself. With it, the outermost `act` is the agent that
/// acts now and the innermost the first (RFC 8693 §4.1); `sub_id` (RFC 9493) names the human with the issuer that
/// vouches for them, and without one the subject is the root agent.
fn subject(claims: &Json, issuer: &Arc<str>) -> Result<(Option<UserId>, Chain), Refusal> {
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

/// `vst.path`: a node for each agent of the chain, the root first, the one the token was minted under last. A path
/// that lacks a node would escape the revocation of that node.
fn nodes(claims: &Json, depth: usize) -> Result<(Vec<NodeId>, Timestamp), Refusal> {
    let vst = claims.get("vst").ok_or_else(|| invalid("no `vst`"))?;
    let number = |name| vst.get(name).and_then(Json::as_i64).and_then(|value| usize::try_from(value).ok());
    if vst.get("rev").and_then(Json::as_i64) != Some(VST_REVISION) {
        return Err(invalid("a `vst` of another revision"));
    }
    let path =
        vst.get("path").and_then(Json::as_array).ok_or_else(|| invalid("`vst.path` is not an array"))?;
    let parse = |id: &Json| NodeId::parse(id.as_str().unwrap_or_default()).map_err(invalid);
    let nodes = path.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let is_consistent = nodes.len() == depth
        && number("depth") == Some(depth)
        && number("max_depth").is_some_and(|max| (depth..=DEPTH_MAX).contains(&max))
        && nodes.last().map(NodeId::as_str) == vst.get("node").and_then(Json::as_str);
    if !is_consistent {
        return Err(invalid("`vst` contradicts the chain"));
    }
    // A node never ends before what is minted under it.
    let (node_exp, exp) = (moment(vst, "node_exp")?, moment(claims, "exp")?);
    if node_exp < exp { Err(invalid("the token outlives its node")) } else { Ok((nodes, node_exp)) }
}

/// RFC 6749 §3.3: separated by spaces.
fn scopes(claims: &Json) -> Result<BTreeSet<String>, Refusal> {
    if claims.get("scope").is_none() {
        return Ok(BTreeSet::new());
    }
    Ok(text(claims, "scope")?.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
}

/// The claims without a registered name: a string or an array of strings each.
fn custom(claims: &Json) -> Result<BTreeMap<String, BTreeSet<String>>, Refusal> {
    let mut found = BTreeMap::new();
    for (name, value) in claims.as_object().unwrap_or_default() {
        if is_registered_claim(name) {
            continue;
        }
        let values: Option<BTreeSet<String>> = match value {
            Json::String(one) => Some([one.clone()].into()),
            Json::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => None,
        };
        // Skipping it would make a rule that forbids by this claim pass.
        let values = values.ok_or_else(|| invalid(format!("the claim `{name}` is not a set of strings")))?;
        found.insert(name.clone(), values);
    }
    Ok(found)
}
