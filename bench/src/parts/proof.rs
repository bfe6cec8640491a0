use std::{hint::black_box, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Serialize;
use serde_json::{Value, json};
use vestibule_inbound::dpop::{Expected, Proofs};
use vestibule_model::{Clock, Jti, OsEntropy, SystemClock};
use vestibule_testkit::{AgentKey, token_hash};

use super::median;
use crate::Failed;

const METHOD: &str = "POST";
const URL: &str = "https://gateway.example/apps/tickets/mcp";
const DPOP: HeaderName = HeaderName::from_static("dpop");
/// About as long as a hop token of a chain of two, in bytes.
const TOKEN_BYTES: usize = 1_100;

/// What it costs to verify a proof of possession.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Verification {
    /// All of it, in microseconds.
    pub(crate) whole_us: f64,
    /// The signature alone, by the library that is inside, in microseconds.
    pub(crate) signature_us: f64,
    /// One divided by the other.
    pub(crate) ratio: f64,
}

/// By one key, as an agent that sends many requests.
struct Prover {
    agent: AgentKey,
    key: DecodingKey,
    token: String,
    proofs: Arc<Proofs>,
    clock: Arc<SystemClock>,
}

/// Both over the same proofs, one right after the other and now this, now that first, so that what else the machine does
/// weighs on both alike.
pub(super) fn measure(proofs: u32) -> Result<Verification, Failed> {
    let prover = Prover::new()?;
    let (mut whole, mut alone) = (Vec::new(), Vec::new());
    for turn in 0..proofs {
        let headers = prover.prove()?;
        let is_alone_first = turn % 2 == 0;
        if is_alone_first {
            alone.push(prover.time(|| prover.is_signed(&headers))?);
        }
        whole.push(prover.time(|| prover.is_proven(&headers))?);
        if !is_alone_first {
            alone.push(prover.time(|| prover.is_signed(&headers))?);
        }
    }
    let microseconds = |times: Vec<Duration>| median(times.iter().map(Duration::as_secs_f64)) * 1e6;
    let (whole_us, signature_us) = (microseconds(whole), microseconds(alone));
    Ok(Verification { whole_us, signature_us, ratio: whole_us / signature_us })
}

impl Prover {
    fn new() -> Result<Self, Failed> {
        let agent = AgentKey::generate("prover");
        let jwk = agent.jwk();
        let part = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        let key = DecodingKey::from_ec_components(part("x"), part("y"))
            .map_err(|error| Failed::because("the key of a prover", error))?;
        let clock = Arc::new(SystemClock::default());
        let proofs = Proofs::new(Arc::<SystemClock>::clone(&clock), &OsEntropy);
        Ok(Self { agent, key, token: "t".repeat(TOKEN_BYTES), proofs, clock })
    }

    fn prove(&self) -> Result<HeaderMap, Failed> {
        let proof = self.agent.proof(&json!({
            "jti": Jti::random(&OsEntropy), "htm": METHOD, "htu": URL, "iat": self.clock.now().seconds(),
            "nonce": self.proofs.nonce(), "ath": token_hash(&self.token),
        }));
        let value = HeaderValue::try_from(proof).map_err(|error| Failed::because("a proof", error))?;
        Ok(HeaderMap::from_iter([(DPOP, value)]))
    }

    fn is_proven(&self, headers: &HeaderMap) -> bool {
        let expected = Expected { method: METHOD, url: URL, token: Some(&self.token) };
        self.proofs.verify(black_box(headers), &expected).is_ok_and(|proof| proof.is_some())
    }

    fn is_signed(&self, headers: &HeaderMap) -> bool {
        let text = headers.get(DPOP).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((message, signature)) = black_box(text).rsplit_once('.') else { return false };
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, Algorithm::ES256)
            .is_ok_and(|is_signed| is_signed)
    }

    fn time(&self, is_good: impl FnOnce() -> bool) -> Result<Duration, Failed> {
        let start = self.clock.monotonic();
        if !is_good() {
            return Err(Failed("a good proof was refused".to_owned()));
        }
        Ok(self.clock.monotonic().since(start))
    }
}
