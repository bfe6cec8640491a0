//! Agents that hold a key: they ask, they spawn, and they sign proofs before these are needed.

use std::{sync::Arc, thread};

use vestibule_model::SystemClock;
use vestibule_testkit::{AgentKey, Credential, Holder, Reply, TestAgent};

use crate::{Failed, load::BoundToken, wire::Target};

/// A registered agent and the secret by which it asks for tokens.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// Waits for work that is mostly waiting itself.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failed::because("cannot start", error))?.block_on(work)
}

/// What `client` gets for a resource, bound to a fresh key.
pub(crate) async fn root(issuer: &str, client: &Client, resource: &str) -> Result<Holder, Failed> {
    let credential = Credential::Basic(client.secret.clone());
    let clock = Arc::new(SystemClock::default());
    let agent = TestAgent::connect(issuer, &client.id, credential, clock).await;
    let form = [("grant_type", "client_credentials"), ("resource", resource)];
    Holder::ask(&agent, AgentKey::generate("root"), &form).await.map_err(|reply| refused("no root", &reply))
}

/// An agent below `parent` that is known by a fresh key alone.
pub(crate) async fn spawn(parent: &Holder) -> Result<Holder, Failed> {
    let spawned = parent.try_spawn(AgentKey::generate("child"), &[]).await;
    spawned.map_err(|reply| refused("not spawned", &reply))
}

/// The last of a chain of `depth` agents.
pub(crate) async fn chain(
    issuer: &str,
    client: &Client,
    resource: &str,
    depth: usize,
) -> Result<Holder, Failed> {
    let mut last = root(issuer, client, resource).await?;
    for _ in 1..depth {
        last = spawn(&last).await?;
    }
    Ok(last)
}

fn refused(what: &str, reply: &Reply) -> Failed {
    Failed::because(what, format!("{} {}", reply.status, reply.text()))
}

/// The tokens of these agents, each with so many proofs for `POST` to one place. All cores sign.
pub(crate) fn with_proofs(holders: Vec<Holder>, target: &Target, proofs: usize) -> Vec<BoundToken> {
    let url = format!("http://{}{}", target.authority, target.path);
    let sign = |holder: &Holder| {
        BoundToken::new(holder.token().to_owned(), (0..proofs).map(|_| holder.proof("POST", &url)).collect())
    };
    thread::scope(|scope| {
        let signers: Vec<_> = holders.iter().map(|holder| scope.spawn(move || sign(holder))).collect();
        // A signer that panicked has signed nothing, which the load will tell.
        signers.into_iter().filter_map(|signer| signer.join().ok()).collect()
    })
}
