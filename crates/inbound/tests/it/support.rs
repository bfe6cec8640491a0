use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use vestibule_inbound::{
    Authenticator, Caller, HopTokens, Presented, VerificationKeys, dpop::Proofs, jws::Key,
};
use vestibule_model::{AppId, Denial, Digest, FixedClock, Refusal, SeededEntropy, Timestamp};

pub(crate) const ISSUER: &str = "https://gw.test";
pub(crate) const RESOURCE: &str = "https://gw.test/apps/sandbox/mcp";
pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const NODE: &str = "11111111111111111111111111111111";

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An ES256 key pair.
pub(crate) struct Signer {
    private: EncodingKey,
    pub(crate) jwk: Value,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)});
        Self { private: EncodingKey::from_ec_der(pkcs8.as_ref()), jwk }
    }

    pub(crate) fn key(&self) -> Arc<Key> {
        Arc::new(Key::from_jwk(&self.jwk).unwrap())
    }

    /// What tokens are bound to.
    pub(crate) fn jkt(&self) -> String {
        self.key().thumbprint().to_string()
    }

    /// Signs header and payload as the texts they are.
    pub(crate) fn sign_texts(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", b64(header), b64(payload));
        let signature =
            jsonwebtoken::crypto::sign(input.as_bytes(), &self.private, Algorithm::ES256).unwrap();
        format!("{input}.{signature}")
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }
}

pub(crate) fn header() -> Value {
    json!({"typ": "at+jwt", "alg": "ES256", "kid": "k1"})
}

/// The claims of a good token for the agent `worker`.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "worker", "aud": RESOURCE, "client_id": "worker",
        "jti": "22222222222222222222222222222222", "acti": "33333333333333333333333333333333",
        "iat": NOW, "exp": NOW + 120, "scope": "repo:read repo:write", "vst": vst(&[NODE]),
        "department": "platform", "role": ["builder", "reader"],
    })
}

/// A good `vst` with these nodes, made one after the other, without keys.
pub(crate) fn vst(path: &[&str]) -> Value {
    let depth = path.len();
    let since: Vec<_> = (0..depth).map(|n| NOW - 10 + i64::try_from(n).unwrap()).collect();
    json!({"rev": 2, "node": path.last(), "path": path, "since": since, "keys": vec![json!([]); depth],
        "depth": depth, "max_depth": depth.max(4), "node_exp": NOW + 3600})
}

/// The claims of a token for `agents.last()`, spawned through the others, for a human or for nobody, bound to `jkt`.
pub(crate) fn spawned(agents: &[&str], user: Option<&str>, jkt: &str) -> Value {
    let nodes: Vec<String> = (0..agents.len()).map(|n| format!("{n:032x}")).collect();
    let mut claims = claims();
    let (subject, actors) = match user {
        Some(user) => {
            claims["sub_id"] = json!({"format": "iss_sub", "iss": "https://idp.test", "sub": user});
            (user, agents)
        }
        None => (agents[0], &agents[1..]),
    };
    claims["sub"] = json!(subject);
    claims["client_id"] = json!(agents.last());
    let mut act = Value::Null;
    for agent in actors {
        let mut outer = json!({"iss": ISSUER, "sub": agent});
        if !act.is_null() {
            outer["act"] = act;
        }
        act = outer;
    }
    if !act.is_null() {
        claims["act"] = act;
    }
    claims["vst"] = vst(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
    claims["vst"]["keys"][agents.len() - 1] = json!([jkt]);
    claims["cnf"] = json!({"jkt": jkt});
    claims
}

/// `claims` with the member at `path` (a JSON pointer) replaced, or removed if `value` is null.
pub(crate) fn changed(mut claims: Value, path: &str, value: &Value) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = claims.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.shift_remove(name);
    } else {
        parent.insert(name.to_owned(), value.clone());
    }
    claims
}

pub(crate) fn dpop_header(signer: &Signer) -> Value {
    json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": signer.jwk})
}

