use vestibule_model::{Denial, Refusal};

use crate::{
    Caller, Credential, Presented,
    dpop::{Demand, Proofs},
};

/// Lets the caller in whose token was verified, if it came in the way that its binding demands: one that is bound to a
/// key as `DPoP` with a proof of that key (RFC 9449 §7.1), any other as `Bearer`; neither is ever read as the other.
pub(crate) fn checked(
    caller: &Caller,
    credential: &Credential<'_>,
    presented: &Presented<'_>,
    proofs: &Proofs,
) -> Result<Caller, Refusal> {
    match (credential.is("DPoP"), caller.token().bound_to) {
        // RFC 9449 §7.2: "MUST reject a DPoP-bound access token received as a bearer token".
        (false, Some(_)) => {
            Err(Refusal::new(Denial::ProofMissing, "a token bound to a key came as a bearer token"))
        }
        (false, None) if Proofs::is_presented(presented.headers) => Err(Refusal::new(
            Denial::CredentialMalformed,
            "a proof of possession beside a token that is bound to no key",
        )),
        (false, None) => Ok(caller.clone()),
        // RFC 9449 §4.3 (12): "the public key to which the access token is bound matches".
        (true, None) => Err(Refusal::new(Denial::ProofWrongKey, "the token is bound to no key")),
        (true, Some(key)) => {
            let demand = Demand {
                method: presented.method,
                url: presented.url,
                token: Some(caller.token().digest),
                key: Some(key),
            };
            let proof = proofs.judge(presented.headers, &demand)?;
            let proof = proof.ok_or_else(|| Refusal::new(Denial::ProofMissing, "no `DPoP` header"))?;
            Ok(caller.clone().proven(proof))
        }
    }
}
