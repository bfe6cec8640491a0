//! Identifiers and JSON as they fit on a page. What is shortened ends in `…`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

const THUMBPRINT_URI: &str = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:";
/// Shorter texts are shown whole.
const ID_MIN_CHARS: usize = 32;
/// Of a long identifier: enough to tell it from the others on the page.
const SHOWN_CHARS: usize = 8;

/// A long identifier by its beginning; any other text as it is.
pub(super) fn brief(text: &str) -> String {
    if let Some(thumbprint) = text.strip_prefix(THUMBPRINT_URI) {
        return format!("urn:…:{}", brief(thumbprint));
    }
    let is_id = text.len() >= ID_MIN_CHARS
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_id { format!("{}…", text.chars().take(SHOWN_CHARS).collect::<String>()) } else { text.to_owned() }
}

/// JSON on as few lines as fit into `width` columns, its identifiers brief.
pub(super) fn pretty(value: &Value, width: usize) -> String {
    let mut lines = Vec::new();
    write(value, 0, ("", ""), width, &mut lines);
    lines.join("\n")
}

/// `around` is what stands before and after the value on its lines.
fn write(value: &Value, indent: usize, around: (&str, &str), width: usize, lines: &mut Vec<String>) {
    let (before, after) = around;
    let flat = format!("{:indent$}{before}{}{after}", "", flat(value));
    let (open, members, close): (_, Vec<(String, &Value)>, _) = match value {
        Value::Object(members) => {
            let named = |(name, value)| (format!("{}: ", Value::from(String::as_str(name))), value);
            ("{", members.iter().map(named).collect(), "}")
        }
        Value::Array(items) => ("[", items.iter().map(|item| (String::new(), item)).collect(), "]"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => ("", Vec::new(), ""),
    };
    if members.is_empty() || flat.chars().count() <= width {
        lines.push(flat);
        return;
    }
    lines.push(format!("{:indent$}{before}{open}", ""));
    for (index, (name, member)) in members.iter().enumerate() {
        let comma = if index + 1 == members.len() { "" } else { "," };
        write(member, indent + 2, (name, comma), width, lines);
    }
    lines.push(format!("{:indent$}{close}{after}", ""));
}

fn flat(value: &Value) -> String {
    match value {
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let member = |(name, value)| format!("{}: {}", Value::from(String::as_str(name)), flat(value));
            format!("{{ {} }}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flat).collect::<Vec<_>>().join(", ")),
        Value::String(text) => Value::from(brief(text)).to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// The claims of a token, for showing. Nothing is verified here.
pub(super) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    payload.and_then(|payload| serde_json::from_slice(&payload).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_identifiers_are_shown_by_their_beginning_and_nothing_else_is() {
        let thumbprint = "3npFxBlrJXJnGgwdsxjYFeUxXXeZIv7ZImXOzr5jIW8";
        assert_eq!(brief(thumbprint), "3npFxBlr…");
        assert_eq!(brief(&format!("{THUMBPRINT_URI}{thumbprint}")), "urn:…:3npFxBlr…");
        for text in ["researcher-1a2b3c4d", "http://127.0.0.1:8700/apps/sandbox/mcp/and/more", ""] {
            assert_eq!(brief(text), text);
        }
    }

    #[test]
    fn json_is_broken_into_lines_only_where_it_does_not_fit() {
        let value = json!({ "sub": "alice", "vst": { "depth": 4, "path": ["a", "b"] }, "none": {} });
        assert_eq!(
            pretty(&value, 100),
            r#"{ "sub": "alice", "vst": { "depth": 4, "path": ["a", "b"] }, "none": {} }"#
        );
        let narrow = [
            "{",
            r#"  "sub": "alice","#,
            r#"  "vst": { "depth": 4, "path": ["a", "b"] },"#,
            r#"  "none": {}"#,
            "}",
        ];
        assert_eq!(pretty(&value, 45), narrow.join("\n"));
    }
}
