//! Session identifiers that only their owner can use.
//!
//! MCP 2025-11-25 security, "Session Hijacking": sessions are bound to the user and are never authentication. Here the
//! upstream's identifier is sealed with the agent and the human who may use it, not with a token's bytes: those change
//! every two minutes. Another caller who learns a sealed identifier gets nothing, and neither does the same identifier
//! handed out by another application. Nothing is stored, so nothing is lost at a restart and gateways share nothing but
//! the key. The seal hides nothing; it is integrity alone.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use vestibule_model::{AgentId, AppId, Denial, Fault, FaultKind, UserId};

/// The longest session identifier of an upstream, in bytes.
pub const UPSTREAM_MAX_BYTES: usize = 1024;

/// Whom a session belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The agent that opened it.
    pub agent: &'a AgentId,
    /// The human it acted for.
    pub user: Option<&'a UserId>,
}

/// Seals and opens session identifiers.
pub struct SessionSeal {
    key: hmac::Key,
}

impl fmt::Debug for SessionSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSeal")
    }
}

impl SessionSeal {
    /// A seal with that key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// What the caller gets in place of the upstream's identifier: visible ASCII, at most 1,410 bytes.
    ///
    /// # Errors
    /// [`FaultKind::UpstreamInvalid`] when the upstream's identifier is not visible ASCII (0x21 to 0x7E, as the protocol
    /// demands) or is longer than [`UPSTREAM_MAX_BYTES`].
    pub fn seal(&self, upstream_id: &str, owner: &Owner<'_>, app: &AppId) -> Result<String, Fault> {
        if !is_upstream_id(upstream_id) {
            return Err(Fault::new(FaultKind::UpstreamInvalid, "the session identifier is malformed"));
        }
        let tag = hmac::sign(&self.key, &message(upstream_id, owner, app));
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(upstream_id), URL_SAFE_NO_PAD.encode(tag)))
    }

    /// The upstream's identifier, if this caller may use it at this application.
    ///
    /// # Errors
    /// [`Denial::SessionUnknown`], whatever is wrong: 404, and the client opens a new session.
    pub fn open(&self, sealed: &str, owner: &Owner<'_>, app: &AppId) -> Result<String, Denial> {
        self.unseal(sealed, owner, app).ok_or(Denial::SessionUnknown)
    }

    fn unseal(&self, sealed: &str, owner: &Owner<'_>, app: &AppId) -> Option<String> {
        if sealed.len() > UPSTREAM_MAX_BYTES * 2 {
            return None;
        }
        let (id, tag) = sealed.split_once('.')?;
        let id = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        // In constant time.
        hmac::verify(&self.key, &message(&id, owner, app), &tag).ok()?;
        Some(id)
    }
}

fn is_upstream_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= UPSTREAM_MAX_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Every part with its length before it, so that no two owners make the same message.
fn message(upstream_id: &str, owner: &Owner<'_>, app: &AppId) -> Vec<u8> {
    let has_user = if owner.user.is_some() { "user" } else { "no user" };
    let (issuer, subject) = owner.user.map_or(("", ""), |user| (user.issuer.as_str(), user.subject.as_str()));
    let mut out = b"vestibule mcp session v1\0".to_vec();
    for part in [app.as_str(), owner.agent.as_str(), has_user, issuer, subject, upstream_id] {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal() -> SessionSeal {
        SessionSeal::new(&[7; 32])
    }

    fn app(id: &str) -> AppId {
        AppId::new(id).unwrap()
    }

    fn agent(id: &str) -> AgentId {
        AgentId::new(id).unwrap()
    }

    fn user(subject: &str) -> UserId {
        UserId { issuer: "https://idp".into(), subject: subject.into() }
    }

    #[test]
    fn only_the_owner_at_the_same_application_opens_it() {
        let (alice, bob, carol, dave) = (agent("alice"), agent("bob"), user("carol"), user("dave"));
        let owner = Owner { agent: &alice, user: Some(&carol) };
        let sealed = seal().seal("upstream-1", &owner, &app("github")).unwrap();
        assert_eq!(seal().open(&sealed, &owner, &app("github")), Ok("upstream-1".into()));
        for stranger in [
            Owner { agent: &bob, user: Some(&carol) },
            Owner { agent: &alice, user: Some(&dave) },
            Owner { agent: &alice, user: None },
        ] {
            let opened = seal().open(&sealed, &stranger, &app("github"));
            assert_eq!(opened, Err(Denial::SessionUnknown), "{stranger:?}");
        }
        assert_eq!(seal().open(&sealed, &owner, &app("jira")), Err(Denial::SessionUnknown));
        let other_key = SessionSeal::new(&[8; 32]).open(&sealed, &owner, &app("github"));
        assert_eq!(other_key, Err(Denial::SessionUnknown));
    }

    #[test]
    fn parts_of_the_owner_do_not_run_into_each_other() {
        let (alic, alice) = (agent("alic"), agent("alice"));
        let sealed = seal().seal("upstream-1", &Owner { agent: &alice, user: None }, &app("github")).unwrap();
        let (_, tag) = sealed.split_once('.').unwrap();
        let moved = format!("{}.{tag}", URL_SAFE_NO_PAD.encode("eupstream-1"));
        let opened = seal().open(&moved, &Owner { agent: &alic, user: None }, &app("github"));
        assert_eq!(opened, Err(Denial::SessionUnknown));
    }

    #[test]
    fn an_identifier_that_breaks_the_protocol_is_not_sealed() {
        let alice = agent("alice");
        for id in ["", "a b", "a\r\nset-cookie: x", "é", &"x".repeat(UPSTREAM_MAX_BYTES + 1)] {
            let sealed = seal().seal(id, &Owner { agent: &alice, user: None }, &app("a"));
            assert_eq!(sealed.unwrap_err().kind, FaultKind::UpstreamInvalid, "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_is_visible_ascii(id in "[!-~]{1,1024}") {
            let alice = agent("alice");
            let owner = Owner { agent: &alice, user: None };
            let sealed = seal().seal(&id, &owner, &app("a")).unwrap();
            prop_assert!(sealed.len() <= 1410 && sealed.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(seal().open(&sealed, &owner, &app("a")), Ok(id));
        }

        #[test]
        fn a_changed_byte_does_not_open(
            id in "[!-~]{1,40}",
            at in any::<prop::sample::Index>(),
            byte in 0x21u8..0x7f,
        ) {
            let alice = agent("alice");
            let owner = Owner { agent: &alice, user: None };
            let mut sealed = seal().seal(&id, &owner, &app("a")).unwrap().into_bytes();
            let at = at.index(sealed.len());
            prop_assume!(sealed[at] != byte);
            sealed[at] = byte;
            let changed = String::from_utf8(sealed).unwrap();
            prop_assert_eq!(seal().open(&changed, &owner, &app("a")), Err(Denial::SessionUnknown));
        }

        #[test]
        fn opening_anything_never_panics(text in "\\PC{0,200}") {
            let alice = agent("alice");
            let _ = seal().open(&text, &Owner { agent: &alice, user: None }, &app("a"));
        }
    }
}
