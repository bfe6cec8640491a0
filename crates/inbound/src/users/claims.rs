//! From verified claims to a [`UserToken`].

use std::{sync::Arc, time::Duration};

use vestibule_model::{Digest, Malformed, Represented, Timestamp, UserGrant, UserId, json::Json};

use super::{
    UserIssuerConfig, UserToken, UserTokenError, UserTokenKind, groups,
    mapping::{Mapping, Standing},
    token::{MayAct, Party},
};

/// How far the issuer's clock may be from ours.
pub(crate) const LEEWAY: Duration = Duration::from_secs(30);
/// OpenID Connect Core §2: `sub` "MUST NOT exceed 255 ASCII characters"; the bound of the other short claims too.
pub(super) const TEXT_MAX_BYTES: usize = 255;
/// An audience or a client: both may be URLs.
pub(crate) const NAME_MAX_BYTES: usize = 2048;
/// The most audiences of a token.
const AUDIENCES_MAX: usize = 32;
/// By which an access token names the client that asked for it, the first one counting: those of OpenID Connect Core §2
/// and RFC 9068 §2.2, then Okta's and that of Entra's tokens of version 1.
pub(super) const CLIENT_CLAIMS: [&str; 4] = ["azp", "client_id", "cid", "appid"];
/// The end of the year 9999, in seconds: what lies beyond is no time that anybody meant.
const SECONDS_MAX: i64 = 253_402_300_799;

pub(super) fn read(
    claims: &Json,
    kind: UserTokenKind,
    token: &str,
    config: &Arc<UserIssuerConfig>,
    own_issuer: &Arc<str>,
    now: Timestamp,
) -> Result<UserToken, UserTokenError> {
    let Times { issued_at, expires_at, .. } = times(claims, now)?;
    let mapping = config.mapping();
    let subject = mapping.subject(claims, config)?.into_owned();
    let named = named_client(claims, kind)?;
    let audiences = audiences(claims, kind, named)?;
    let client = match (kind, audiences.as_slice()) {
        // OpenID Connect Core §2: an ID token without `azp` is its audience's.
        (UserTokenKind::IdToken, [sole]) => named.or(Some(sole.as_str())),
        (UserTokenKind::IdToken | UserTokenKind::AccessToken, _) => named,
    };
    refuse_unfit(claims, kind, mapping, client)?;
    let client = client.map(str::to_owned);
    let party = Party {
        kind,
        audiences,
        may_act: claims.get("may_act").map(may_act).transpose()?,
        config: Arc::clone(config),
        own_issuer: Arc::clone(own_issuer),
    };
    let user = Represented {
        id: UserId { issuer: config.issuer.clone(), subject },
        groups: groups::read(claims, config)?,
        session: text(claims, "sid", TEXT_MAX_BYTES)?.map(str::to_owned),
        client,
        since: Some(issued_at),
    };
    let grant = UserGrant {
        digest: Digest::of(token.as_bytes()).to_string(),
        jti: mapping.token_id(claims)?.map(str::to_owned),
        auth_time: moment(claims, "auth_time")?,
        acr: text(claims, "acr", TEXT_MAX_BYTES)?.map(str::to_owned),
    };
    Ok(UserToken { user, grant, issued_at, expires_at, party })
}

/// The client that the token was issued to, as far as a claim names it.
fn named_client(claims: &Json, kind: UserTokenKind) -> Result<Option<&str>, UserTokenError> {
    let names: &[&'static str] = match kind {
        // OpenID Connect Core §2: "the Client ID of this party". No other claim of an ID token says it.
        UserTokenKind::IdToken => &["azp"],
        UserTokenKind::AccessToken => &CLIENT_CLAIMS,
    };
    let claim = |name: &&'static str| text(claims, name, NAME_MAX_BYTES).transpose();
    names.iter().find_map(claim).transpose()
}

/// When a token is good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) issued_at: Timestamp,
    pub(crate) valid_from: Timestamp,
    pub(crate) expires_at: Timestamp,
}

impl Times {
    /// OpenID Connect Core §2 and RFC 9068 §2.2: `exp` and `iat` are REQUIRED.
    pub(crate) fn read(claims: &Json) -> Result<Self, UserTokenError> {
        let required = |name| moment(claims, name)?.ok_or(malformed(name, "is required"));
        let (issued_at, expires_at) = (required("iat")?, required("exp")?);
        let valid_from = moment(claims, "nbf")?.unwrap_or(issued_at).max(issued_at);
        Ok(Self { issued_at, valid_from, expires_at })
    }

    /// As we see them: the clock of an issuer that is ahead of ours makes nothing younger than now, or an order up to now
    /// would not reach it.
    pub(crate) fn seen_at(self, now: Timestamp) -> Self {
        Self { issued_at: self.issued_at.min(now), ..self }
    }

    /// Whether it is good now, and for how much longer than it says.
    pub(crate) fn check(&self, now: Timestamp, leeway: Duration) -> Result<(), UserTokenError> {
        // RFC 7519 §4.1.4: "on or after which the JWT MUST NOT be accepted"; a "small leeway" is allowed.
        if now >= self.expires_at.plus(leeway) {
            return Err(UserTokenError::Expired);
        }
        if self.valid_from > now.plus(LEEWAY) {
            return Err(UserTokenError::NotYetValid);
        }
        Ok(())
    }
}

