use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use vestibule_policy::Permit;

use crate::{Calling, cache::Key, upstream::Upstream};

/// The proof that a call has a credential: what [`Outbound::call`](crate::Outbound::call) demands. Made by `obtain` from
/// a permit, or by `obtain_own` for the gateway itself, and bound to the application it was obtained for.
///
/// It cannot be forged, nor taken apart to send its credential elsewhere:
///
/// ```compile_fail,E0451
/// fn forge(original: vestibule_outbound::Access) -> vestibule_outbound::Access {
///     vestibule_outbound::Access { placement: todo!(), ..original }
/// }
/// ```
///
/// Nor can it be used twice:
///
/// ```compile_fail,E0599
/// fn twice(access: &vestibule_outbound::Access) -> vestibule_outbound::Access {
///     vestibule_outbound::Access::clone(access)
/// }
/// ```
pub struct Access {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) placement: Placement,
    /// For which call; none for the gateway's own questions.
    pub(crate) purpose: Option<Purpose>,
    pub(crate) facts: AccessFacts,
    pub(crate) used: Option<Used>,
}

/// A call that was permitted.
#[derive(Debug, Clone)]
pub(crate) struct Purpose {
    pub(crate) permit: Arc<Permit>,
    pub(crate) calling: Calling,
}

/// What the record says about an access. Nothing of it is a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessFacts {
    /// The strategy, by its name in the configuration.
    pub strategy: &'static str,
    /// The authorization server that gave the token, if one did.
    pub server: Option<String>,
    /// The scopes of that token.
    pub scopes: Vec<String>,
    /// Scopes and audiences of it that nobody asked for, where the configuration lets them be.
    pub wider: Vec<String>,
}

/// Which of the tokens that are kept it is.
#[derive(Debug, Clone)]
pub(crate) struct Used {
    pub(crate) key: Key,
    pub(crate) serial: u64,
}

impl Access {
    /// The permit it was obtained with; none for the gateway's own questions.
    #[must_use]
    pub fn permit(&self) -> Option<&Permit> {
        self.purpose.as_ref().map(|purpose| &*purpose.permit)
    }

    /// What the record says about it.
    #[must_use]
    pub fn facts(&self) -> &AccessFacts {
        &self.facts
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("app", self.upstream.app())
            .field("placement", &self.placement)
            .finish()
    }
}

/// Where a credential is put, ready to be put there.
#[derive(Clone)]
pub(crate) enum Placement {
    /// The application needs none.
    Nowhere,
    /// A header. Its value is marked as sensitive.
    Header(HeaderName, HeaderValue),
    /// A query parameter, `name=value`, percent-encoded.
    Query(QueryParameter),
}

/// A percent-encoded query parameter whose value is a secret.
#[derive(Clone)]
pub(crate) struct QueryParameter {
    pub(crate) name: Arc<str>,
    pub(crate) pair: Arc<SecretString>,
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("nowhere"),
            Self::Header(name, _) => write!(f, "header `{name}` [redacted]"),
            Self::Query(parameter) => write!(f, "query `{}` [redacted]", parameter.name),
        }
    }
}
