use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use url::form_urlencoded;
use vestibule_model::{Clock, Fault, FaultKind, Monotonic};

use crate::{
    OutboundError, SecretRef, Secrets,
    access::{Placement, QueryParameter},
    headers,
};

/// How long a secret that was read is used before it is read again.
const FRESH: Duration = Duration::from_secs(5);

/// One secret for all calls, and where it is put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StaticConfig {
    /// A header of its own, such as an API key's.
    Header {
        /// The header's name.
        name: String,
        /// Its whole value.
        value: SecretRef,
    },
    /// `Authorization: Bearer …` (RFC 6750 §2.1).
    Bearer {
        /// The token.
        token: SecretRef,
    },
    /// `Authorization: Basic …` (RFC 7617).
    Basic {
        /// The user name, without a colon. No secret.
        username: String,
        /// The password.
        password: SecretRef,
    },
    /// A query parameter, for applications that know nothing better: URLs end up in logs. The gateway redacts it
    /// wherever it shows it.
    Query {
        /// The parameter's name.
        name: String,
        /// Its value.
        value: SecretRef,
    },
}

impl StaticConfig {
    pub(super) fn resolved(&self, folder: &Path) -> Self {
        let mut resolved = self.clone();
        match &mut resolved {
            Self::Header { value: secret, .. }
            | Self::Bearer { token: secret }
            | Self::Basic { password: secret, .. }
            | Self::Query { value: secret, .. } => *secret = secret.resolved(folder),
        }
        resolved
    }

    fn secret(&self) -> &SecretRef {
        match self {
            Self::Header { value: secret, .. }
            | Self::Bearer { token: secret }
            | Self::Basic { password: secret, .. }
            | Self::Query { value: secret, .. } => secret,
        }
    }

    /// What can be said of it while there is no secret.
    fn check(&self) -> Result<(), OutboundError> {
        self.placed(&SecretString::from("a-secret")).map(|_| ())
    }

    fn placed(&self, secret: &SecretString) -> Result<Placement, OutboundError> {
        self.place(secret).map_err(|rule| OutboundError::Strategy { secret: self.secret().clone(), rule })
    }

    /// Puts the secret in its place. The error says what is wrong with the configuration or with the secret's form.
    fn place(&self, secret: &SecretString) -> Result<Placement, &'static str> {
        let secret = secret.expose_secret();
        match self {
            Self::Header { name, .. } => {
                let name =
                    HeaderName::from_bytes(name.as_bytes()).map_err(|_| "the header's name is not valid")?;
                if headers::is_reserved(&name) {
                    return Err(
                        "the header belongs to the connection or to the forwarding, not to a credential",
                    );
                }
                Ok(Placement::Header(name, sensitive(secret)?))
            }
            Self::Bearer { .. } => {
                Ok(Placement::Header(header::AUTHORIZATION, sensitive(&format!("Bearer {secret}"))?))
            }
            // RFC 7617 §2: a user-id with a colon could not be told from the password.
            Self::Basic { username, .. } if username.contains(':') => Err("the user name has a colon"),
            Self::Basic { username, .. } => {
                let encoded = STANDARD.encode(format!("{username}:{secret}"));
                Ok(Placement::Header(header::AUTHORIZATION, sensitive(&format!("Basic {encoded}"))?))
            }
            Self::Query { name, .. } if name.is_empty() => Err("the parameter's name is empty"),
            Self::Query { name, .. } => {
                let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, secret).finish();
                let pair = Arc::new(SecretString::from(pair));
                Ok(Placement::Query(QueryParameter { name: name.as_str().into(), pair }))
            }
        }
    }
}

fn sensitive(value: &str) -> Result<HeaderValue, &'static str> {
    let mut value = HeaderValue::from_str(value).map_err(|_| "the secret cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// A static secret at work: read at start, and again when it is older than [`FRESH`], by one reader at a time.
#[derive(Debug)]
pub(crate) struct StaticSecret {
    config: StaticConfig,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
    current: ArcSwap<Current>,
    reading: Mutex<()>,
}

#[derive(Debug)]
struct Current {
    read_at: Monotonic,
    /// None when the vault had no usable secret at the start.
    placement: Option<Placement>,
}

impl StaticSecret {
    pub(super) fn new(
        config: StaticConfig,
        secrets: Secrets,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OutboundError> {
        let read_at = clock.monotonic();
        let placement = if let SecretRef::Vault(_) = config.secret() {
            config.check()?;
            // Without a usable one the application is closed: setting it takes a gateway that runs.
            read(&config, &secrets).ok()
        } else {
            Some(read(&config, &secrets)?)
        };
        let current = ArcSwap::from_pointee(Current { read_at, placement });
        Ok(Self { config, secrets, clock, current, reading: Mutex::new(()) })
    }

    pub(super) async fn obtain(&self) -> Result<Placement, Fault> {
        if let Some(placement) = self.fresh() {
            return Ok(placement);
        }
        let _turn = self.reading.lock().await;
        if let Some(placement) = self.fresh() {
            return Ok(placement);
        }
        let (config, secrets, read_at) = (self.config.clone(), self.secrets.clone(), self.clock.monotonic());
        // A secret that is gone is a secret taken away: the last one is not used on.
        let placement = tokio::task::spawn_blocking(move || read(&config, &secrets))
            .await
            .map_err(|error| Fault::new(FaultKind::Internal, error))?
            .map_err(|error| Fault::new(FaultKind::AccessUnavailable, error))?;
        self.current.store(Arc::new(Current { read_at, placement: Some(placement.clone()) }));
        Ok(placement)
    }

    fn fresh(&self) -> Option<Placement> {
        let current = self.current.load();
        if self.clock.monotonic().since(current.read_at) < FRESH { current.placement.clone() } else { None }
    }

    pub(super) fn describe(&self) -> String {
        let place = match &self.config {
            StaticConfig::Header { name, .. } => format!("header `{name}`"),
            StaticConfig::Bearer { .. } => "bearer token".to_owned(),
            StaticConfig::Basic { username, .. } => format!("password of `{username}`"),
            StaticConfig::Query { name, .. } => format!("query parameter `{name}`"),
        };
        format!("static: {place} from {}", self.config.secret())
    }
}

fn read(config: &StaticConfig, secrets: &Secrets) -> Result<Placement, OutboundError> {
    config.placed(&secrets.read(config.secret())?)
}