fn times(claims: &Json, now: Timestamp) -> Result<Times, UserTokenError> {
    let times = Times::read(claims)?;
    times.check(now, LEEWAY)?;
    Ok(times)
}

/// Tokens that are good, and good for something else than to say who the user is.
fn refuse_unfit(
    claims: &Json,
    kind: UserTokenKind,
    mapping: &Mapping,
    client: Option<&str>,
) -> Result<(), UserTokenError> {
    // RFC 7800 §3, RFC 9449 §7.1: without the proof it is in the hands of somebody who may have stolen it.
    if claims.get("cnf").is_some() {
        return Err(UserTokenError::KeyBound);
    }
    if claims.get("act").is_some() {
        return Err(UserTokenError::Delegated);
    }
    // A login is a human's. That of an ID token is told from a client's own token by what all issuers have in common.
    let mapping = match kind {
        UserTokenKind::IdToken => &Mapping::Standard,
        UserTokenKind::AccessToken => mapping,
    };
    match mapping.standing(claims, client)? {
        Standing::Human => Ok(()),
        Standing::Alone => Err(UserTokenError::NotAUser),
    }
}

/// Whether a client asked for it in its own name. As a user's token it would make the agent a human.
pub(super) fn is_of_a_client(claims: &Json, subject: &str, client: Option<&str>) -> bool {
    let claim = |name| claims.get(name).and_then(Json::as_str);
    let is_clients = |client: &str| {
        // RFC 9068 §2.2: then `sub` "SHOULD correspond to an identifier the authorization server uses to indicate the
        // client application".
        subject == client
            // Auth0, whose tokens by RFC 9068 have no `gty`.
            || subject.strip_suffix("@clients") == Some(client)
            // Keycloak's service accounts, whose `sub` is made up; it lower-cases their names.
            || claim("preferred_username") == Some(&format!("service-account-{}", client.to_lowercase()))
    };
    // Entra and Auth0 say it in a claim of their own.
    claim("idtyp") == Some("app")
        || claim("gty") == Some("client-credentials")
        || CLIENT_CLAIMS.into_iter().filter_map(claim).chain(client).any(is_clients)
}

/// The audiences; RFC 7519 §4.1.3: a string or an array of strings.
pub(crate) fn audiences(
    claims: &Json,
    kind: UserTokenKind,
    client: Option<&str>,
) -> Result<Vec<String>, UserTokenError> {
    let fault = || malformed("aud", "must be a text or an array of 1 to 32 texts, at most 2048 bytes each");
    let found = match claims.get("aud") {
        // Keycloak leaves it out of an access token that no audience was mapped into. Its `azp` then has to do.
        None if kind == UserTokenKind::AccessToken && client.is_some() => return Ok(Vec::new()),
        None => return Err(fault()),
        Some(Json::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if found.is_empty() || found.len() > AUDIENCES_MAX {
        return Err(fault());
    }
    // OpenID Connect Core §3.1.3.7, 4: with several audiences, "the Client SHOULD verify that an azp Claim is present".
    // We insist: nothing else says which of them the user has logged in at.
    if kind == UserTokenKind::IdToken && found.len() > 1 && claims.get("azp").is_none() {
        return Err(malformed("azp", "is required in an ID token with several audiences"));
    }
    found.iter().map(|item| checked(item, NAME_MAX_BYTES).map(str::to_owned).ok_or_else(fault)).collect()
}

/// RFC 8693 §4.4: an object that identifies who may act.
fn may_act(value: &Json) -> Result<MayAct, UserTokenError> {
    let fault =
        || malformed("may_act", "must be an object whose `sub` and `iss` are texts, `sub` being required");
    let member =
        |name| value.get(name).map(|item| checked(item, NAME_MAX_BYTES).ok_or_else(fault)).transpose();
    Ok(MayAct {
        subject: member("sub")?.ok_or_else(fault)?.to_owned(),
        issuer: member("iss")?.map(str::to_owned),
    })
}

pub(crate) fn text<'a>(
    claims: &'a Json,
    name: &'static str,
    max: usize,
) -> Result<Option<&'a str>, UserTokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let fault = malformed(name, "must be a text of bounded length without control characters");
    checked(value, max).map(Some).ok_or(fault)
}

/// These texts come to stand in logs, records and tokens of ours.
fn checked(value: &Json, max: usize) -> Option<&str> {
    let is_good = |text: &&str| (1..=max).contains(&text.len()) && !text.chars().any(char::is_control);
    value.as_str().filter(is_good)
}

/// RFC 7519 §2: a NumericDate may have a fraction; it is cut off.
fn moment(claims: &Json, name: &'static str) -> Result<Option<Timestamp>, UserTokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = |text: &str| {
        text.split_once('.').and_then(|(whole, rest)| is_digits(rest).then(|| whole.parse().ok())?)
    };
    let seconds = match value {
        Json::Number(number) => number.as_i64().or_else(|| whole(number.as_str())),
        Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => None,
    };
    let seconds = seconds.filter(|seconds| (0..=SECONDS_MAX).contains(seconds));
    seconds
        .map(|seconds| Some(Timestamp::from_seconds(seconds)))
        .ok_or(malformed(name, "must be a time in seconds"))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

pub(crate) fn malformed(what: &'static str, rule: &'static str) -> UserTokenError {
    UserTokenError::Malformed(Malformed { what, rule })
}
