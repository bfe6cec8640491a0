use std::collections::HashSet;

use vestibule_inbound::{
    ACCESS_TOKEN_TYPE, CALL_TOKEN_TYPE,
    jws::{Algorithm, Profile, Unverified},
    users::UserTokenKind,
};
use vestibule_model::json::Json;

use crate::Reason;

/// The parameters of a request, each at most once.
#[derive(Clone, Copy)]
pub(crate) struct Form<'a>(&'a [(String, String)]);

/// RFC 8707 §2 lets this one repeat; how many are taken is the grant's to say.
const RESOURCE: &str = "resource";

/// RFC 8693 §3.
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// What is exchanged for what (RFC 8693 §2.1), as the types in the request say.
pub(crate) struct Exchange<'a> {
    pub(crate) subject: Subject<'a>,
    /// The type of the token that is asked for: what `issued_token_type` answers.
    pub(crate) issued: &'static str,
}

/// The subject token, in the place that its type gives it. Whether it is what it is taken for is checked there.
pub(crate) enum Subject<'a> {
    /// A human's, of an outside issuer: the agent asks for a root that acts for them.
    User { token: &'a str, kind: UserTokenKind },
    /// A hop token of ours, and the child that is to act under it.
    Spawn { token: &'a str, actor: &'a str },
    /// A hop token of ours, to be had again.
    Again { token: &'a str },
    /// What an agent was called with.
    Invoked { token: &'a str },
}

impl<'a> Form<'a> {
    /// RFC 6749 §3.2: parameters "MUST NOT be included more than once". Two readers could each choose another one.
    pub(crate) fn read(pairs: &'a [(String, String)]) -> Result<Self, Reason> {
        let mut seen = HashSet::new();
        let is_single = pairs.iter().all(|(name, _)| name == RESOURCE || seen.insert(name));
        if is_single { Ok(Self(pairs)) } else { Err(Reason::RequestMalformed) }
    }

    /// RFC 6749 §3.2: without a value is "as if they were omitted".
    pub(crate) fn get(self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(crate) fn resources(self) -> Vec<&'a str> {
        self.0
            .iter()
            .filter(|(key, value)| key == RESOURCE && !value.is_empty())
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The parameters of a token exchange at the issuer `own`.
    pub(crate) fn exchange(self, own: &str) -> Result<Exchange<'a>, Reason> {
        let issued = match self.get("requested_token_type") {
            None | Some(ACCESS_TOKEN) => ACCESS_TOKEN,
            Some(JWT) => JWT,
            Some(_) => return Err(Reason::RequestedTypeUnsupported),
        };
        if self.get("audience").is_some() {
            return Err(Reason::AudienceRefused);
        }
        // RFC 8693 §2.1: both are REQUIRED.
        let (Some(token), Some(kind)) = (self.get("subject_token"), self.get("subject_token_type")) else {
            return Err(Reason::SubjectTokenMissing);
        };
        let subject = match (kind, self.actor()?) {
            (ID_TOKEN, None) => Subject::User { token, kind: UserTokenKind::IdToken },
            (JWT, None) => Subject::Invoked { token },
            (ACCESS_TOKEN, actor) => match (names_issuer(token, own), actor) {
                (true, Some(actor)) => Subject::Spawn { token, actor },
                (true, None) => Subject::Again { token },
                (false, None) => Subject::User { token, kind: UserTokenKind::AccessToken },
                (false, Some(_)) => return Err(Reason::ActorTokenUnexpected),
            },
            (ID_TOKEN | JWT, Some(_)) => return Err(Reason::ActorTokenUnexpected),
            (_, _) => return Err(Reason::SubjectTypeUnsupported),
        };
        Ok(Exchange { subject, issued })
    }

    /// RFC 8693 §2.1: `actor_token_type` "is REQUIRED when the actor_token parameter is present in the request but MUST
    /// NOT be included otherwise".
    fn actor(self) -> Result<Option<&'a str>, Reason> {
        match (self.get("actor_token"), self.get("actor_token_type")) {
            (None, None) => Ok(None),
            (Some(token), Some(JWT)) => Ok(Some(token)),
            (Some(_), Some(_)) => Err(Reason::ActorTypeUnsupported),
            (Some(_), None) | (None, Some(_)) => Err(Reason::ActorTokenIncomplete),
        }
    }
}

/// Whether an access token says that `issuer` made it. Nothing of it is verified yet: it decides only who verifies it,
/// and a token that lies about its issuer fails there.
fn names_issuer(token: &str, issuer: &str) -> bool {
    const ANY: Profile = Profile {
        types: &[ACCESS_TOKEN_TYPE, CALL_TOKEN_TYPE, "jwt"],
        is_type_optional: true,
        algorithms: Algorithm::ALL,
    };
    let jws = Unverified::parse(token, &ANY);
    jws.is_ok_and(|jws| jws.unverified_claims().get("iss").and_then(Json::as_str) == Some(issuer))
}
