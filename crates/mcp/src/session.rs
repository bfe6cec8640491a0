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
use vestibule_model::AppId;

/// The longest session identifier of an upstream, in bytes.
pub const UPSTREAM_MAX_BYTES: usize = 1024;

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
    /// `principal` names the agent and the human it acts for, so that no two pairs have the same text. None when the
    /// upstream's identifier is not visible ASCII (0x21 to 0x7E, as the protocol demands) or is longer than
    /// [`UPSTREAM_MAX_BYTES`].
    #[must_use]
    pub fn seal(&self, upstream_id: &str, principal: &str, app: &AppId) -> Option<String> {
        if !is_upstream_id(upstream_id) {
            return None;
        }
        let tag = hmac::sign(&self.key, &message(upstream_id, principal, app));
        Some(format!("{}.{}", URL_SAFE_NO_PAD.encode(upstream_id), URL_SAFE_NO_PAD.encode(tag)))
    }

    /// The upstream's identifier, if this principal may use it at this application. None, whatever is wrong, is
    /// `Denial::SessionUnknown`: 404, and the client opens a new session.
    #[must_use]
    pub fn open(&self, sealed: &str, principal: &str, app: &AppId) -> Option<String> {
        if sealed.len() > UPSTREAM_MAX_BYTES * 2 {
            return None;
        }
        let (id, tag) = sealed.split_once('.')?;
        let id = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        // In constant time.
        hmac::verify(&self.key, &message(&id, principal, app), &tag).ok()?;
        Some(id)
    }
}

fn is_upstream_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= UPSTREAM_MAX_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Every part with its length before it, so that no two owners make the same message.
fn message(upstream_id: &str, principal: &str, app: &AppId) -> Vec<u8> {
    let mut out = b"vestibule mcp session v1\0".to_vec();
    for part in [app.as_str(), principal, upstream_id] {
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

    #[test]
    fn only_the_owner_at_the_same_application_opens_it() {
        let sealed = seal().seal("upstream-1", "alice for carol", &app("github")).unwrap();
        assert_eq!(seal().open(&sealed, "alice for carol", &app("github")), Some("upstream-1".into()));
        assert_eq!(seal().open(&sealed, "bob for carol", &app("github")), None);
        assert_eq!(seal().open(&sealed, "alice for carol", &app("jira")), None);
        assert_eq!(SessionSeal::new(&[8; 32]).open(&sealed, "alice for carol", &app("github")), None);
    }

    #[test]
    fn parts_of_the_owner_do_not_run_into_each_other() {
        let sealed = seal().seal("upstream-1", "alice", &app("github")).unwrap();
        let (_, tag) = sealed.split_once('.').unwrap();
        let moved = format!("{}.{tag}", URL_SAFE_NO_PAD.encode("eupstream-1"));
        assert_eq!(seal().open(&moved, "alic", &app("github")), None);
    }

    #[test]
    fn an_identifier_that_breaks_the_protocol_is_not_sealed() {
        for id in ["", "a b", "a\r\nset-cookie: x", "é", &"x".repeat(UPSTREAM_MAX_BYTES + 1)] {
            assert_eq!(seal().seal(id, "alice", &app("a")), None, "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_is_visible_ascii(id in "[!-~]{1,1024}") {
            let sealed = seal().seal(&id, "alice", &app("a")).unwrap();
            prop_assert!(sealed.len() <= 1410 && sealed.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(seal().open(&sealed, "alice", &app("a")), Some(id));
        }

        #[test]
        fn a_changed_byte_does_not_open(id in "[!-~]{1,40}", at in any::<prop::sample::Index>(), byte in 0x21u8..0x7f) {
            let mut sealed = seal().seal(&id, "alice", &app("a")).unwrap().into_bytes();
            let at = at.index(sealed.len());
            prop_assume!(sealed[at] != byte);
            sealed[at] = byte;
            let changed = String::from_utf8(sealed).unwrap();
            prop_assert_eq!(seal().open(&changed, "alice", &app("a")), None);
        }

        #[test]
        fn opening_anything_never_panics(text in "\\PC{0,200}") {
            let _ = seal().open(&text, "alice", &app("a"));
        }
    }
}
