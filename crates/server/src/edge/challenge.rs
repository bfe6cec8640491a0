use http::{HeaderMap, HeaderValue, header};
use vestibule_model::{Answer, Stop};

use super::Surface;

/// RFC 6750 §3 and RFC 9728 §5.1: what to present, and where to learn how. A 401 or 403 without it stops real clients.
pub(super) fn put(stop: &Stop, surface: &Surface, headers: &mut HeaderMap) {
    let (Stop::Denied(refusal), Some(app)) = (stop, &surface.app) else { return };
    let mut parts = vec![format!("resource_metadata=\"{}\"", app.metadata_url())];
    match refusal.denial.answer() {
        Answer::Challenge(error) => {
            if let Some(error) = error {
                parts.push(format!("error=\"{error}\", error_description=\"{}\"", refusal.denial.sentence()));
            }
            let scopes = app.scopes();
            if !scopes.is_empty() {
                parts.push(format!("scope=\"{scopes}\""));
            }
        }
        // RFC 6750 §3.1: the scope necessary to access the resource.
        Answer::StepUp => parts.push(format!(
            "error=\"insufficient_scope\", error_description=\"{}\", scope=\"{}\"",
            refusal.denial.sentence(),
            refusal.scopes.join(" ")
        )),
        Answer::Status(_) | Answer::Unknown | Answer::Forbidden | Answer::HeaderMismatch => return,
    }
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {}", parts.join(", "))) {
        headers.insert(header::WWW_AUTHENTICATE, value);
    }
}
