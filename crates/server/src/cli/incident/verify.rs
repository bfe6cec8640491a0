use std::path::Path;

use serde_json::{Value, json};
use vestibule_evidence::{BUNDLE_KEY, PublicKey, verify_bundle};

use crate::cli::{
    Failure, Outcome,
    output::{Out, moment, text},
};

/// Verifies a bundle without a gateway.
pub(in crate::cli) fn verify(bundle: &Path, key: Option<&str>, out: &Out) -> Outcome {
    let (text, is_own) = match key {
        Some(key) => (key.to_owned(), false),
        None => (own_key(bundle)?, true),
    };
    let key = PublicKey::parse(text.trim()).map_err(Failure::usage)?;
    let answer = match verify_bundle(bundle, &key) {
        Ok(report) => json!({ "ok": true, "key_from": from(is_own), "report": report }),
        Err(error) => json!({ "ok": false, "key_from": from(is_own), "error": error.to_string() }),
    };
    let is_ok = answer.get("ok") == Some(&Value::Bool(true));
    out.result(&answer, || told(&answer));
    if is_own {
        out.complain(&format!(
            "WARNING: the key came from the bundle itself. Whoever made a bundle up has put a key of their own beside it. \
             Compare it with the one that you have got by another way, or give that with `--key`:\n  {key}"
        ));
    }
    if is_ok { Ok(()) } else { Err(Failure::No) }
}

fn from(is_own: bool) -> &'static str {
    if is_own { "bundle" } else { "operator" }
}

fn own_key(bundle: &Path) -> Result<String, Failure> {
    let path = bundle.join(BUNDLE_KEY);
    std::fs::read_to_string(&path).map_err(|error| {
        Failure::Usage(format!("no public key in `{}`: {error}; give `--key`", path.display()))
    })
}

fn told(answer: &Value) -> String {
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return format!("FAILED  {error}");
    }
    let report = answer.get("report").cloned().unwrap_or_default();
    format!(
        "ok  incident {}: {} files as they were gathered {}, {} entries that stand in the record of {} entries, {} attempts",
        text(&report, "incident"),
        text(&report, "files"),
        moment(report.get("sealed_at")),
        text(&report, "entries"),
        text(&report, "log_entries"),
        text(&report, "attempts"),
    )
}
