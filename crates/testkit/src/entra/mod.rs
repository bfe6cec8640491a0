//! Microsoft Entra as far as agents' tokens go, strict: what its documentation does not show is refused, in the shape
//! that its documentation gives errors. The real one is more lenient in places; a client that passes here sends what
//! the documentation says, to the letter.
//!
//! Its rules are those of learn.microsoft.com/entra, each cited where it is enforced:
//! `agent-id/identity-platform/agent-on-behalf-of-oauth-flow` ("OBO page"), `…/agent-autonomous-app-oauth-flow`
//! ("autonomous page"), `…/agent-token-claims` ("claims page"), `identity-platform/certificate-credentials`,
//! `identity-platform/v2-oauth2-on-behalf-of-flow`, `identity-platform/reference-error-codes`.

mod assertion;
mod directory;
mod form;
mod keys;
mod refusal;
mod rules;
#[cfg(test)]
mod tests;
mod tokens;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use vestibule_model::Clock;

use crate::{Answer, Seen, TestUpstream};

use directory::Directory;
pub use directory::{
    AGENT, BLUEPRINT, FEDERATED_SUBJECT, OTHER_AGENT, RESOURCE, SECRET, STRANGERS_AGENT, STRANGERS_BLUEPRINT,
    TENANT,
};
use form::Form;
use keys::Keys;
use refusal::Refused;

/// A token service with one tenant. See the constants for who is in it.
#[derive(Debug)]
pub struct TestEntra {
    served: TestUpstream,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    keys: &'static Keys,
    clock: Arc<dyn Clock>,
    /// Its own URL, once it is known.
    authority: Mutex<String>,
    directory: Mutex<Directory>,
    /// What replaces claims of the resource tokens: `null` removes one.
    meddling: Mutex<Value>,
}

impl TestEntra {
    /// One at the time of `clock`.
    pub async fn start(clock: Arc<dyn Clock>) -> Self {
        let state = Arc::new(State {
            keys: Keys::shared(),
            clock,
            authority: Mutex::default(),
            directory: Mutex::new(Directory::contoso()),
            meddling: Mutex::new(json!({})),
        });
        let deciding = Arc::clone(&state);
        let served = TestUpstream::deciding(move |seen| deciding.answer(seen)).await;
        *lock(&state.authority) = served.url();
        Self { served, state }
    }

    /// What stands for `https://login.microsoftonline.com`.
    #[must_use]
    pub fn authority(&self) -> String {
        self.served.url()
    }

    /// The token endpoint of the tenant.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("{}/{TENANT}/oauth2/v2.0/token", self.authority())
    }

    /// The forms that its token endpoint was sent, in order.
    #[must_use]
    pub fn forms(&self) -> Vec<BTreeMap<String, String>> {
        let forms = self.served.requests();
        forms.iter().filter_map(|seen| Form::of(seen).ok()).map(Form::into_fields).collect()
    }

    /// The application itself: to hold its answers, and to see what it was asked.
    #[must_use]
    pub fn served(&self) -> &TestUpstream {
        &self.served
    }

    /// The blueprint's private key (PKCS #8, PEM) and certificate (PEM).
    #[must_use]
    pub fn certificate(&self) -> (String, String) {
        self.state.keys.certificate()
    }

    /// An access token of the user with this object id for the blueprint, as a client of it obtains one (Tc of the OBO
    /// page), with these further claims.
    #[must_use]
    pub fn user_token(&self, oid: &str, with: &Value) -> String {
        self.state.user_token(oid, with)
    }

    /// A token of the workload that the blueprint trusts in place of a secret, with these further claims.
    #[must_use]
    pub fn federated_token(&self, with: &Value) -> String {
        self.state.federated_token(with)
    }

    /// From now on, claims of resource tokens are replaced by these: `null` removes one. An Entra that answers wrongly.
    pub fn meddle(&self, with: Value) {
        *lock(&self.state.meddling) = with;
    }

    /// Conditional Access blocks the agent identity: from now on it gets no token.
    pub fn block(&self, agent: &str) {
        lock(&self.state.directory).block(agent);
    }

    /// Nobody has consented to the agent identity any more.
    pub fn withdraw_consent(&self, agent: &str) {
        lock(&self.state.directory).withdraw_consent(agent);
    }

    /// The claims of a resource token that it has signed.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    pub fn claims(&self, token: &str) -> Value {
        self.state.keys.verified(token).expect("a token that this Entra has signed")
    }
}

impl State {
    fn answer(&self, seen: &Seen) -> Answer {
        if seen.path == format!("/{TENANT}/discovery/v2.0/keys") {
            return Answer::json(&self.keys.jwks());
        }
        let told = match seen.path.strip_suffix("/oauth2/v2.0/token") {
            Some(tenant) => self.token(tenant.trim_start_matches('/'), seen),
            None => return Answer::new(404, "").header("cache-control", "no-store"),
        };
        let answer = match told {
            Ok(body) => Answer::json(&body),
            Err(refused) => refused.answer(),
        };
        // RFC 6749 §5.1.
        answer.header("cache-control", "no-store")
    }

    fn authority(&self) -> String {
        lock(&self.authority).clone()
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        lock(&self.directory)
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Told<T> = Result<T, Refused>;
