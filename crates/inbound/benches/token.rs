//! What it costs to verify a hop token: one that was never seen, and one that is remembered.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]

use std::{
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, header::AUTHORIZATION};
use serde_json::json;
use vestibule_inbound::{
    ACCESS_TOKEN_TYPE, Authenticator, HopTokens, Presented, VST_REVISION, VerificationKeys, dpop::Proofs,
    jws::Key,
};
use vestibule_model::{AppId, Clock, Entropy, FixedClock, Jti, NodeId, SeededEntropy, Timestamp, WorkflowId};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ISSUER: &str = "https://gateway.example";
const RESOURCE: &str = "https://gateway.example/apps/tickets/mcp";
const ISSUED_AT: i64 = 1_800_000_000;

/// An issuer that signs, each time under a new `jti`.
struct Issuer {
    pair: EcdsaKeyPair,
    entropy: SeededEntropy,
}

impl Issuer {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { pair, entropy: SeededEntropy::new(1) }
    }

    fn keys(&self) -> VerificationKeys {
        // The uncompressed point (SEC 1 §2.3.3): one byte of form, then x and y.
        let (x, y) = self.pair.public_key().as_ref().split_at(1).1.split_at(32);
        let b64 = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y) });
        VerificationKeys::new(vec![("k1".to_owned(), Arc::new(Key::from_jwk(&jwk).unwrap()))])
    }

    /// A human, and an agent that acts for them.
    fn request(&self) -> HeaderMap {
        let entropy: &dyn Entropy = &self.entropy;
        let node = NodeId::random(entropy);
        let claims = json!({
            "iss": ISSUER, "sub": "8f14e45f", "aud": RESOURCE, "client_id": "ticket-worker",
            "sub_id": { "format": "iss_sub", "iss": "https://idp.example", "sub": "8f14e45f" },
            "act": { "iss": ISSUER, "sub": "ticket-worker" },
            "jti": Jti::random(entropy).as_str(), "acti": WorkflowId::random(entropy).as_str(),
            "iat": ISSUED_AT, "exp": ISSUED_AT + 120, "scope": "tickets:read tickets:write profile",
            "vst": {
                "rev": VST_REVISION, "node": node, "path": [node], "since": [ISSUED_AT], "keys": [[]], "depth": 1,
                "max_depth": 4, "node_exp": ISSUED_AT + 3600, "user": { "groups": ["staff"], "sid": "s1" },
            },
            "department": "platform", "tenant": "acme", "role": ["builder", "reader"],
        });
        let header = json!({ "typ": ACCESS_TOKEN_TYPE, "alg": "ES256", "kid": "k1" });
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let input = format!("{}.{}", b64(header.to_string().as_bytes()), b64(claims.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        let value = format!("Bearer {input}.{}", b64(signature.as_ref()));
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }
}

fn verification(c: &mut Criterion) {
    let issuer = Issuer::new();
    let keys = Arc::new(ArcSwap::from_pointee(issuer.keys()));
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(Timestamp::from_seconds(ISSUED_AT)));
    let proofs = Proofs::new(Arc::clone(&clock), &issuer.entropy);
    let door = Authenticator::new(vec![Box::new(HopTokens::new(ISSUER, keys, clock, 10_000, proofs))]);
    let app = AppId::new("sandbox").unwrap();
    let verify = |headers: &HeaderMap| {
        let headers = black_box(headers);
        let presented =
            Presented { headers, query: None, resource: RESOURCE, app: &app, method: "POST", url: RESOURCE };
        let mut context = Context::from_waker(Waker::noop());
        let caller = match pin!(door.authenticate(&presented)).poll(&mut context) {
            Poll::Ready(caller) => caller.ok(),
            // A token of ours waits for nobody.
            Poll::Pending => None,
        };
        caller.unwrap()
    };
    let mut group = c.benchmark_group("verify a hop token");
    group.measurement_time(Duration::from_secs(2));
    group.bench_function("never seen", |b| {
        b.iter_batched_ref(|| issuer.request(), |headers| verify(headers), BatchSize::SmallInput);
    });
    let headers = issuer.request();
    group.bench_function("remembered", |b| b.iter(|| verify(&headers)));
    group.finish();
}

criterion_group!(benches, verification);
criterion_main!(benches);
