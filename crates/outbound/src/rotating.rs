use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use vestibule_model::{Clock, Digest, Fault, FaultKind, Monotonic};

use crate::{SecretError, SecretRef, Secrets};

/// How long what was read is used before it is read again.
const FRESH: Duration = Duration::from_secs(5);

/// What is made of secrets.
type Make<T> = dyn Fn(&[SecretString]) -> Result<T, String> + Send + Sync;

/// Something that is made of secrets: made at start, and again when they are older than [`FRESH`] and have changed, by
/// one reader at a time. A secret that is gone is a secret taken away: what was made of it is not used on.
pub(crate) struct Rotating<T> {
    recipe: Arc<Recipe<T>>,
    clock: Arc<dyn Clock>,
    /// None when the vault had no usable secret at the start.
    current: ArcSwapOption<Current<T>>,
    reading: Mutex<()>,
}

struct Recipe<T> {
    places: Vec<SecretRef>,
    secrets: Secrets,
    make: Box<Make<T>>,
}

struct Current<T> {
    read_at: Monotonic,
    /// Of all the secrets.
    digest: Digest,
    made: Arc<T>,
}

/// Why nothing can be made of the secrets. Quotes none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotatingError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{0}")]
    Unusable(String),
}

impl<T: Send + Sync + 'static> Rotating<T> {
    /// Reads every secret once, and blocks meanwhile. Without a usable one in the vault, what needs it is closed: setting
    /// it takes a gateway that runs.
    pub(crate) fn new(
        places: Vec<SecretRef>,
        secrets: Secrets,
        clock: Arc<dyn Clock>,
        make: Box<Make<T>>,
    ) -> Result<Self, RotatingError> {
        let recipe = Arc::new(Recipe { places, secrets, make });
        let read_at = clock.monotonic();
        let current = match recipe.follow(None) {
            Ok((digest, made)) => Some(Arc::new(Current { read_at, digest, made })),
            Err(_) if recipe.is_in_vault() => None,
            Err(error) => return Err(error),
        };
        let current = ArcSwapOption::new(current);
        Ok(Self { recipe, clock, current, reading: Mutex::new(()) })
    }

    pub(crate) async fn current(&self) -> Result<Arc<T>, Fault> {
        if let Some(made) = self.fresh() {
            return Ok(made);
        }
        let _turn = self.reading.lock().await;
        if let Some(made) = self.fresh() {
            return Ok(made);
        }
        let (recipe, before, read_at) =
            (Arc::clone(&self.recipe), self.current.load_full(), self.clock.monotonic());
        let read = tokio::task::spawn_blocking(move || recipe.follow(before.as_deref()));
        let (digest, made) = read
            .await
            .map_err(|error| Fault::new(FaultKind::Internal, error))?
            .map_err(|error| Fault::new(FaultKind::AccessUnavailable, error))?;
        self.current.store(Some(Arc::new(Current { read_at, digest, made: Arc::clone(&made) })));
        Ok(made)
    }

    fn fresh(&self) -> Option<Arc<T>> {
        let current = self.current.load();
        let fresh = current.as_ref().filter(|it| self.clock.monotonic().since(it.read_at) < FRESH);
        fresh.map(|it| Arc::clone(&it.made))
    }
}

impl<T> Recipe<T> {
    fn is_in_vault(&self) -> bool {
        self.places.iter().any(|place| matches!(place, SecretRef::Vault(_)))
    }

    /// The same thing where nothing has changed: a client keeps its connections.
    fn follow(&self, before: Option<&Current<T>>) -> Result<(Digest, Arc<T>), RotatingError> {
        let secrets =
            self.places.iter().map(|place| self.secrets.read(place)).collect::<Result<Vec<_>, _>>()?;
        let mut digests = Vec::with_capacity(secrets.len() * 32);
        for secret in &secrets {
            digests.extend_from_slice(Digest::of(secret.expose_secret().as_bytes()).bytes());
        }
        let digest = Digest::of(&digests);
        if let Some(before) = before.filter(|before| before.digest == digest) {
            return Ok((digest, Arc::clone(&before.made)));
        }
        Ok((digest, Arc::new((self.make)(&secrets).map_err(RotatingError::Unusable)?)))
    }
}

/// Not what was made: it may be a secret.
impl<T> fmt::Debug for Rotating<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotating").field("places", &self.recipe.places).finish_non_exhaustive()
    }
}
