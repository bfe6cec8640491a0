//! Which claims of an issuer's tokens say who is meant: its client, its user, and whether there is a user at all.

use std::{borrow::Cow, collections::BTreeMap};

use vestibule_model::json::Json;

use super::{
    UserIssuerConfig, UserTokenError,
    claims::{CLIENT_CLAIMS, NAME_MAX_BYTES, TEXT_MAX_BYTES, is_of_a_client, malformed, text},
    groups,
};

/// Agent identity and agent's user, among the facets of Entra Agent ID.
const FACET_AGENT: &str = "11";
const FACET_AGENT_USER: &str = "13";
/// What divides the parts of a user's name that is made of several claims.
const PART_SEPARATOR: char = '/';

/// How the tokens of an issuer are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mapping {
    /// RFC 9068: `client_id` or `azp`, and `sub`. No user where the subject is the client.
    #[default]
    Standard,
    /// Keycloak: `azp` and `sub`. No user where the subject is the client's service account.
    Keycloak,
    /// Entra: `azp` or `appid`, and `oid` in the tenant of the issuer. `idtyp` and the facets say whether there is a user.
    Entra,
    /// Whatever the operator says.
    Claims(ClaimNames),
}

/// The claims, each a name or a JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimNames {
    /// The client that the token was issued to.
    pub agent: String,
    /// One to three that name the user together.
    pub user: Vec<String>,
    /// There is no user in a token in which one of these has this value.
    pub alone: BTreeMap<String, String>,
    /// The identifier of the token.
    pub token_id: String,
}

/// For whom a token was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Human,
    /// To a client for itself.
    Alone,
}

impl Mapping {
    /// The client that an access token was issued to. Two claims that name two clients name none.
    pub(crate) fn client<'a>(&self, claims: &'a Json) -> Result<&'a str, UserTokenError> {
        let names: &[&'static str] = match self {
            Self::Claims(names) => {
                return pointed(claims, &names.agent, "the claim of the agent", NAME_MAX_BYTES);
            }
            Self::Standard => &CLIENT_CLAIMS,
            Self::Keycloak => &["azp"],
            Self::Entra => &["azp", "appid"],
        };
        let mut found = names.iter().filter_map(|name| text(claims, name, NAME_MAX_BYTES).transpose());
        let client =
            found.next().unwrap_or(Err(malformed("azp", "or another claim must name the client")))?;
        let others = CLIENT_CLAIMS.into_iter().filter_map(|name| claims.get(name));
        if others.into_iter().any(|other| other.as_str() != Some(client)) {
            return Err(malformed("client_id", "must not contradict another claim that names the client"));
        }
        Ok(client)
    }

    /// The user's name at the issuer. Of a token without a user it means nothing.
    pub(crate) fn subject<'a>(
        &self,
        claims: &'a Json,
        config: &UserIssuerConfig,
    ) -> Result<Cow<'a, str>, UserTokenError> {
        let subject: Cow<'a, str> = match self {
            Self::Standard | Self::Keycloak => sub(claims)?.into(),
            Self::Entra => {
                // `sub` is another one for each application; `oid` is the same, and unique within `tid`.
                let tenant = text(claims, "tid", TEXT_MAX_BYTES)?;
                if tenant.is_none_or(|tenant| config.issuer.split('/').all(|part| part != tenant)) {
                    return Err(malformed("tid", "must be the tenant of the issuer"));
                }
                let subject = text(claims, "oid", TEXT_MAX_BYTES)?;
                subject.ok_or(malformed("oid", "must name the user"))?.into()
            }
            Self::Claims(names) => match names.user.as_slice() {
                [only] => pointed(claims, only, "the claim of the user", TEXT_MAX_BYTES)?.into(),
                several => joined(claims, several)?.into(),
            },
        };
        if subject.is_ascii() {
            Ok(subject)
        } else {
            Err(malformed("sub", "or what stands for it must be 1 to 255 ASCII characters"))
        }
    }

    /// Whether a human stands behind an access token of `client`. What does not say so, in one way or the other, is
    /// refused: a machine must not become a human, nor a human drop out of the decision.
    pub(crate) fn standing(&self, claims: &Json, client: Option<&str>) -> Result<Standing, UserTokenError> {
        let unclear = malformed("the token", "must say whether it was issued for a human");
        let is_known_alone = || Ok(is_of_a_client(claims, sub(claims)?, client));
        match self {
            Self::Standard => Ok(if is_known_alone()? { Standing::Alone } else { Standing::Human }),
            Self::Keycloak if is_known_alone()? => Ok(Standing::Alone),
            // Every login has a session there, and a service account none, whatever else is mapped into the token; its
            // own scope tells its client in `client_id`.
            Self::Keycloak => match (claims.get("sid"), claims.get("client_id")) {
                (Some(_), _) => Ok(Standing::Human),
                (None, Some(_)) => Ok(Standing::Alone),
                (None, None) => Err(unclear),
            },
            Self::Entra => entra(claims).ok_or(unclear),
            Self::Claims(names) => {
                let is = |(name, value): (&String, &String)| {
                    groups::find(claims, name).and_then(Json::as_str) == Some(value)
                };
                let is_alone = names.alone.iter().any(is) || has_sub_of_client(claims, client);
                Ok(if is_alone { Standing::Alone } else { Standing::Human })
            }
        }
    }

    /// The identifier of the token, if it has one.
    pub(crate) fn token_id<'a>(&self, claims: &'a Json) -> Result<Option<&'a str>, UserTokenError> {
        let id = |name| text(claims, name, TEXT_MAX_BYTES);
        match self {
            Self::Standard | Self::Keycloak => id("jti"),
            // Entra's own name for it.
            Self::Entra => Ok(id("uti")?.or(id("jti")?)),
            Self::Claims(names) if groups::find(claims, &names.token_id).is_none() => Ok(None),
            Self::Claims(names) => {
                pointed(claims, &names.token_id, "the claim of the token's identifier", TEXT_MAX_BYTES)
                    .map(Some)
            }
        }
    }

    /// Whether claims mark an access token that its header does not: Entra says in each how the client authenticated.
    pub(crate) fn marks_access(&self, claims: &Json) -> bool {
        *self == Self::Entra && ["azpacr", "appidacr"].iter().any(|name| claims.get(name).is_some())
    }
}

