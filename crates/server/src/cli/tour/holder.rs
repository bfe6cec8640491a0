use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};
use vestibule_egress::{Client, full};
use vestibule_model::{Clock, OsEntropy, SystemClock};

use super::{
    super::{Failure, admin_client::http_client},
    agent::{Answer, answer},
};
use crate::sandbox::{Proven, Signer};

/// A nonce may turn old between two requests; it does not twice.
const TRIES: usize = 3;

/// An agent that holds a key: each of its requests carries a proof of it (RFC 9449), so its tokens are of no use to
/// anybody else.
#[derive(Debug)]
pub(super) struct Holder {
    /// Its part in the story.
    pub(super) name: &'static str,
    /// Who it is to the gateway.
    pub(super) id: String,
    key: Signer,
    pub(super) entrance: Arc<Entrance>,
}

/// The gateway, as all agents of the story reach it.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) issuer: String,
    pub(super) clock: SystemClock,
    client: Client,
    /// What the gateway said last that a proof has to name.
    nonce: Mutex<Option<String>>,
}

impl Entrance {
    pub(super) fn new(issuer: &str) -> Result<Arc<Self>, Failure> {
        let clock = SystemClock::default();
        Ok(Arc::new(Self {
            issuer: issuer.to_owned(),
            clock,
            client: http_client()?,
            nonce: Mutex::default(),
        }))
    }

    /// Sends a request as it is, of somebody without a key.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Failure> {
        self.client.send(request.map(full)).await.map_err(Failure::broken)
    }

    fn nonce(&self) -> Option<String> {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, headers: &HeaderMap) {
        if let Some(nonce) = headers.get("dpop-nonce").and_then(|nonce| nonce.to_str().ok()) {
            *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce.to_owned());
        }
    }
}

impl Holder {
    /// An agent that is known by its key alone, or `registered` under an id.
    pub(super) fn new(
        name: &'static str,
        registered: Option<String>,
        entrance: &Arc<Entrance>,
    ) -> Result<Self, Failure> {
        let key = Signer::fresh().map_err(Failure::broken)?;
        let id = registered.unwrap_or_else(|| key.agent().to_string());
        Ok(Self { name, id, key, entrance: Arc::clone(entrance) })
    }

    /// The thumbprint of its key.
    pub(super) fn thumbprint(&self) -> String {
        self.key.thumbprint().to_string()
    }

    /// Its public key, as an operator registers it.
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [self.key.jwk()] })
    }

    /// Asks the token endpoint, with a proof; `token` is the one that is exchanged, if it is one of the gateway's.
    pub(super) async fn ask(&self, fields: &[(&str, &str)], token: Option<&str>) -> Result<Answer, Failure> {
        let url = self.token_endpoint();
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut asked = self.ask_once(&url, &form, token).await?;
        for _ in 1..TRIES {
            if asked.body.get("error") != Some(&json!("use_dpop_nonce")) {
                break;
            }
            asked = self.ask_once(&url, &form, token).await?;
        }
        Ok(asked)
    }

    pub(super) fn token_endpoint(&self) -> String {
        format!("{}/oauth/token", self.entrance.issuer)
    }

    async fn ask_once(&self, url: &str, form: &str, token: Option<&str>) -> Result<Answer, Failure> {
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("dpop", self.proof("POST", url, token)?)
            .body(Bytes::from(form.to_owned()))
            .map_err(Failure::broken)?;
        let response = self.entrance.send(request).await?;
        self.entrance.learn(response.headers());
        answer(response).await
    }

    /// Sends a request with this token and a proof, and waits for the head of the reply.
    pub(super) async fn send(
        &self,
        request: &Request<Bytes>,
        token: &str,
    ) -> Result<Response<Incoming>, Failure> {
        let mut response = self.send_once(request, token).await?;
        for _ in 1..TRIES {
            let challenge = response.headers().get(header::WWW_AUTHENTICATE);
            let wants_nonce = response.status() == StatusCode::UNAUTHORIZED
                && challenge
                    .and_then(|value| value.to_str().ok())
                    .is_some_and(|it| it.contains("use_dpop_nonce"));
            if !wants_nonce {
                break;
            }
            response = self.send_once(request, token).await?;
        }
        Ok(response)
    }

    /// The same, the reply read whole.
    pub(super) async fn call(&self, request: &Request<Bytes>, token: &str) -> Result<Answer, Failure> {
        answer(self.send(request, token).await?).await
    }

    async fn send_once(&self, request: &Request<Bytes>, token: &str) -> Result<Response<Incoming>, Failure> {
        // RFC 9449 §4.2: `htu` is without the query.
        let url = request.uri().to_string();
        let url = url.split('?').next().unwrap_or_default();
        let proof = self.proof(request.method().as_str(), url, Some(token))?;
        let mut request = request.clone();
        for (name, value) in [("authorization", format!("DPoP {token}")), ("dpop", proof)] {
            request.headers_mut().insert(name, value.parse().map_err(Failure::broken)?);
        }
        let response = self.entrance.send(request).await?;
        self.entrance.learn(response.headers());
        Ok(response)
    }

    fn proof(&self, method: &str, url: &str, token: Option<&str>) -> Result<String, Failure> {
        let nonce = self.entrance.nonce();
        let request = Proven { method, url, nonce: nonce.as_deref(), token };
        self.key.proof(&request, self.entrance.clock.now(), &OsEntropy).map_err(Failure::broken)
    }

    /// What it signs so that the agent whose token this is may spawn it.
    pub(super) fn actor_token(&self, parent: &str) -> Result<String, Failure> {
        let Entrance { issuer, clock, .. } = &*self.entrance;
        self.key.actor_token(&self.id, issuer, parent, clock.now(), &OsEntropy).map_err(Failure::broken)
    }
}
