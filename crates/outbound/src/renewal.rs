use std::{fmt, sync::Arc};

use vestibule_model::Stop;

use crate::{
    Access, Outbound,
    access::{Purpose, Used},
    outbound::access,
    upstream::Upstream,
};

/// What is needed to call once more where the application has refused the token of a call: tokens die before their time,
/// and nobody tells the gateway. Prepared before the call, because the call consumes its [`Access`], and spent by the one
/// more that it stands for: it carries the permit of that call and of no other.
///
/// It cannot be used twice:
///
/// ```compile_fail,E0599
/// fn twice(renewal: &vestibule_outbound::Renewal) -> vestibule_outbound::Renewal {
///     vestibule_outbound::Renewal::clone(renewal)
/// }
/// ```
pub struct Renewal {
    upstream: Arc<Upstream>,
    purpose: Purpose,
    used: Used,
}

impl Access {
    /// How to call once more; none where another token cannot be had.
    #[must_use]
    pub fn renewal(&self) -> Option<Renewal> {
        let (used, purpose) = (self.used.clone()?, self.purpose.clone()?);
        Some(Renewal { upstream: Arc::clone(&self.upstream), purpose, used })
    }
}

impl Outbound {
    /// The application has refused the token: drops it, and obtains another one for the same call. However many calls are
    /// refused at once, one request is made. None where a token that was fresh has just been refused as well.
    ///
    /// # Errors
    /// As [`Outbound::obtain`].
    pub async fn renew(&self, renewal: Renewal) -> Result<Option<Access>, Stop> {
        let Renewal { upstream, purpose, used } = renewal;
        if !upstream.strategy.token().is_some_and(|token| token.refused(&used)) {
            return Ok(None);
        }
        let granted = upstream.strategy.obtain(&purpose.permit, &purpose.calling).await?;
        Ok(Some(access(upstream, granted, Some(purpose))))
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("used", &self.used).finish_non_exhaustive()
    }
}
