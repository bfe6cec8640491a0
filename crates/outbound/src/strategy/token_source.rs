use std::{fmt, sync::Arc};

use async_trait::async_trait;
use vestibule_inbound::Caller;
use vestibule_model::{AppId, Digest, Fault, FaultKind, OperationId, Stop};

use super::Granted;
use crate::{
    ProbeStep,
    access::{AccessFacts, Used},
    authorization_server::AuthorizationServer,
    cache::{Ask, Cache, Entry, Obtained},
};

/// A strategy whose credential is a token that an authorization server gives. It says which token a call needs, and how
/// to get it; that it is kept, shared and dropped is not its business.
#[async_trait]
pub(crate) trait TokenSource: fmt::Debug + Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Who gives the tokens.
    fn server(&self) -> &Arc<AuthorizationServer>;

    /// Of everything that its tokens depend on.
    fn configuration(&self) -> Digest;

    /// Which token the call needs. Quick, and asks nobody.
    fn ask(&self, app: &AppId, caller: &Caller, operation: &OperationId) -> Result<Ask, Stop>;

    /// Which token a question of the gateway's own needs; none where it is asked without.
    fn ask_own(&self, app: &AppId) -> Option<Ask>;

    /// Gets the token, and checks it. `cache` has the tokens on the way to it.
    async fn fetch(self: Arc<Self>, ask: Ask, cache: Arc<Cache>) -> Result<Obtained, Stop>;

    /// What it is, in words.
    fn describe(&self) -> String;

    /// Tells an operator what of it works, as far as that shows without a caller.
    async fn probe(&self) -> Vec<ProbeStep>;
}

/// A token strategy of one application at work.
#[derive(Debug, Clone)]
pub(crate) struct TokenAccess {
    app: AppId,
    source: Arc<dyn TokenSource>,
    cache: Arc<Cache>,
}

impl TokenAccess {
    pub(crate) fn new(app: AppId, source: Arc<dyn TokenSource>, cache: Arc<Cache>) -> Self {
        Self { app, source, cache }
    }

    pub(crate) fn source(&self) -> &Arc<dyn TokenSource> {
        &self.source
    }

    pub(crate) async fn obtain(&self, caller: &Caller, operation: &OperationId) -> Result<Granted, Stop> {
        let ask = self.source.ask(&self.app, caller, operation)?;
        Ok(granted(&*self.cache.obtain(ask, &self.source).await?))
    }

    pub(crate) async fn obtain_own(&self) -> Result<Granted, Fault> {
        match self.source.ask_own(&self.app) {
            Some(ask) => {
                let obtained = self.cache.obtain(ask, &self.source).await;
                Ok(granted(&*obtained.map_err(|stop| match stop {
                    Stop::Failed(fault) => fault,
                    Stop::Denied(refusal) => Fault::new(FaultKind::AccessUnavailable, refusal.cause),
                })?))
            }
            None => Ok(Granted::nothing(self.source.name())),
        }
    }

    /// The application has refused a token. False when asking for another one would not help.
    pub(crate) fn refused(&self, used: &Used) -> bool {
        self.cache.refused(&used.key, used.serial)
    }
}

fn granted(entry: &Entry) -> Granted {
    Granted {
        placement: entry.placement.clone(),
        facts: AccessFacts {
            strategy: entry.strategy,
            server: Some(entry.server.name().to_owned()),
            scopes: entry.scopes.clone(),
            wider: entry.wider.clone(),
        },
        used: Some(Used { key: entry.key.clone(), serial: entry.serial }),
    }
}
