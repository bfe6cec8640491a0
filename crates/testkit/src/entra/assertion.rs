//! How the blueprint proves itself in step 1.

use serde_json::{Value, json};

use super::{
    State, TENANT, Told,
    directory::{BLUEPRINT, FEDERATED_SUBJECT, SECRET},
    form::Form,
    keys,
    refusal::Refused,
};

pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The issuer of the workload whose tokens the blueprint trusts.
const FEDERATED_ISSUER: &str = "https://workloads.test";

/// `certificate-credentials`: "keep it short, 5-10 minutes after nbf at most".
const ASSERTION_MAX_SECONDS: i64 = 600;

impl State {
    /// OBO page, step 1: `client_secret`, or `client_assertion` with its type: a token of a managed identity or what the
    /// key of a certificate has signed. One of them.
    pub(super) fn authenticate(&self, blueprint: &str, form: &Form) -> Told<()> {
        match (form.get("client_secret"), form.get("client_assertion")) {
            (Some(secret), None) if form.get("client_assertion_type").is_none() => {
                if blueprint == BLUEPRINT && secret == SECRET {
                    return Ok(());
                }
                Err(Refused::client(7_000_215, "Invalid client secret provided."))
            }
            (None, Some(assertion)) => {
                typed(form)?;
                let alg = keys::header(assertion).and_then(|header| Some(header["alg"].as_str()?.to_owned()));
                match alg.as_deref() {
                    Some("PS256") => self.certified(blueprint, assertion),
                    Some("RS256") => self.federated(blueprint, assertion),
                    _ => Err(Refused::client(5_002_738, "Invalid JWT token. Unsupported algorithm.")),
                }
            }
            _ => Err(Refused::client(
                7_000_218,
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
            )),
        }
    }

    /// `certificate-credentials`: header `alg` PS256, `typ` JWT, `x5t#S256`; claims `aud` = the token endpoint, `exp`,
    /// `iss` = `sub` = the client, `jti` a GUID, once, `nbf`, `iat`.
    fn certified(&self, blueprint: &str, assertion: &str) -> Told<()> {
        let invalid = |text: &str| {
            Refused::client(
                700_027,
                format!(
                    "The certificate with identifier used to sign the client assertion is not registered on application. {text}"
                ),
            )
        };
        let header = keys::header(assertion).unwrap_or_default();
        if header["typ"] != "JWT" || header["x5t#S256"] != json!(self.keys.thumbprint()) {
            return Err(invalid("typ, x5t#S256"));
        }
        if blueprint != BLUEPRINT {
            return Err(invalid("another application"));
        }
        let claims = self.keys.verified_by_certificate(assertion).ok_or_else(|| invalid("signature"))?;
        if claims["iss"] != json!(blueprint) || claims["sub"] != claims["iss"] {
            let text = "Client assertion application identifier doesn't match 'client_id' parameter.";
            return Err(Refused::client(700_021, text));
        }
        let endpoint = format!("{}/{TENANT}/oauth2/v2.0/token", self.authority());
        if claims["aud"] != json!(endpoint) {
            return Err(Refused::client(
                700_023,
                "Client assertion audience claim does not match Realm issuer.",
            ));
        }
        let time = |name: &str| claims[name].as_i64();
        let in_time = matches!((time("nbf"), time("iat"), time("exp")), (Some(nbf), Some(iat), Some(exp))
            if nbf <= self.now() && iat <= self.now() && self.now() < exp && exp - nbf <= ASSERTION_MAX_SECONDS);
        if !in_time {
            return Err(Refused::client(700_024, "Client assertion is not within its valid time range."));
        }
        let jti = claims["jti"].as_str().filter(|jti| is_guid(jti)).unwrap_or_default();
        if jti.is_empty() || !self.directory().use_once(jti) {
            return Err(Refused::client(50_027, "JWT token is invalid or malformed: jti."));
        }
        Ok(())
    }

    /// `workload-identities/workload-identity-federation`: issuer and subject of the federated credential to the letter,
    /// audience `api://AzureADTokenExchange`.
    fn federated(&self, blueprint: &str, assertion: &str) -> Told<()> {
        let claims = self.keys.verified_workload(assertion).filter(|_| blueprint == BLUEPRINT);
        let claims = claims
            .ok_or_else(|| Refused::client(700_027, "Client assertion failed signature validation."))?;
        for (name, expected, code) in [
            ("iss", FEDERATED_ISSUER, 700_211),
            ("sub", FEDERATED_SUBJECT, 700_213),
            ("aud", "api://AzureADTokenExchange", 700_212),
        ] {
            if claims[name] != json!(expected) {
                let text =
                    format!("No matching federated identity record found for presented assertion: {name}.");
                return Err(Refused::client(code, text));
            }
        }
        if claims["exp"].as_i64().is_none_or(|exp| exp <= self.now()) {
            return Err(Refused::client(700_024, "Client assertion is not within its valid time range."));
        }
        Ok(())
    }

    pub(super) fn federated_token(&self, with: &Value) -> String {
        let claims = json!({
            "iss": FEDERATED_ISSUER, "sub": FEDERATED_SUBJECT, "aud": "api://AzureADTokenExchange",
            "iat": self.now(), "exp": self.now() + 3600,
        });
        self.keys.sign_workload(&replaced(claims, with))
    }
}

/// The autonomous page has `client_assertion_type` in each request; the sample of the OBO page omits it.
pub(super) fn typed(form: &Form) -> Told<()> {
    if form.required("client_assertion_type")? == ASSERTION_TYPE {
        return Ok(());
    }
    Err(Refused::client(700_026, "The 'client_assertion_type' is not supported."))
}

/// The claims with some replaced: `null` removes one.
pub(super) fn replaced(mut claims: Value, with: &Value) -> Value {
    for (name, value) in with.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    if let Some(members) = claims.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    claims
}

fn is_guid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
