use std::{sync::Mutex, sync::PoisonError, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use vestibule_model::{Clock, Fault, Timestamp};

use crate::authorization_server::{AuthorizationServer, Form};

/// OBO page, step 1.
const EXCHANGE_SCOPE: &str = "api://AzureADTokenExchange/.default";
/// An exchange token is not used when it may end on its way.
const MARGIN: Duration = Duration::from_secs(60);

/// An agent identity, and the exchange token (T1) with which its blueprint stands for it. It is asked for by one caller at
/// a time, kept in memory only, and opens nothing but step 2.
#[derive(Debug)]
pub(super) struct Identity {
    id: String,
    kept: Mutex<Option<Kept>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Kept {
    token: SecretString,
    unused_at: Timestamp,
}

impl Identity {
    pub(super) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), kept: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Its app id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Step 1 of both pages: the blueprint, with its own credential, for the child that `fmi_path` names.
    pub(super) async fn exchange_token(
        &self,
        server: &AuthorizationServer,
        clock: &dyn Clock,
    ) -> Result<SecretString, Fault> {
        if let Some(token) = self.fresh(clock.now()) {
            return Ok(token);
        }
        let _turn = self.turn.lock().await;
        let now = clock.now();
        if let Some(token) = self.fresh(now) {
            return Ok(token);
        }
        let form = Form::grant("client_credentials").with("scope", EXCHANGE_SCOPE).with("fmi_path", &self.id);
        let answer = server.token(form).await?;
        let unused_at = now.plus(answer.life.saturating_sub(MARGIN));
        *self.kept() = Some(Kept { token: answer.token.clone(), unused_at });
        Ok(answer.token)
    }

    /// Entra did not take it: the next caller asks for another one.
    pub(super) fn forget(&self, token: &SecretString) {
        let mut kept = self.kept();
        if kept.as_ref().is_some_and(|kept| kept.token.expose_secret() == token.expose_secret()) {
            *kept = None;
        }
    }

    fn fresh(&self, now: Timestamp) -> Option<SecretString> {
        let kept = self.kept();
        kept.as_ref().filter(|kept| now < kept.unused_at).map(|kept| kept.token.clone())
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
