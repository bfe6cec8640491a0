use std::{sync::atomic::AtomicBool, time::Duration};

use async_trait::async_trait;
use secrecy::SecretString;
use url::Url;
use vestibule_egress::Trust;
use vestibule_inbound::Caller;
use vestibule_model::{AppId, Digest, FixedClock, OperationId, SeededEntropy, Timestamp};

use super::*;
use crate::{
    AuthorizationServerConfig, ClientAuthConfig, EndpointsConfig, ProbeStep, SecretRef, Secrets,
    authorization_server::{AuthorizationServer, ServerMaker},
};

/// Gives a token for everything, or panics.
#[derive(Debug)]
struct Giver {
    server: Arc<AuthorizationServer>,
    clock: Arc<FixedClock>,
    panics: AtomicBool,
}

#[async_trait]
impl TokenSource for Giver {
    fn name(&self) -> &'static str {
        "giver"
    }

    fn server(&self) -> &Arc<AuthorizationServer> {
        &self.server
    }

    fn configuration(&self) -> Digest {
        Digest::of(b"")
    }

    fn ask(&self, app: &AppId, _: &Caller, _: &OperationId) -> Result<Ask, Stop> {
        Ok(Ask::of_app(app, self.clock.now(), Target::default()))
    }

    fn ask_own(&self, _: &AppId) -> Option<Ask> {
        None
    }

    async fn fetch(self: Arc<Self>, ask: Ask, _: Arc<Cache>) -> Result<Obtained, Stop> {
        assert!(!self.panics.load(std::sync::atomic::Ordering::SeqCst), "as it was told");
        // Each lives a second longer than the one before it.
        let scopes = u64::try_from(ask.key.scopes.len()).unwrap();
        Ok(Obtained {
            token: SecretString::from("token"),
            expires_at: self.clock.now().plus(Duration::from_secs(100 + scopes)),
            scopes: Vec::new(),
            wider: Vec::new(),
        })
    }

    fn describe(&self) -> String {
        String::new()
    }

    async fn probe(&self) -> Vec<ProbeStep> {
        Vec::new()
    }
}

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Shelf for Nothing {
    async fn put(&self, _: &str, _: SecretString, _: Timestamp) -> Result<(), Fault> {
        Err(Fault::new(FaultKind::StoreUnavailable, "nothing is kept"))
    }

    async fn all(&self) -> Result<Vec<(String, SecretString)>, Fault> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &str) -> Result<(), Fault> {
        Ok(())
    }
}

fn giver() -> (Arc<Giver>, Arc<Cache>) {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
    let maker = ServerMaker {
        trust: Trust::default(),
        secrets: Secrets::new(|_| Some("secret".to_owned())),
        clock: Arc::<FixedClock>::clone(&clock),
        entropy: Arc::new(SeededEntropy::new(1)),
    };
    let url = |path: &str| Url::parse("http://127.0.0.1:1").unwrap().join(path).unwrap();
    let config = AuthorizationServerConfig {
        name: "corp".to_owned(),
        endpoints: EndpointsConfig::Given {
            issuer: None,
            token: url("token"),
            revocation: Some(url("revoke")),
            introspection: None,
        },
        client_id: "gateway".to_owned(),
        auth: ClientAuthConfig::SecretPost { secret: SecretRef::Env("S".to_owned()) },
        timeout: Duration::from_secs(1),
    };
    let server = Arc::new(maker.make(config).unwrap());
    let cache = Arc::new(Cache::new(Arc::<FixedClock>::clone(&clock), Arc::new(Nothing), 3));
    (Arc::new(Giver { server, clock, panics: AtomicBool::new(false) }), cache)
}

/// The `n`th key: it has `n` scopes.
fn ask(giver: &Giver, n: usize) -> Ask {
    let scopes = Arc::new((0..n).map(|scope| scope.to_string()).collect());
    let target = Target { scopes, ..Target::default() };
    Ask::of_app(&AppId::new("app").unwrap(), giver.clock.now(), target)
}

#[tokio::test]
async fn beyond_its_bound_the_token_that_ends_first_makes_room_and_is_given_back() {
    let (giver, cache) = giver();
    let source: Arc<dyn TokenSource> = Arc::<Giver>::clone(&giver);
    for n in [2, 1, 3] {
        cache.obtain(ask(&giver, n), &source).await.unwrap();
    }
    assert!(cache.sweep(|_| false).is_empty());
    cache.obtain(ask(&giver, 4), &source).await.unwrap();
    cache.strays().await;
    let given = cache.sweep(|_| false);
    assert_eq!(given.len(), 1);
    let mut kept: Vec<_> = cache.state().entries.keys().map(|key| key.scopes.len()).collect();
    kept.sort_unstable();
    assert_eq!(kept, [2, 3, 4], "the first one made room");
}

#[tokio::test]
async fn a_request_that_panics_answers_those_who_wait_and_stands_in_nobodys_way() {
    let (giver, cache) = giver();
    let source: Arc<dyn TokenSource> = Arc::<Giver>::clone(&giver);
    giver.panics.store(true, std::sync::atomic::Ordering::SeqCst);
    let stop = cache.obtain(ask(&giver, 1), &source).await.unwrap_err();
    assert_eq!(stop.code(), FaultKind::Internal.code());
    giver.panics.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(cache.obtain(ask(&giver, 1), &source).await.is_ok());
}
