//! The claims of our own tokens, read once and strictly. Everything here was signed by us, so what does not fit is either
//! a token of another version or a mistake of ours, and is refused.

mod custom;
mod subject;
mod vst;

use std::{collections::BTreeSet, fmt, sync::Arc};

use vestibule_model::{
    Authority, Denial, Digest, Jti, PathNode, Refusal, Thumbprint, Timestamp, WorkflowId, json::Json,
};

use crate::{Caller, TokenFacts, jws::sole_audience};

pub use custom::is_registered_claim;
pub use vst::VST_REVISION;

/// Which of our tokens the claims are of. They differ in nothing but what the token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A hop token: for an agent, bound to its key or, of a root agent, to nothing.
    Hop,
    /// A per-call token: for the agent that is called, about the one that calls.
    Call,
}

/// A caller, and the moment from which its token is good.
#[derive(Clone)]
pub(crate) struct HopClaims {
    pub(crate) caller: Caller,
    pub(crate) valid_from: Timestamp,
}

/// Reads verified claims.
///
/// # Errors
/// [`Denial::TokenWrongIssuer`], [`Denial::TokenWrongAudience`]; [`Denial::ProofMissing`] for a hop token of a spawned or
/// invoked agent that is not bound to a key; else [`Denial::TokenInvalid`] with the claim in the cause.
pub(crate) fn read(
    claims: &Json,
    issuer: &Arc<str>,
    digest: Digest,
    kind: Kind,
) -> Result<HopClaims, Refusal> {
    if text(claims, "iss")? != issuer.as_ref() {
        return Err(Denial::TokenWrongIssuer.into());
    }
    let audience = sole_audience(claims)
        .ok_or_else(|| Refusal::new(Denial::TokenWrongAudience, "`aud` does not name one party"))?;
    let (user, chain) = subject::read(claims, issuer)?;
    let issued_at = moment(claims, "iat")?;
    let valid_from =
        if claims.get("nbf").is_some() { moment(claims, "nbf")?.max(issued_at) } else { issued_at };
    let vst = vst::read(claims, user, &chain)?;
    let token = TokenFacts {
        issuer: Arc::clone(issuer),
        namespace: Arc::clone(issuer),
        audience: audience.to_owned(),
        jti: Jti::parse(text(claims, "jti")?).map_err(invalid)?.into(),
        issued_at,
        expires_at: moment(claims, "exp")?,
        scopes: scopes(claims)?,
        claims: custom::read(claims)?,
        node_expires_at: vst.node_expires_at,
        bound_to: binding(claims, &vst.nodes, kind)?,
        authority: authority(claims)?,
        nodes: vst.nodes,
        max_depth: vst.max_depth,
        calls: vst.calls,
        behind: None,
        user_token: None,
        workflow: WorkflowId::parse(text(claims, "acti")?).map_err(invalid)?,
        digest,
    };
    Ok(HopClaims { caller: Caller::verified(vst.user, chain, token), valid_from })
}

pub(crate) fn invalid(cause: impl fmt::Display) -> Refusal {
    Refusal::new(Denial::TokenInvalid, cause)
}

pub(crate) fn text<'a>(claims: &'a Json, name: &str) -> Result<&'a str, Refusal> {
    claims.get(name).and_then(Json::as_str).ok_or_else(|| invalid(format!("`{name}` is not a string")))
}

fn moment(claims: &Json, name: &str) -> Result<Timestamp, Refusal> {
    let seconds = claims.get(name).and_then(Json::as_i64);
    seconds
        .map(Timestamp::from_seconds)
        .ok_or_else(|| invalid(format!("`{name}` is not a whole number of seconds")))
}

/// The key in `cnf` (RFC 7800 §3.1, RFC 9449 §6.1).
fn binding(claims: &Json, nodes: &[PathNode], kind: Kind) -> Result<Option<Thumbprint>, Refusal> {
    let Some(cnf) = claims.get("cnf") else {
        return match kind {
            Kind::Call => Ok(None),
            Kind::Hop if nodes.len() == 1 => Ok(None),
            // Whoever finds the token of a child could otherwise act in the name of everybody above it.
            Kind::Hop => Err(Refusal::new(Denial::ProofMissing, "a chain of agents without `cnf`")),
        };
    };
    // Nobody would ask for the proof: the agent that presents it is not the one whose key this could be.
    if kind == Kind::Call {
        return Err(invalid("a per-call token is bound to no key"));
    }
    // RFC 7800 §3.1: of a means of confirmation that is not understood, nothing is confirmed.
    let [(_, key)] = cnf.as_object().unwrap_or_default() else {
        return Err(invalid("`cnf` does not name one key"));
    };
    if cnf.get("jkt").is_none() {
        return Err(invalid("`cnf` binds by something else than `jkt`"));
    }
    let key = Thumbprint::parse(key.as_str().unwrap_or_default()).map_err(invalid)?;
    // A key that the path does not name would outlive its revocation.
    if nodes.last().is_none_or(|node| !node.keys.contains(&key)) {
        return Err(invalid("`cnf` is no key of the node"));
    }
    Ok(Some(key))
}

/// `authorization_details` (RFC 9396 §9.1). What cannot be read bounds nothing, so it is refused; so is what does not
/// name its resource, which would move with the token.
fn authority(claims: &Json) -> Result<Option<Authority>, Refusal> {
    let Some(details) = claims.get("authorization_details") else { return Ok(None) };
    let authority = Authority::from_json(details).map_err(invalid)?;
    if authority.grants().iter().any(|grant| grant.locations.is_empty()) {
        return Err(invalid("`authorization_details` without `locations`"));
    }
    Ok(Some(authority))
}

/// RFC 6749 §3.3: separated by spaces.
fn scopes(claims: &Json) -> Result<BTreeSet<String>, Refusal> {
    if claims.get("scope").is_none() {
        return Ok(BTreeSet::new());
    }
    Ok(text(claims, "scope")?.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
}
