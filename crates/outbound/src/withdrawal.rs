use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use vestibule_egress::full;
use vestibule_model::{Fault, FaultKind, Method, OperationId};

use crate::{
    Access, AccessFacts, Forward, Outbound,
    access::{Placement, Purpose},
    upstream::Upstream,
};

/// How long telling an application may take, from connecting to the head of its answer.
const WITHDRAWAL_MAX: Duration = Duration::from_secs(5);
/// Largest message. The longest identifier of a request, which it repeats, has 1 KiB.
const MESSAGE_MAX_BYTES: usize = 4 << 10;

/// What is needed to tell an application that a call is over which nobody waits for any more: one message to the place
/// that the call went to, with the credential that the call had, or one of its own where that was for the call alone. Prepared before the call, because the call consumes its
/// [`Access`].
///
/// Why this is no way around the permit, although it sends something without one of its own. It is made from the access
/// of a permitted call only, and is spent by the one message that it stands for. It goes to the same application, with
/// `POST` to its base and nowhere below: no operation of an HTTP API can be reached. The message is at most 4 KiB, and
/// is written by the gateway (`vestibule_mcp::cancellation`), never by the agent, whose part in it is the identifier of
/// the request that was permitted. The answer goes to nobody.
///
/// It cannot be used twice:
///
/// ```compile_fail,E0599
/// fn twice(withdrawal: &vestibule_outbound::Withdrawal) -> vestibule_outbound::Withdrawal {
///     vestibule_outbound::Withdrawal::clone(withdrawal)
/// }
/// ```
#[must_use = "the application goes on until it is told"]
pub struct Withdrawal {
    upstream: Arc<Upstream>,
    placement: Placement,
    headers: HeaderMap,
    purpose: Purpose,
}

impl Withdrawal {
    /// What the call was to do.
    #[must_use]
    pub fn operation(&self) -> &OperationId {
        self.purpose.permit.operation()
    }
}

/// Not the headers: a session is in there.
impl fmt::Debug for Withdrawal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Withdrawal")
            .field("operation", self.operation())
            .field("placement", &self.placement)
            .finish_non_exhaustive()
    }
}

impl Outbound {
    /// Prepares to withdraw the call that `access` was obtained for. `headers` are those of the message: what ties it to
    /// the call (its session, its protocol version), and what kind of message it is. What must never pass is stripped from
    /// them as from every request. None for a question of the gateway itself, which no permit stands behind.
    #[must_use]
    pub fn withdrawal(&self, access: &Access, headers: HeaderMap) -> Option<Withdrawal> {
        let (upstream, placement) = (Arc::clone(&access.upstream), access.placement.clone());
        Some(Withdrawal { upstream, placement, headers, purpose: access.purpose.clone()? })
    }

    /// Tells the application, within five seconds. That it was told does not mean that it stopped.
    ///
    /// # Errors
    /// As [`Outbound::call`]; `UpstreamTimeout` after five seconds, `UpstreamInvalid` when the application does not take
    /// the message, `Internal` for one of more than 4 KiB.
    pub async fn withdraw(&self, withdrawal: Withdrawal, message: Bytes) -> Result<(), Fault> {
        let Withdrawal { upstream, placement, headers, purpose } = withdrawal;
        // A token that was for the call alone is used, and may have expired: this message gets one of its own.
        let placement = upstream.strategy.withdrawing(&purpose).transpose()?.unwrap_or(placement);
        let app = upstream.app().clone();
        if message.len() > MESSAGE_MAX_BYTES {
            return Err(Fault::new(FaultKind::Internal, "a message about a call that is over is too long"));
        }
        let forward =
            Forward { method: Method::Post, path: String::new(), query: None, headers, body: full(message) };
        let access = Access { upstream, placement, purpose: None, facts: AccessFacts::default(), used: None };
        let told = self.call(access, forward);
        let late =
            |_| Fault::new(FaultKind::UpstreamTimeout, format!("application `{app}`: not told in time"));
        let response = tokio::time::timeout(WITHDRAWAL_MAX, told).await.map_err(late)??;
        // The answer is dropped unread. One with a body, which the protocol does not know here, costs the connection.
        let status = response.status();
        if status.is_success() {
            Ok(())
        } else {
            let cause = format!("application `{app}`: {status} to the message that a call is over");
            Err(Fault::new(FaultKind::UpstreamInvalid, cause))
        }
    }
}
