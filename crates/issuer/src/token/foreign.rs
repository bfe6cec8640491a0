use secrecy::SecretString;
use serde_json::Value;
use vestibule_inbound::{ACCESS_TOKEN_TYPE, CALL_TOKEN_TYPE};
use vestibule_model::{Fault, FaultKind};

use crate::Issuer;

impl Issuer {
    /// A token of that type with these claims, for somebody outside who trusts our keys.
    ///
    /// # Errors
    /// [`FaultKind::AccessUnavailable`] when it cannot be signed; [`FaultKind::Internal`] for a type that opens a door here.
    pub fn sign_for_others(&self, typ: &str, claims: &Value) -> Result<SecretString, Fault> {
        // INVARIANT: what our own doors take is made by `mint` and `call_token` only. RFC 8725 §3.11: kinds of tokens are
        // told apart by `typ`, and a `typ` is compared without its `application/` and without case (RFC 7515 §4.1.9).
        let own = [ACCESS_TOKEN_TYPE, CALL_TOKEN_TYPE];
        let short = typ.to_ascii_lowercase();
        if own.contains(&short.strip_prefix("application/").unwrap_or(&short)) {
            return Err(Fault::new(
                FaultKind::Internal,
                format!("a token of type `{typ}` is not for others"),
            ));
        }
        let token = self.keys.sign(typ, claims);
        token.map(SecretString::from).map_err(|error| Fault::new(FaultKind::AccessUnavailable, error))
    }
}
