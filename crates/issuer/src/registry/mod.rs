//! The registered agents and what they prove themselves with.

mod credential;
mod new_agent;

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use secrecy::SecretString;
use vestibule_model::{Agent, AgentId, Clock, Directory, Entropy, Malformed, Thumbprint, WorkloadRules};
use vestibule_store::{Change, Expect, Kind, Op, Put, Record, Store, StoreError, Subscriber};

use credential::StoredCredential;
pub(crate) use credential::{ClientKey, Credential};
pub use new_agent::NewAgent;

/// Why an agent cannot be registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The id is taken.
    #[error("the agent exists already")]
    Exists,
    /// There is no such agent.
    #[error("there is no such agent")]
    Unknown,
    /// It has keys, so there is no secret to replace.
    #[error("the agent proves itself with its own keys and has no secret")]
    HasKeys,
    /// Something of it breaks a rule.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The store failed, or somebody else changed the agent at the same moment.
    #[error("the registry cannot be read or written")]
    Store(#[from] StoreError),
}

/// An agent that was just registered.
#[derive(Debug)]
pub struct Added {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Its `client_id`: its id.
    pub client_id: String,
    /// Its secret: shown here and never again. None for an agent with keys of its own.
    pub client_secret: Option<SecretString>,
}

/// An agent and the version of its record.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The agent.
    pub agent: Arc<Agent>,
    /// 1 when it was registered.
    pub version: u64,
}

type Listener = Box<dyn Fn(Arc<Directory>) + Send + Sync>;

/// The registered agents: in the store, and in memory as the change log tells. A token request reads memory only.
pub struct Registry {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    held: Mutex<Held>,
    directory: ArcSwap<Directory>,
    listeners: Mutex<Vec<Listener>>,
}

#[derive(Default)]
struct Held {
    agents: BTreeMap<AgentId, Registered>,
    credentials: BTreeMap<AgentId, (u64, Arc<Credential>)>,
}

impl Registry {
    /// An empty one. It fills when it is given to a `Follower`, as a subscriber.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Arc<Self> {
        Self::ruled(store, clock, entropy, Arc::default())
    }

    /// An empty one beside which others are agents by these rules.
    #[must_use]
    pub fn ruled(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        rules: Arc<WorkloadRules>,
    ) -> Arc<Self> {
        let directory = ArcSwap::from_pointee(Directory::default().ruled(rules));
        let (held, listeners) = Default::default();
        Arc::new(Self { store, clock, entropy, held, directory, listeners })
    }

    /// Registers an agent. When this returns, it can ask for a token here.
    ///
    /// # Errors
    /// [`RegistryError::Exists`] for an id that is taken, [`RegistryError::Malformed`] for a broken rule.
    pub async fn add(&self, new: NewAgent) -> Result<Added, RegistryError> {
        let agent = new.check(self.clock.now())?;
        let (client_secret, credential) = match new.jwks {
            Some(jwks) => (None, StoredCredential::Keys { jwks }),
            None => {
                let (secret, credential) = StoredCredential::generate(self.entropy.as_ref());
                (Some(secret), credential)
            }
        };
        credential.open()?;
        let id = agent.id.as_str();
        let ops = vec![
            Op::Put(Put::new(Kind::Agent, id, &agent)?.expect(Expect::Absent)),
            Op::Put(Put::new(Kind::Credential, id, &credential)?.expect(Expect::Absent).subject(id)),
        ];
        match self.store.commit(ops).await {
            Ok(_) => {}
            Err(StoreError::Conflict { .. }) => return Err(RegistryError::Exists),
            Err(error) => return Err(error.into()),
        }
        self.refresh(Kind::Agent, &agent.id).await?;
        self.refresh(Kind::Credential, &agent.id).await?;
        Ok(Added { client_id: id.to_owned(), agent: Arc::new(agent), client_secret })
    }

    /// Gives an agent a new secret. The old one is dead when this returns; tokens that it bought live on until they
    /// expire, so after a leak the agent is revoked too.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], [`RegistryError::HasKeys`].
    pub async fn rotate(&self, id: &AgentId) -> Result<SecretString, RegistryError> {
        let record = self.store.get(Kind::Credential, id.as_str()).await?.ok_or(RegistryError::Unknown)?;
        if let StoredCredential::Keys { .. } = record.decode()? {
            return Err(RegistryError::HasKeys);
        }
        let (secret, credential) = StoredCredential::generate(self.entropy.as_ref());
        let put = Put::new(Kind::Credential, id.as_str(), &credential)?
            .expect(Expect::Version(record.version))
            .subject(id.as_str());
        self.store.commit(vec![Op::Put(put)]).await?;
        self.refresh(Kind::Credential, id).await?;
        Ok(secret)
    }

    /// The agent of that id, registered or by a rule.
    #[must_use]
    pub fn known(&self, id: &AgentId) -> Option<Arc<Agent>> {
        self.directory.load().find(id)
    }

    /// The registered agent of that id.
    #[must_use]
    pub fn get(&self, id: &AgentId) -> Option<Registered> {
        self.held().agents.get(id).cloned()
    }

    /// At most `limit` agents in the order of their ids, after the id `after`.
    #[must_use]
    pub fn list(&self, after: Option<&AgentId>, limit: usize) -> Vec<Registered> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.held().agents.range((from, Bound::Unbounded)).take(limit).map(|(_, one)| one.clone()).collect()
    }

    /// The thumbprints of the keys that the agent has registered; empty for one with a secret, none for one that is not
    /// registered.
    #[must_use]
    pub fn thumbprints(&self, id: &AgentId) -> Option<Vec<Thumbprint>> {
        self.held().credentials.get(id).map(|(_, credential)| credential.thumbprints())
    }

    /// All agents, as one snapshot.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Calls `listener` with the present directory, and from then on with each new one, before [`Registry::add`]
    /// returns. The listener must be quick and must not call the registry.
    pub fn on_change(&self, listener: impl Fn(Arc<Directory>) + Send + Sync + 'static) {
        // The lock on what is held keeps a change from slipping between the first call and the next.
        let _held = self.held();
        listener(self.directory.load_full());
        self.listeners().push(Box::new(listener));
    }

    /// The agent and its credential, for a client that has not proved itself yet.
    pub(crate) fn client(&self, id: &AgentId) -> Option<(Arc<Agent>, Arc<Credential>)> {
        let held = self.held();
        let agent = Arc::clone(&held.agents.get(id)?.agent);
        Some((agent, Arc::clone(&held.credentials.get(id)?.1)))
    }

    /// Whether the agent has registered that key.
    pub(crate) fn has_key(&self, id: &AgentId, key: &Thumbprint) -> bool {
        self.held().credentials.get(id).is_some_and(|(_, credential)| credential.has_key(key))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this gateway has written counts here at once, not only when the change log brings it back.
    async fn refresh(&self, kind: Kind, id: &AgentId) -> Result<(), RegistryError> {
        if let Some(record) = self.store.get(kind, id.as_str()).await? {
            self.insert(&record)?;
        }
        Ok(())
    }

    fn insert(&self, record: &Record) -> Result<(), StoreError> {
        let mut held = self.held();
        if let Some(agent) = held.insert(record)? {
            self.publish(self.directory.load().with(agent));
        }
        Ok(())
    }

    fn remove(&self, change: &Change) {
        let mut held = self.held();
        if change.kind == Kind::Credential {
            held.credentials.retain(|id, _| id.as_str() != change.key);
        } else {
            held.agents.retain(|id, _| id.as_str() != change.key);
            self.publish(self.filled(&held));
        }
    }

    fn filled(&self, held: &Held) -> Directory {
        self.directory.load().refilled(held.agents.values().map(|one| Arc::clone(&one.agent)))
    }

    /// INVARIANT: called with the lock on `held`, so that no older snapshot is published over a newer one.
    fn publish(&self, directory: Directory) {
        let directory = Arc::new(directory);
        self.directory.store(Arc::clone(&directory));
        for listener in self.listeners().iter() {
            listener(Arc::clone(&directory));
        }
    }
}