/// The claims of a good proof, each time with another `jti`.
pub(crate) fn dpop_claims(proofs: &Proofs, token: Option<&str>) -> Value {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let mut claims = json!({
        "jti": format!("proof-{}", COUNT.fetch_add(1, Ordering::SeqCst)),
        "htm": "POST", "htu": RESOURCE, "iat": NOW, "nonce": proofs.nonce(),
    });
    if let Some(token) = token {
        claims["ath"] = json!(b64(Digest::of(token.as_bytes()).bytes()));
    }
    claims
}

/// Door one with one key, `k1`, at a clock that stands still, and the key of an agent.
pub(crate) struct Door {
    pub(crate) signer: Signer,
    pub(crate) holder: Signer,
    pub(crate) keys: Arc<ArcSwap<VerificationKeys>>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) authenticator: Authenticator,
}

impl Door {
    pub(crate) fn new() -> Self {
        let (signer, holder) = (Signer::new(), Signer::new());
        let keys = VerificationKeys::new(vec![("k1".to_owned(), signer.key())]);
        let keys = Arc::new(ArcSwap::from_pointee(keys));
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(NOW)));
        let proofs = Proofs::new(Arc::<FixedClock>::clone(&clock), &SeededEntropy::new(1));
        let authenticator = Authenticator::new(vec![Box::new(hop_tokens(&keys, &clock, &proofs))]);
        Self { signer, holder, keys, clock, proofs, authenticator }
    }

    /// Another scheme of the same keys, clock and proofs.
    pub(crate) fn hop_tokens(&self) -> HopTokens {
        hop_tokens(&self.keys, &self.clock, &self.proofs)
    }

    pub(crate) fn present(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Caller, Refusal> {
        at_once(self.authenticator.authenticate(&presented(headers, query)))
    }

    /// As a bearer token.
    pub(crate) fn bearer(&self, token: &str) -> Result<Caller, Denial> {
        self.denial(token, &bearer(token))
    }

    /// With these proofs, each in a header of its own.
    pub(crate) fn dpop(&self, token: &str, proofs: &[&str]) -> Result<Caller, Denial> {
        self.denial(token, &dpop(token, proofs))
    }

    fn denial(&self, token: &str, headers: &HeaderMap) -> Result<Caller, Denial> {
        self.present(headers, None).map_err(|refusal| {
            assert!(!refusal.cause.contains(token), "the cause quotes the token");
            refusal.denial
        })
    }

    pub(crate) fn claims(&self, claims: &Value) -> Result<Caller, Denial> {
        self.bearer(&self.signer.sign(&header(), claims))
    }

    /// A token with these claims, with a good proof of the holder's key.
    pub(crate) fn bound(&self, claims: &Value) -> Result<Caller, Denial> {
        let token = self.signer.sign(&header(), claims);
        self.dpop(&token, &[&self.proof(&token)])
    }

    /// A good proof of the holder's key for this token.
    pub(crate) fn proof(&self, token: &str) -> String {
        self.holder.sign(&dpop_header(&self.holder), &dpop_claims(&self.proofs, Some(token)))
    }
}

fn hop_tokens(
    keys: &Arc<ArcSwap<VerificationKeys>>,
    clock: &Arc<FixedClock>,
    proofs: &Arc<Proofs>,
) -> HopTokens {
    HopTokens::new(ISSUER, Arc::clone(keys), Arc::<FixedClock>::clone(clock), 100, Arc::clone(proofs))
}

pub(crate) fn presented<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Presented<'a> {
    Presented { headers, query, resource: RESOURCE, app: app(), method: "POST", url: RESOURCE }
}

pub(crate) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers
}

pub(crate) fn dpop(token: &str, proofs: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("DPoP {token}").parse().unwrap());
    for proof in proofs {
        headers.append(HeaderName::from_static("dpop"), proof.parse().unwrap());
    }
    headers
}

/// What comes without waiting: nothing but the keys of an outside issuer is ever waited for.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let done = match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(done) => Some(done),
        std::task::Poll::Pending => None,
    };
    done.unwrap()
}

/// The application of [`RESOURCE`].
pub(crate) fn app() -> &'static AppId {
    static APP: LazyLock<AppId> = LazyLock::new(|| AppId::new("sandbox").unwrap());
    &APP
}
