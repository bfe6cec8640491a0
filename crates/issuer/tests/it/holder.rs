//! Agents that hold a key and a token bound to it, and what they do with them.

use http::{HeaderMap, header::AUTHORIZATION};
use serde_json::json;
use vestibule_containment::Path;
use vestibule_inbound::Caller;
use vestibule_issuer::{Minted, OAuthError, Reason, TokenResponse};
use vestibule_model::{Denial, Jti, OsEntropy};

use crate::{
    signer::hash,
    support::{Signer, TOKEN_ENDPOINT, World, access_token, app, basic},
};

pub(crate) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(crate) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

pub(crate) struct Holder {
    pub(crate) key: Signer,
    pub(crate) token: String,
    pub(crate) minted: Minted,
}

impl Holder {
    pub(crate) fn of(key: Signer, response: &TokenResponse) -> Self {
        Self { key, token: access_token(response), minted: response.minted.clone() }
    }
}

impl World {
    /// A header with a proof by `key`, about `token`, for a request at `url`.
    pub(crate) fn proof_at(&self, key: &Signer, url: &str, token: Option<&str>) -> HeaderMap {
        let mut claims = json!({
            "jti": Jti::random(&OsEntropy), "htm": "POST", "htu": url, "iat": self.now(),
            "nonce": self.judges.proofs.nonce(),
        });
        if let Some(token) = token {
            claims["ath"] = json!(hash(token));
        }
        let mut headers = HeaderMap::new();
        headers.insert("dpop", key.proof(&claims).parse().unwrap());
        headers
    }

    /// The same at the token endpoint.
    pub(crate) fn proof(&self, key: &Signer, token: Option<&str>) -> HeaderMap {
        self.proof_at(key, TOKEN_ENDPOINT, token)
    }

    /// A client with its secret and a proof by `key`.
    pub(crate) fn proven(&self, id: &str, secret: &str, key: &Signer) -> HeaderMap {
        let mut headers = basic(id, secret);
        headers.extend(self.proof(key, None));
        headers
    }

    /// A root of `worker` for the sandbox that is bound to a fresh key.
    pub(crate) async fn root(&self, secret: &str, more: &[(&str, &str)]) -> Holder {
        self.root_of("worker", secret, &[&[("resource", crate::support::SANDBOX)], more].concat()).await
    }

    pub(crate) async fn root_of(&self, id: &str, secret: &str, more: &[(&str, &str)]) -> Holder {
        let key = Signer::new("dpop");
        let form = [&[("grant_type", "client_credentials")], more].concat();
        let response = self.token(&self.proven(id, secret, &key), &form).await.unwrap();
        Holder::of(key, &response)
    }

    /// An exchange of the holder's token with a proof of its key.
    pub(crate) async fn exchange(
        &self,
        holder: &Holder,
        more: &[(&str, &str)],
    ) -> Result<TokenResponse, OAuthError> {
        let headers = self.proof(&holder.key, Some(&holder.token));
        self.exchange_with(&headers, &holder.token, more).await
    }

    /// The same with other headers.
    pub(crate) async fn exchange_with(
        &self,
        headers: &HeaderMap,
        token: &str,
        more: &[(&str, &str)],
    ) -> Result<TokenResponse, OAuthError> {
        let subject =
            [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", ACCESS_TOKEN)];
        self.token(headers, &[&subject, more].concat()).await
    }

    pub(crate) async fn try_spawn(
        &self,
        parent: &Holder,
        child: &Signer,
        more: &[(&str, &str)],
    ) -> Result<TokenResponse, OAuthError> {
        let actor = child.actor_token(&child.actor_claims(&parent.token, self.now()));
        self.spawn_with(parent, &actor, more).await
    }

    /// A spawn with that actor token.
    pub(crate) async fn spawn_with(
        &self,
        parent: &Holder,
        actor: &str,
        more: &[(&str, &str)],
    ) -> Result<TokenResponse, OAuthError> {
        let actor = [("actor_token", actor), ("actor_token_type", JWT)];
        self.exchange(parent, &[&actor, more].concat()).await
    }

    /// A child with a fresh key.
    pub(crate) async fn spawn(&self, parent: &Holder, more: &[(&str, &str)]) -> Holder {
        let key = Signer::new("child");
        let response = self.try_spawn(parent, &key, more).await.unwrap();
        Holder::of(key, &response)
    }

    /// Why a child with a fresh key is not spawned.
    pub(crate) async fn not_spawned(&self, parent: &Holder, more: &[(&str, &str)]) -> Reason {
        self.try_spawn(parent, &Signer::new("child"), more).await.unwrap_err().reason
    }

    /// What door one makes of the token.
    fn presented(&self, holder: &Holder) -> Result<Caller, Denial> {
        let resource = holder.minted.delegation.resource.as_str();
        let mut headers = self.proof_at(&holder.key, resource, Some(&holder.token));
        headers.insert(AUTHORIZATION, format!("DPoP {}", holder.token).parse().unwrap());
        self.enter(&headers, resource)
    }

    pub(crate) fn caller(&self, holder: &Holder) -> Caller {
        self.presented(holder).unwrap()
    }

    /// Uses the token at its application, up to where policy would be asked.
    pub(crate) fn call(&self, holder: &Holder) -> Result<(), Denial> {
        let caller = self.presented(holder)?;
        let token = caller.token();
        let app = app(holder.minted.delegation.app.as_str());
        let path = Path {
            jti: Some(&token.jti),
            issued_at: token.issued_at,
            agents: caller.chain().actors(),
            nodes: &token.nodes,
            user: caller.represented(),
            behind: None,
            app: Some(&app),
            calls: &token.calls,
        };
        self.judges.containment.admit(&path, self.attempt()).map(drop)
    }
}
