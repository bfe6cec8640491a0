use std::sync::Arc;

use http::Response;
use vestibule_containment::breaker::{Resting, Trying};
use vestibule_model::{AppId, Fault, FaultKind, Stop};

use super::told;
use crate::gateway::Gateway;

/// A call that the breaker of its application watches. Dropped without a word, it has told nothing.
pub(crate) struct Trial(Option<Trying>);

/// Lets a call go to the application.
///
/// # Errors
/// `UpstreamSuspended` while its breaker is open: then nothing may reach it.
pub(crate) fn attempt_on(gw: &Arc<Gateway>, app: &AppId) -> Result<Trial, Fault> {
    match gw.upstreams.enter(app) {
        Ok(Some((trying, change))) => {
            told::upstreams(gw, change);
            Ok(Trial(Some(trying)))
        }
        Ok(None) => Ok(Trial(None)),
        Err(Resting { cause, retry_after }) => {
            let why = format!(
                "the breaker of application `{app}` is open: {} ({}, by {})",
                cause.detail, cause.signal, cause.by
            );
            Err(Fault::new(FaultKind::UpstreamSuspended, why).after(retry_after))
        }
    }
}

impl Trial {
    /// How the application took it, once the head of its answer is there or will not come.
    pub(crate) fn ended<B>(self, gw: &Arc<Gateway>, answer: &Result<Response<B>, Stop>) {
        let is_good = match answer {
            Ok(response) => Some(!response.status().is_server_error()),
            Err(Stop::Failed(fault)) => match fault.kind {
                FaultKind::UpstreamUnreachable | FaultKind::UpstreamTimeout | FaultKind::UpstreamInvalid => {
                    Some(false)
                }
                FaultKind::UpstreamSuspended
                | FaultKind::EvidenceUnavailable
                | FaultKind::StoreUnavailable
                | FaultKind::AppNotReady
                | FaultKind::AccessUnavailable
                | FaultKind::AuthorizationServerUnavailable
                | FaultKind::AuthorizationServerTimeout
                | FaultKind::AuthorizationServerInvalid
                | FaultKind::Internal => None,
            },
            Err(Stop::Denied(_)) => None,
        };
        let change = self.0.zip(is_good).and_then(|(trying, is_good)| trying.ended(is_good));
        told::upstreams(gw, change);
    }
}