fn sub(claims: &Json) -> Result<&str, UserTokenError> {
    let subject = text(claims, "sub", TEXT_MAX_BYTES)?.filter(|subject| subject.is_ascii());
    subject.ok_or(malformed("sub", "must be 1 to 255 ASCII characters"))
}

/// Whatever the operator names the claims, these say that a machine is meant.
fn has_sub_of_client(claims: &Json, client: Option<&str>) -> bool {
    sub(claims).is_ok_and(|subject| is_of_a_client(claims, subject, client))
}

/// `idtyp` says it where it is asked for; else only a delegated token has scopes, and the subject of an application's
/// own is itself.
fn entra(claims: &Json) -> Option<Standing> {
    let claim = |name| claims.get(name).and_then(Json::as_str);
    // An agent's own account is a user to Entra, and no human.
    if has_facet(claims, "xms_sub_fct", FACET_AGENT) || has_facet(claims, "xms_sub_fct", FACET_AGENT_USER) {
        return Some(Standing::Alone);
    }
    match claims.get("idtyp").map(Json::as_str) {
        Some(Some("user")) => Some(Standing::Human),
        Some(Some("app")) => Some(Standing::Alone),
        Some(_) => None,
        None if claim("scp").is_some_and(|scopes| !matches!(scopes.trim(), "" | "/")) => {
            Some(Standing::Human)
        }
        None if claim("oid").is_some() && claim("oid") == claim("sub") => Some(Standing::Alone),
        None => None,
    }
}

/// Facets are numbers separated by spaces, in any order, of which we know some.
fn has_facet(claims: &Json, name: &str, facet: &str) -> bool {
    claims.get(name).and_then(Json::as_str).is_some_and(|facets| facets.split(' ').any(|one| one == facet))
}

/// Whether Entra says that the client is an agent identity. It gives nothing.
pub(crate) fn is_agent_identity(claims: &Json) -> bool {
    has_facet(claims, "xms_act_fct", FACET_AGENT)
}

/// A claim by name or pointer that must be there.
fn pointed<'a>(
    claims: &'a Json,
    name: &str,
    what: &'static str,
    max: usize,
) -> Result<&'a str, UserTokenError> {
    let found = groups::find(claims, name).and_then(Json::as_str);
    let is_good = |text: &&str| (1..=max).contains(&text.len()) && !text.chars().any(char::is_control);
    found
        .filter(is_good)
        .ok_or(malformed(what, "must be a text of bounded length without control characters"))
}

fn joined(claims: &Json, names: &[String]) -> Result<String, UserTokenError> {
    let mut parts = Vec::with_capacity(names.len());
    for name in names {
        let part = pointed(claims, name, "a claim of the user", TEXT_MAX_BYTES)?;
        // Else two users could come to one name.
        if part.contains(PART_SEPARATOR) {
            return Err(malformed("a claim of the user", "must have no `/` where several name the user"));
        }
        parts.push(part);
    }
    let name = parts.join("/");
    if name.len() > TEXT_MAX_BYTES {
        return Err(malformed("the claims of the user", "must be at most 255 bytes long together"));
    }
    Ok(name)
}
