use std::{collections::BTreeSet, fmt};

use vestibule_model::json::Json;

use super::{AccessTokenType, UserTokenError};
use crate::{
    ACCESS_TOKEN_TYPE,
    jws::{Algorithm, Profile},
};

/// As what a user's token is presented: the `subject_token_type` of RFC 8693 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserTokenKind {
    /// `urn:ietf:params:oauth:token-type:id_token` (OpenID Connect Core §2): says who logged in, to one client.
    IdToken,
    /// `urn:ietf:params:oauth:token-type:access_token`: lets one client ask something in the user's name.
    AccessToken,
}

impl fmt::Display for UserTokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IdToken => "an ID token",
            Self::AccessToken => "an access token",
        })
    }
}

/// Whether the token itself says which kind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marked {
    /// By `typ` of its header, or by a claim that no other kind has.
    Yes,
    /// Not so.
    No,
}

// RFC 8725 §3.11: an allow-list by type. Logout tokens, security events, proofs, client assertions and our own tokens
// have types of their own and fall here.
const ID_TOKEN: Profile = Profile { types: &["JWT"], is_type_optional: true, algorithms: Algorithm::ALL };
const ACCESS_TOKEN: Profile =
    Profile { types: &[ACCESS_TOKEN_TYPE, "JWT"], is_type_optional: true, algorithms: Algorithm::ALL };

/// Claims by which some issuers mark the kind: Keycloak `typ`, Amazon Cognito `token_use`.
const MARKS: [Mark; 2] = [
    // Keycloak calls an access token that is bound to a key `DPoP`.
    Mark { claim: "typ", id: "ID", access: &["Bearer", "DPoP"] },
    Mark { claim: "token_use", id: "id", access: &["access"] },
];

struct Mark {
    claim: &'static str,
    id: &'static str,
    access: &'static [&'static str],
}

/// What ties an ID token to the login it came from (OpenID Connect Core §3.1.3.6, §3.3.2.11; FAPI `s_hash`). An access
/// token has no use for it.
const LOGIN_CLAIMS: [&str; 4] = ["nonce", "at_hash", "c_hash", "s_hash"];

/// What a human who logged in leaves in an ID token, whoever issued it (OpenID Connect Core §2, §5.1).
const HUMAN_CLAIMS: [&str; 8] =
    ["auth_time", "nonce", "acr", "amr", "sid", "preferred_username", "email", "name"];

/// Entra's access tokens say how the client authenticated, in version 1 and in version 2. Its ID tokens never do.
const CLIENT_AUTHENTICATION_CLAIMS: [&str; 2] = ["appidacr", "azpacr"];

/// RFC 8693 §4.2 and what Entra and Okta call it.
const SCOPE_CLAIMS: [&str; 2] = ["scope", "scp"];

impl UserTokenKind {
    pub(crate) fn profile(self) -> &'static Profile {
        match self {
            Self::IdToken => &ID_TOKEN,
            Self::AccessToken => &ACCESS_TOKEN,
        }
    }

    /// Whether the issuer's access tokens may have this `typ`. The profile, which has to do before the issuer is known,
    /// allows the types of all issuers.
    pub(crate) fn check_header(
        self,
        header: &Json,
        accepted: &BTreeSet<AccessTokenType>,
    ) -> Result<Marked, UserTokenError> {
        match self {
            Self::IdToken => Ok(Marked::No),
            Self::AccessToken => {
                let found = AccessTokenType::of(header.get("typ").and_then(Json::as_str));
                if !accepted.contains(&found) {
                    return Err(self.refused("its `typ` is not among the issuer's `access_token_types`"));
                }
                Ok(match found {
                    AccessTokenType::AtJwt => Marked::Yes,
                    AccessTokenType::Jwt => Marked::No,
                })
            }
        }
    }

    /// Whether the claims are those of this kind. Every mark of the kind that is there must be right. Without any, the
    /// two kinds are told apart by what they carry, as far as they can be: an ID token without `nonce` and hashes and an
    /// access token without `scope` may look alike, which is why a mere `JWT` is an access token only where the operator
    /// says so.
    pub(crate) fn check_claims(self, claims: &Json, marked: Marked) -> Result<(), UserTokenError> {
        // OpenID Connect Back-Channel Logout §2.4, RFC 8417 §2.2: older issuers send both without a type of their own.
        if claims.get("events").is_some() {
            return Err(self.refused("it reports an event"));
        }
        let mut is_marked = marked == Marked::Yes;
        for mark in &MARKS {
            let Some(found) = claims.get(mark.claim) else { continue };
            let right = match self {
                Self::IdToken => &[mark.id],
                Self::AccessToken => mark.access,
            };
            if found.as_str().is_none_or(|found| !right.contains(&found)) {
                return Err(self.refused("a claim says that it is another kind of token"));
            }
            is_marked = true;
        }
        if is_marked { Ok(()) } else { self.check_unmarked(claims) }
    }

    fn check_unmarked(self, claims: &Json) -> Result<(), UserTokenError> {
        let has = |names: &[&str]| names.iter().any(|name| claims.get(name).is_some());
        match self {
            Self::IdToken if has(&SCOPE_CLAIMS) => Err(self.refused("it has a scope")),
            Self::IdToken if has(&CLIENT_AUTHENTICATION_CLAIMS) => {
                Err(self.refused("it says how a client authenticated"))
            }
            // What Entra gives an application for itself: `roles` instead of a scope, the header of an ID token, and as
            // `sub` an identifier like a human's.
            Self::IdToken if has(&["roles"]) && !has(&HUMAN_CLAIMS) && !has(&LOGIN_CLAIMS) => {
                Err(self.refused("it has roles and nothing of a login"))
            }
            Self::AccessToken if has(&LOGIN_CLAIMS) => Err(self.refused("it has the claims of a login")),
            // RFC 9068 §2.2: `client_id` is REQUIRED, `scope` where one was asked for.
            Self::AccessToken if !has(&SCOPE_CLAIMS) && !has(&["client_id"]) => {
                Err(self.refused("it has neither a scope nor a client"))
            }
            Self::IdToken | Self::AccessToken => Ok(()),
        }
    }

    fn refused(self, why: &'static str) -> UserTokenError {
        UserTokenError::WrongType { wanted: self, why }
    }
}