impl Held {
    /// Takes a record that is newer than what is known. Gives the agent, if it is one.
    fn insert(&mut self, record: &Record) -> Result<Option<Arc<Agent>>, StoreError> {
        let unreadable = |fault: Malformed| StoreError::Unreadable {
            kind: record.kind,
            key: record.key.clone(),
            source: Box::new(fault),
        };
        let id = AgentId::new(&record.key).map_err(unreadable)?;
        match record.kind {
            Kind::Agent => {
                if self.agents.get(&id).is_some_and(|known| known.version >= record.version) {
                    return Ok(None);
                }
                let agent: Arc<Agent> = Arc::new(record.decode()?);
                let registered = Registered { agent: Arc::clone(&agent), version: record.version };
                self.agents.insert(id, registered);
                Ok(Some(agent))
            }
            Kind::Credential => {
                if self.credentials.get(&id).is_none_or(|(known, _)| *known < record.version) {
                    let credential = record.decode::<StoredCredential>()?.open().map_err(unreadable)?;
                    self.credentials.insert(id, (record.version, Arc::new(credential)));
                }
                Ok(None)
            }
            Kind::Delegation
            | Kind::Deny
            | Kind::SigningKey
            | Kind::Secret
            | Kind::UpstreamToken
            | Kind::UserToken
            | Kind::Breaker
            | Kind::Operations
            | Kind::Incident
            | Kind::Meta => Ok(None),
        }
    }
}

impl Subscriber for Registry {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Agent, Kind::Credential]
    }

    fn reset(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let mut held = self.held();
        let mut fresh = Held::default();
        for record in &records {
            fresh.insert(record)?;
        }
        *held = fresh;
        self.publish(self.filled(&held));
        Ok(())
    }

    fn apply(&self, change: &Change) -> Result<(), StoreError> {
        match &change.record {
            Some(record) => self.insert(record),
            None => {
                self.remove(change);
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("agents", &self.held().agents.len()).finish_non_exhaustive()
    }
}
