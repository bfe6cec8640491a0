//! What we tell authorization servers about users and agents: JWTs that our issuer signs, and that the server must have
//! been told to believe.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use serde_json::{Map, Value, json};
use vestibule_inbound::on_behalf;
use vestibule_model::{Actor, Clock, Entropy, Fault, Jti, UserId};

use crate::Signer;

/// RFC 7523 §3: it is used at once.
const LIFE: Duration = Duration::from_secs(60);
/// RFC 7523 and RFC 8693 ask for no other.
const TYPE: &str = "JWT";

/// Signs what we vouch for.
#[derive(Debug, Clone)]
pub(super) struct Vouching {
    pub(super) signer: Arc<dyn Signer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

impl Vouching {
    /// That these agents, the root first, act for that user; or, without one, that the others act for the first.
    pub(super) fn subject(
        &self,
        user: Option<&UserId>,
        agents: &[Actor],
        audience: &str,
    ) -> Result<SecretString, Fault> {
        let agents: Vec<_> = agents.iter().map(|actor| (&*actor.issuer, &actor.agent)).collect();
        let mut claims = on_behalf(user, &agents);
        // Of a client at the server none of them is the identifier.
        claims.remove("client_id");
        self.sign(claims, audience)
    }

    /// That this agent acts now.
    pub(super) fn actor(&self, actor: &Actor, audience: &str) -> Result<SecretString, Fault> {
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), json!(actor.agent));
        self.sign(claims, audience)
    }

    fn sign(&self, mut claims: Map<String, Value>, audience: &str) -> Result<SecretString, Fault> {
        let now = self.clock.now();
        for (name, value) in [
            ("iss", json!(self.signer.issuer())),
            ("aud", json!(audience)),
            ("iat", json!(now.seconds())),
            ("exp", json!(now.plus(LIFE).seconds())),
            ("jti", json!(Jti::random(&*self.entropy))),
        ] {
            claims.insert(name.to_owned(), value);
        }
        self.signer.sign(TYPE, &Value::Object(claims))
    }
}
