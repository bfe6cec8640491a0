//! Telling an application that a call is over before it has answered.
//!
//! The attack: an agent is revoked while its call is under way, and the application goes on and carries it out. A closed
//! connection says nothing to an MCP server of the legacy era, so it is told in words; everywhere else closing the
//! connection is the word. Nobody waits for it: neither the cut nor its acknowledgement may depend on an application that
//! does not listen, and telling it does not undo what it has done. So the outcome is recorded as unknown all the same.

use std::sync::Arc;

use http::HeaderMap;
use vestibule_evidence::Cancelled;
use vestibule_mcp::{Asked, Id, cancellation};
use vestibule_model::{Denial, FaultKind, Stop};
use vestibule_outbound::{Access, Withdrawal};

use crate::gateway::Gateway;

/// For the application's log. Why the call was cut, and who did it, is none of its business.
const REASON: &str = "the gateway has ended the call";

/// How the application of a call is told that it is over. Kept from the moment the call is forwarded until its reply is
/// complete, outside of what a cut drops.
///
/// Dropping it says nothing. The client that goes away drops it, and in the legacy era that is no cancellation
/// (2025-11-25 transports: "Disconnection SHOULD NOT be interpreted as the client cancelling its request").
#[derive(Debug, Default)]
pub(crate) struct Withdrawing {
    way: Option<Way>,
    is_forwarded: bool,
}

#[derive(Debug)]
enum Way {
    /// The connection is closed by whoever drops the call.
    Closing,
    /// This request is named in a notification.
    Notifying(Box<Withdrawal>, Id),
}

impl Withdrawing {
    /// The call is about to be forwarded with these headers. `asked` is the JSON-RPC request that it carries, if any.
    pub(crate) fn arm(&mut self, gw: &Gateway, asked: Option<&Asked>, access: &Access, headers: &HeaderMap) {
        let notified = asked.filter(|asked| asked.is_cancelled_by_notice()).and_then(|asked| {
            let withdrawal = gw.outbound.withdrawal(access, cancellation::headers(headers))?;
            Some(Way::Notifying(Box::new(withdrawal), asked.id().clone()))
        });
        *self = Self { way: Some(notified.unwrap_or(Way::Closing)), is_forwarded: true };
    }

    /// Whether the application may know of the call.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.is_forwarded
    }

    /// The call is over, cut for this reason if it was: tells the application, once, in a task that ends within seconds.
    /// Returns how, for the record; none when the call was not forwarded, or when its caller has called it off: those words
    /// went to the application as they came.
    pub(crate) fn fire(&mut self, gw: &Arc<Gateway>, why: Option<Denial>) -> Option<Cancelled> {
        let way = self.way.take().filter(|_| why != Some(Denial::CallCalledOff))?;
        match way {
            Way::Closing => Some(Cancelled::Closed),
            Way::Notifying(withdrawal, request) => {
                let message = cancellation::cancelled(&request, REASON);
                let operation = withdrawal.operation().clone();
                let gateway = Arc::clone(gw);
                // INVARIANT: tracked, so that a gateway that stops waits for it. As many run at once as calls did, for
                // five seconds at most.
                gw.withdrawals.spawn(async move {
                    if let Err(fault) = gateway.outbound.withdraw(*withdrawal, message).await {
                        tracing::warn!(%operation, %fault, "the application does not know that the call is over");
                    }
                });
                Some(Cancelled::Notified)
            }
        }
    }
}

/// Whether the application may still be at work on a call that stopped so after it was forwarded. MCP 2025-11-25
/// cancellation: a notification MUST only name requests that "are believed to still be in-progress"; and lifecycle,
/// "Timeouts": a sender that stops waiting SHOULD send one.
pub(crate) fn is_at_work(stop: &Stop) -> bool {
    match stop {
        Stop::Denied(_) => true,
        Stop::Failed(fault) => match fault.kind {
            FaultKind::UpstreamTimeout => true,
            // It was never reached, or it has answered, if badly.
            FaultKind::UpstreamUnreachable
            | FaultKind::UpstreamSuspended
            | FaultKind::UpstreamInvalid
            | FaultKind::AccessUnavailable
            | FaultKind::AuthorizationServerUnavailable
            | FaultKind::AuthorizationServerTimeout
            | FaultKind::AuthorizationServerInvalid
            | FaultKind::EvidenceUnavailable
            | FaultKind::StoreUnavailable
            | FaultKind::AppNotReady
            | FaultKind::Internal => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use vestibule_model::Fault;

    use super::*;

    #[test]
    fn only_a_call_that_was_cut_or_waited_for_in_vain_is_still_worked_on() {
        assert!(is_at_work(&Denial::AgentRevoked.into()));
        for kind in FaultKind::ALL {
            let stop = Stop::from(Fault::new(*kind, ""));
            assert_eq!(is_at_work(&stop), *kind == FaultKind::UpstreamTimeout, "{stop:?}");
        }
    }
}
