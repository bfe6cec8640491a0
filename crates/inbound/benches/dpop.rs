//! What it costs to verify a proof of possession, beside what the signature check alone costs.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]
#![expect(clippy::print_stdout, reason = "the ratio is the result")]

use std::{hint::black_box, sync::Arc, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::DecodingKey;
use serde_json::{Value, json};
use vestibule_inbound::dpop::{Expected, PROOF_TYPE, Proofs};
use vestibule_model::{Clock, Digest, Entropy, Jti, OsEntropy, SeededEntropy, SystemClock};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const URL: &str = "https://gateway.example/apps/tickets/mcp";
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// An agent that makes a proof for each request, by one key.
struct Prover {
    pair: EcdsaKeyPair,
    jwk: Value,
    key: DecodingKey,
    entropy: SeededEntropy,
    token: String,
    proofs: Arc<Proofs>,
    clock: Arc<SystemClock>,
}

impl Prover {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        // The uncompressed point (SEC 1 §2.3.3): one byte of form, then x and y.
        let (x, y) = pair.public_key().as_ref().split_at(1).1.split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let key = DecodingKey::from_ec_components(&x, &y).unwrap();
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        let clock = Arc::new(SystemClock::default());
        // One key for more proofs than a key may use.
        let proofs = Proofs::for_test(Arc::<SystemClock>::clone(&clock), &OsEntropy, 1_000_000, 1_000_000);
        // About as long as a hop token of a chain of two.
        let token = "t".repeat(1_100);
        Self { pair, jwk, key, entropy: SeededEntropy::new(1), token, proofs, clock }
    }

    fn prove(&self) -> HeaderMap {
        let entropy: &dyn Entropy = &self.entropy;
        let header = json!({ "typ": PROOF_TYPE, "alg": "ES256", "jwk": self.jwk });
        let claims = json!({
            "jti": Jti::random(entropy).as_str(), "htm": "POST", "htu": URL,
            "iat": self.clock.now().seconds(), "nonce": self.proofs.nonce(),
            "ath": URL_SAFE_NO_PAD.encode(Digest::of(self.token.as_bytes()).bytes()),
        });
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        let value = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
        HeaderMap::from_iter([(DPOP, HeaderValue::try_from(value).unwrap())])
    }

    fn whole(&self, headers: &HeaderMap) {
        let expected = Expected { method: "POST", url: URL, token: Some(&self.token) };
        assert!(self.proofs.verify(black_box(headers), &expected).unwrap().is_some());
    }

    /// The signature of the same bytes, by the library that verifies it inside.
    fn signature_alone(&self, headers: &HeaderMap) {
        let text = headers.get(DPOP).unwrap().to_str().unwrap();
        let (message, signature) = black_box(text).rsplit_once('.').unwrap();
        let algorithm = jsonwebtoken::Algorithm::ES256;
        assert!(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm).unwrap());
    }

    fn time(&self, work: impl FnOnce()) -> Duration {
        let start = self.clock.monotonic();
        work();
        self.clock.monotonic().since(start)
    }

    /// Both over the same proofs, one right after the other, so that what else the machine does weighs on both alike.
    fn ratio(&self) -> f64 {
        let (mut whole, mut alone): (Vec<_>, Vec<_>) = (0..4_000)
            .map(|turn| {
                let headers = self.prove();
                if turn % 2 == 0 {
                    let whole = self.time(|| self.whole(&headers));
                    (whole, self.time(|| self.signature_alone(&headers)))
                } else {
                    let alone = self.time(|| self.signature_alone(&headers));
                    (self.time(|| self.whole(&headers)), alone)
                }
            })
            .unzip();
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times.get(times.len() / 2).unwrap().as_secs_f64()
        };
        median(&mut whole) / median(&mut alone)
    }
}

fn verification(c: &mut Criterion) {
    let prover = Prover::new();
    let mut group = c.benchmark_group("verify a proof of possession");
    group.measurement_time(Duration::from_secs(2));
    group.bench_function("whole", |b| {
        b.iter_batched_ref(|| prover.prove(), |headers| prover.whole(headers), BatchSize::SmallInput);
    });
    let headers = prover.prove();
    group.bench_function("signature alone", |b| b.iter(|| prover.signature_alone(&headers)));
    group.finish();
    println!("a proof costs {:.3} times its signature check", prover.ratio());
}

criterion_group!(benches, verification);
criterion_main!(benches);
