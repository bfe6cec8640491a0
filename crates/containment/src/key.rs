use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};
use vestibule_model::{AgentId, AppId, Denial, Foreign, Malformed, NodeId, Thumbprint, TokenId, UserId};

/// What kind of name is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// One token, by its `jti`; one of an outside issuer as `{issuer}#{jti}`.
    Token,
    /// An agent, wherever it stands in a chain.
    Agent,
    /// A node of the delegation tree, and with it everything below.
    Delegation,
    /// A human, as `{issuer}#{subject}`.
    User,
    /// A session of a human at their issuer, as `{issuer}#{sid}`.
    Session,
    /// A client of an outside issuer that obtained the user's token, as `{issuer}#{client}`.
    Client,
    /// A key of an agent, by its thumbprint (`jkt`).
    Credential,
    /// An application.
    App,
    /// Everything, as `*`.
    All,
}

impl KeyKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Token,
        Self::Agent,
        Self::Delegation,
        Self::User,
        Self::Session,
        Self::Client,
        Self::Credential,
        Self::App,
        Self::All,
    ];

    /// Its kebab-case text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Agent => "agent",
            Self::Delegation => "delegation",
            Self::User => "user",
            Self::Session => "session",
            Self::Client => "client",
            Self::Credential => "credential",
            Self::App => "app",
            Self::All => "all",
        }
    }

    /// The kind of that text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that can be revoked. Delegations are of our own issuer; an agent of that id is meant whichever issuer named it,
/// so an outside agent that borrows a revoked name is refused too. Shown as `{kind}/{id}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DenyKey {
    /// One token.
    Token(TokenId),
    /// An agent.
    Agent(AgentId),
    /// A node of the delegation tree.
    Delegation(NodeId),
    /// A human.
    User(UserId),
    /// A session of a human at their issuer.
    Session(Foreign),
    /// The client that obtained the user's token.
    Client(Foreign),
    /// A key of an agent of the chain.
    Credential(Thumbprint),
    /// An application.
    App(AppId),
    /// Everything.
    All,
}

impl DenyKey {
    /// The name of that kind.
    ///
    /// # Errors
    /// When `id` does not follow the grammar of its kind. It could then never match, and a revocation that stops
    /// nothing must not look like one that does.
    pub fn new(kind: KeyKind, id: &str) -> Result<Self, Malformed> {
        Ok(match kind {
            KeyKind::Token => Self::Token(TokenId::parse(id)?),
            KeyKind::Agent => Self::Agent(AgentId::new(id)?),
            KeyKind::Delegation => Self::Delegation(NodeId::parse(id)?),
            KeyKind::User => {
                let Foreign { issuer, name } = Foreign::parse(id)?;
                Self::User(UserId { issuer, subject: name })
            }
            KeyKind::Session => Self::Session(Foreign::parse(id)?),
            KeyKind::Client => Self::Client(Foreign::parse(id)?),
            KeyKind::Credential => Self::Credential(Thumbprint::parse(id)?),
            KeyKind::App => Self::App(AppId::new(id)?),
            KeyKind::All if id == "*" => Self::All,
            KeyKind::All => return Err(Malformed { what: "id of everything", rule: "must be `*`" }),
        })
    }

