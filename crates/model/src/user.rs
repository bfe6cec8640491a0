use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The human an agent acts for. Both parts count: the same subject at two issuers is two people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserId {
    /// The issuer that vouches for the subject.
    pub issuer: String,
    /// The subject at that issuer.
    pub subject: String,
}

/// `{issuer}#{subject}`: an issuer has no fragment (RFC 8414 §2), so `#` separates without doubt. How policies name a
/// user, and how one is revoked.
impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.issuer, self.subject)
    }
}

/// The human as a delegation carries them: who, and by which session and client of their issuer they can be cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Represented {
    /// Who.
    pub id: UserId,
    /// The groups that policies name as `UserGroup::"…"`, as the issuer said and the configuration mapped.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// The session at the issuer (`sid`), if it names sessions.
    #[serde(default)]
    pub session: Option<String>,
    /// The client of the issuer that obtained the user's token. Of an ID token `azp`, else its only audience; of an
    /// access token the first of `azp`, `client_id`, `cid` (Okta) and `appid` (Entra).
    #[serde(default)]
    pub client: Option<String>,
    /// When the user's token was issued. Whatever rests on it is as old as it is, however new the delegation: a cutoff
    /// of the user, the session or the client that reaches this moment kills it. Unknown of what was stored before this
    /// was kept.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// The user's token on which a root delegation rests: widening needs a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserGrant {
    /// SHA-256 of the token's bytes, in hexadecimal: the same token leads to the same root.
    pub digest: String,
    /// Its `jti`, if it has one.
    #[serde(default)]
    pub jti: Option<String>,
    /// When the user logged in (`auth_time`).
    #[serde(default)]
    pub auth_time: Option<Timestamp>,
    /// How (`acr`).
    #[serde(default)]
    pub acr: Option<String>,
}
