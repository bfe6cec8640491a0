use http::{HeaderMap, HeaderValue, header};
use vestibule_inbound::dpop;
use vestibule_model::{Answer, Stop};

use super::Surface;

/// RFC 6750 §3 and RFC 9728 §5.1: what to present, and where to learn how. A 401 or 403 without it stops real clients.
pub(super) fn put(stop: &Stop, surface: &Surface, headers: &mut HeaderMap) {
    let (Stop::Denied(refusal), Some(app)) = (stop, &surface.app) else { return };
    let mut parts = vec![format!("resource_metadata=\"{}\"", app.metadata_url())];
    let sentence = refusal.denial.sentence();
    let mut is_dpop = surface.is_dpop;
    match refusal.denial.answer() {
        Answer::Challenge(error) => {
            if let Some(error) = error {
                parts.push(format!("error=\"{error}\", error_description=\"{sentence}\""));
            }
            let scopes = app.scopes();
            if !scopes.is_empty() {
                parts.push(format!("scope=\"{scopes}\""));
            }
        }
        Answer::Proof(error) => {
            is_dpop = true;
            parts.push(format!("error=\"{error}\", error_description=\"{sentence}\""));
        }
        // RFC 6750 §3.1: the scope necessary to access the resource.
        Answer::StepUp => parts.push(format!(
            "error=\"insufficient_scope\", error_description=\"{sentence}\", scope=\"{}\"",
            refusal.scopes.join(" ")
        )),
        Answer::Status(_) | Answer::Unknown | Answer::Forbidden | Answer::HeaderMismatch => return,
    }
    // RFC 9449 §7.1: the challenge is of the scheme that is needed, and says which algorithms sign a proof.
    let scheme = if is_dpop { "DPoP" } else { "Bearer" };
    if is_dpop {
        let names: Vec<_> =
            dpop::ALGORITHMS.iter().flat_map(|algorithm| algorithm.names()).copied().collect();
        parts.push(format!("algs=\"{}\"", names.join(" ")));
    }
    if let Ok(value) = HeaderValue::from_str(&format!("{scheme} {}", parts.join(", "))) {
        headers.insert(header::WWW_AUTHENTICATE, value);
    }
}