    /// From `{kind}/{id}`. An id may hold slashes of its own.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = Malformed { what: "deny key", rule: "must be a kind, a slash and an id" };
        let (kind, id) = text.split_once('/').ok_or_else(|| malformed.clone())?;
        Self::new(KeyKind::parse(kind).ok_or(malformed)?, id)
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Token(_) => KeyKind::Token,
            Self::Agent(_) => KeyKind::Agent,
            Self::Delegation(_) => KeyKind::Delegation,
            Self::User(_) => KeyKind::User,
            Self::Session(_) => KeyKind::Session,
            Self::Client(_) => KeyKind::Client,
            Self::Credential(_) => KeyKind::Credential,
            Self::App(_) => KeyKind::App,
            Self::All => KeyKind::All,
        }
    }

    /// Whether the name ends by itself: nobody can bear one a day after it was last given out, see
    /// [`Order::expires_at`](crate::Order::expires_at). How long a token of an outside issuer is good, that issuer says.
    pub(crate) fn is_short_lived(&self) -> bool {
        match self {
            Self::Token(token) => !token.is_foreign(),
            Self::Delegation(_) => true,
            Self::Agent(_)
            | Self::User(_)
            | Self::Session(_)
            | Self::Client(_)
            | Self::Credential(_)
            | Self::App(_)
            | Self::All => false,
        }
    }

    /// Its id, without the kind.
    #[must_use]
    pub fn id(&self) -> Cow<'_, str> {
        match self {
            Self::Token(jti) => jti.as_str().into(),
            Self::Agent(agent) => agent.as_str().into(),
            Self::Delegation(node) => node.as_str().into(),
            Self::User(user) => user.to_string().into(),
            Self::Session(foreign) | Self::Client(foreign) => foreign.to_string().into(),
            Self::Credential(key) => key.to_string().into(),
            Self::App(app) => app.as_str().into(),
            Self::All => "*".into(),
        }
    }

    /// How a request is refused that has this name on its path, when it is revoked.
    pub(crate) fn denial(&self) -> Denial {
        match self {
            Self::Token(_) => Denial::TokenRevoked,
            Self::Agent(_) => Denial::AgentRevoked,
            Self::Delegation(_) => Denial::DelegationRevoked,
            Self::User(_) => Denial::UserRevoked,
            Self::Session(_) => Denial::SessionRevoked,
            Self::Client(_) => Denial::ClientRevoked,
            Self::Credential(_) => Denial::CredentialRevoked,
            Self::App(_) => Denial::AppRevoked,
            Self::All => Denial::AllRevoked,
        }
    }
}

impl fmt::Display for DenyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.id())
    }
}

impl fmt::Debug for DenyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for DenyKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("DenyKey", 2)?;
        fields.serialize_field("kind", &self.kind())?;
        fields.serialize_field("id", &self.id())?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef";
    const JKT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

    #[test]
    fn a_key_is_found_by_what_it_prints() {
        for text in [
            &format!("token/{HEX}"),
            "token/https://idp.example/realms/a#onrtro:5b1e",
            &format!("delegation/{HEX}"),
            &format!("credential/{JKT}"),
            "agent/spiffe://d/a/b",
            "user/https://idp.example/a#al/ic#e é",
            "session/https://idp.example#s-1",
            "client/https://idp.example#c",
            "app/github",
            "all/*",
        ] {
            let key = DenyKey::parse(text).unwrap();
            assert_eq!(key.to_string(), text);
            assert_eq!(DenyKey::new(key.kind(), &key.id()).unwrap(), key);
        }
    }

    #[test]
    fn a_users_key_is_what_a_user_prints() {
        let user = UserId { issuer: "https://idp.example".to_owned(), subject: "alice".to_owned() };
        assert_eq!(DenyKey::new(KeyKind::User, &user.to_string()).unwrap(), DenyKey::User(user));
    }

    #[test]
    fn a_name_that_could_never_match_is_no_key() {
        let long = format!("user/https://idp#{}", "a".repeat(2048));
        for text in [
            "agent",
            "agent/",
            "user/alice",
            "user/#alice",
            "user/https://idp#",
            "user/https://i dp#alice",
            "session/https://idp#a\nb",
            &long,
            "token/short",
            "delegation/x",
            "credential/abc",
            "app/GitHub",
            "all/",
            "all/all",
            "trust-domain/d",
            "Agent/a",
            "agent/a b",
            "/a",
        ] {
            assert!(DenyKey::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_kind_is_found_by_its_text() {
        for kind in KeyKind::ALL {
            assert_eq!(KeyKind::parse(kind.as_str()), Some(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
