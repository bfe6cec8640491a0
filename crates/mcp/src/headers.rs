//! Headers against the body, and which headers pass at all.
//!
//! A modern upstream, and every box in between, may route by `Mcp-Method` and `Mcp-Name` without reading the body.
//! The attack is a header that names a permitted call over a body that makes another: the gateway has read the body,
//! so it compares, as MCP 2026-07-28 (SEP-2243) demands of whoever processes the body.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};
use serde_json::Value;
use vestibule_model::{
    Denial, Refusal,
    json::{Json, parse},
};

use crate::{
    era::{Era, META_CAPABILITIES, META_VERSION, check_version, requested},
    frame::{Frame, Kind},
};

/// `MCP-Protocol-Version`
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Session-Id`
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `Mcp-Method`
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name`
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The longest header value that is looked at, in bytes; longer ones are refused before they are decoded (SEP-2243).
pub const VALUE_MAX_BYTES: usize = 8192;
/// How deep `x-mcp-header` is looked for in a tool's schema.
const SCHEMA_MAX_DEPTH: usize = 16;

/// Whether a request header of the caller, in lower case, goes to the upstream. Everything else stays here: credentials
/// and cookies; `Host` and `Forwarded`, which speak of this hop; `baggage` and `tracestate`, which would carry a
/// stranger's data across the trust boundary; `User-Agent`, which is the gateway's own. `Mcp-Session-Id` and
/// `Content-Type` are absent because they never pass as they came: the gateway opens the seal and sets the upstream's
/// own session, and it says itself what it has read the body as.
#[must_use]
pub fn forwardable_request(name: &str) -> bool {
    match name {
        "accept" | "last-event-id" | "traceparent" => true,
        "mcp-session-id" => false,
        name => name.starts_with("mcp-"),
    }
}

/// Whether a reply header of the upstream, in lower case, goes to the caller. Not its challenges and cookies: its
/// credential is the gateway's. Not `Mcp-Session-Id` either, for the reason given at [`forwardable_request`].
#[must_use]
pub fn forwardable_response(name: &str) -> bool {
    matches!(
        name,
        "content-type"
            | "content-encoding"
            | "cache-control"
            | "retry-after"
            | "allow"
            | "mcp-protocol-version"
            | "x-accel-buffering"
    )
}

/// The value of a header that may be there at most once, without surrounding white space.
///
/// # Errors
/// [`Denial::HeaderMismatch`] when it is there twice, too long, or not visible ASCII.
pub fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.len() > VALUE_MAX_BYTES {
        return Err(mismatch(format!("`{name}` is there twice or too long")));
    }
    let text = value.to_str().map_err(|_| mismatch(format!("`{name}` is not visible ASCII")))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// Checks what a message says about itself: its version, what its era requires, and that its headers agree with its
/// body. For a call of a tool, `input_schema` is the tool's: it may declare arguments that are headers too.
///
/// # Errors
/// [`Denial::ProtocolVersionUnsupported`]; [`Denial::HeaderMismatch`]; [`Denial::FrameInvalid`] for a modern request
/// without its `_meta`, or a modern response.
pub fn check(
    frame: &Frame,
    era: Era,
    headers: &HeaderMap,
    input_schema: Option<&Value>,
) -> Result<(), Refusal> {
    check_version(Some(frame), headers)?;
    let is_modern_request = match (era, frame.kind()) {
        (Era::Legacy, _) | (Era::Modern, Kind::Notification { .. }) => false,
        (Era::Modern, Kind::Request { .. }) => true,
        // MCP 2026-07-28: "clients MUST NOT send" responses.
        (Era::Modern, Kind::Response { .. }) => {
            return Err(Refusal::new(Denial::FrameInvalid, "a modern client sends no responses"));
        }
    };
    if is_modern_request {
        check_meta(frame)?;
    }
    check_standard(frame, headers, is_modern_request)?;
    match (input_schema, frame.method()) {
        (Some(schema), Some("tools/call")) => {
            check_properties(era, schema, frame.param("arguments"), headers, 0)
        }
        (Some(_) | None, _) => Ok(()),
    }
}

/// MCP 2026-07-28: every request carries its version and the client's capabilities.
fn check_meta(frame: &Frame) -> Result<(), Refusal> {
    let has_capabilities = frame.meta(META_CAPABILITIES).is_some_and(|value| value.as_object().is_some());
    if requested(frame).is_some() && has_capabilities {
        return Ok(());
    }
    let hint = format!("`_meta` must have `{META_VERSION}` and `{META_CAPABILITIES}`");
    let mut refusal = Refusal::new(Denial::FrameInvalid, &hint);
    refusal.hints.push(hint);
    Err(refusal)
}

fn check_standard(frame: &Frame, headers: &HeaderMap, is_modern_request: bool) -> Result<(), Refusal> {
    let version = single(headers, &PROTOCOL_VERSION)?;
    // In a legacy message, and in a notification without `_meta`, the header is the only place of the version.
    if is_modern_request || (version.is_some() && requested(frame).is_some()) {
        agree("MCP-Protocol-Version", version, requested(frame))?;
    }
    compare(&METHOD, headers, frame.method(), is_modern_request)?;
    compare(&NAME, headers, named(frame), is_modern_request && named(frame).is_some())
}

/// What `Mcp-Name` must say (SEP-2243). None for methods that have no such header; a header is then a contradiction.
fn named(frame: &Frame) -> Option<&str> {
    let parameter = match frame.method()? {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return None,
    };
    frame.param(parameter).and_then(Json::as_str)
}

/// An absent header is a mismatch only where it is required; a present one must always agree, in the legacy era too:
/// an upstream that trusts it would see another request.
fn compare(
    name: &HeaderName,
    headers: &HeaderMap,
    body: Option<&str>,
    required: bool,
) -> Result<(), Refusal> {
    let header = single(headers, name)?.map(decode).transpose()?;
    if header.is_none() && !required {
        return Ok(());
    }
    agree(name.as_str(), header.as_deref(), body)
}

fn agree(what: &str, header: Option<&str>, body: Option<&str>) -> Result<(), Refusal> {
    if header.is_some() && header == body {
        Ok(())
    } else {
        Err(mismatch(format!("`{what}` is missing or contradicts the body")))
    }
}

/// SEP-2243: `=?base64?…?=` with exactly these markers is Base64 of UTF-8; anything else is literal.
fn decode(value: &str) -> Result<String, Refusal> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(value.to_owned());
    };
    let bytes = STANDARD.decode(encoded).map_err(|_| mismatch("not Base64".into()))?;
    String::from_utf8(bytes).map_err(|_| mismatch("not UTF-8".into()))
}

/// Compares `Mcp-Param-*` with the arguments of a tool, as far as its schema declares them by `x-mcp-header`.
/// Headers that it does not declare are forwarded (SEP-2243: intermediaries must).
fn check_properties(
    era: Era,
    schema: &Value,
    value: Option<&Json>,
    headers: &HeaderMap,
    depth: usize,
) -> Result<(), Refusal> {
    // Only paths of pure `properties` count (SEP-2243), so nothing else is walked.
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    if depth >= SCHEMA_MAX_DEPTH {
        return Err(mismatch("the schema is too deep to compare headers".into()));
    }
    for (name, property) in properties {
        let argument = value.and_then(|value| value.get(name)).filter(|argument| **argument != Json::Null);
        if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
            check_param(era, header, argument, headers)?;
        }
        check_properties(era, property, argument, headers, depth + 1)?;
    }
    Ok(())
}

fn check_param(era: Era, header: &str, argument: Option<&Json>, headers: &HeaderMap) -> Result<(), Refusal> {
    // A name that is no token declares no header.
    let Ok(name) = HeaderName::from_bytes(format!("mcp-param-{header}").as_bytes()) else { return Ok(()) };
    let value = single(headers, &name)?.map(decode).transpose()?;
    let is_same = match (&value, argument) {
        (None, None) => true,
        // "Value in body but header missing: the server MUST reject"; a legacy client knows nothing of it.
        (None, Some(_)) => era == Era::Legacy,
        (Some(_), None) => false,
        (Some(value), Some(Json::String(text))) => value == text,
        (Some(value), Some(Json::Bool(flag))) => value == if *flag { "true" } else { "false" },
        (Some(value), Some(Json::Number(number))) => match parse(value.as_bytes(), 0) {
            Ok(Json::Number(same)) => {
                same == *number || (same.as_i64().is_some() && same.as_i64() == number.as_i64())
            }
            Ok(_) | Err(_) => false,
        },
        (Some(_), Some(Json::Null | Json::Array(_) | Json::Object(_))) => false,
    };
    if is_same {
        Ok(())
    } else {
        Err(mismatch(format!("`Mcp-Param-{header}` is missing or contradicts the body")))
    }
}

fn mismatch(cause: String) -> Refusal {
    Refusal::new(Denial::HeaderMismatch, cause)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame(method: &str, mut params: Value) -> Frame {
        params["_meta"] = json!({ META_VERSION: "2026-07-28", META_CAPABILITIES: {} });
        legacy(method, &params)
    }

    fn legacy(method: &str, params: &Value) -> Frame {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        Frame::parse(&body.to_string().into(), 16).unwrap()
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap()))
            .fold(HeaderMap::new(), |mut map, (name, value): (HeaderName, http::HeaderValue)| {
                map.append(name, value);
                map
            })
    }

    fn modern(method: &str, name: Option<&str>) -> HeaderMap {
        let mut pairs = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        pairs.extend(name.map(|name| ("mcp-name", name)));
        headers(&pairs)
    }

    fn denial(era: Era, frame: &Frame, headers: &HeaderMap) -> Option<Denial> {
        check(frame, era, headers, None).err().map(|refusal| refusal.denial)
    }

    #[test]
    fn a_modern_request_that_agrees_with_its_headers_passes() {
        let call = frame("tools/call", json!({ "name": "t" }));
        assert_eq!(denial(Era::Modern, &call, &modern("tools/call", Some("t"))), None);
        assert_eq!(denial(Era::Modern, &call, &modern("tools/call", Some(" t "))), None);
        assert_eq!(denial(Era::Modern, &call, &modern("tools/call", Some("=?base64?dA==?="))), None);
        let read = frame("resources/read", json!({ "uri": "é:1" }));
        assert_eq!(denial(Era::Modern, &read, &modern("resources/read", Some("=?base64?w6k6MQ==?="))), None);
        assert_eq!(denial(Era::Modern, &frame("tools/list", json!({})), &modern("tools/list", None)), None);
    }

    #[test]
    fn a_modern_header_that_is_missing_or_contradicts_is_a_mismatch() {
        let call = frame("tools/call", json!({ "name": "t" }));
        let version = ("mcp-protocol-version", "2026-07-28");
        for bad in [
            modern("tools/call", None),
            modern("tools/call", Some("T")),
            modern("tools/list", Some("t")),
            modern("tools/call", Some("=?base64?dA=?=")),
            modern("tools/call", Some("=?BASE64?dA==?=")),
            headers(&[version, ("mcp-name", "t")]),
            headers(&[("mcp-method", "tools/call"), ("mcp-name", "t")]),
            headers(&[
                ("mcp-protocol-version", "2025-11-25"),
                ("mcp-method", "tools/call"),
                ("mcp-name", "t"),
            ]),
            headers(&[version, ("mcp-method", "tools/call"), ("mcp-name", "t"), ("mcp-name", "u")]),
            modern("tools/call", Some(&"t".repeat(VALUE_MAX_BYTES + 1))),
        ] {
            assert_eq!(denial(Era::Modern, &call, &bad), Some(Denial::HeaderMismatch), "{bad:?}");
        }
    }

    #[test]
    fn a_modern_request_needs_its_meta() {
        let headers = modern("tools/list", None);
        for params in [
            json!({}),
            json!({ "_meta": { META_VERSION: "2026-07-28" } }),
            json!({ "_meta": { META_CAPABILITIES: {} } }),
        ] {
            assert_eq!(
                denial(Era::Modern, &legacy("tools/list", &params), &headers),
                Some(Denial::FrameInvalid)
            );
        }
    }

    #[test]
    fn a_modern_client_sends_no_responses() {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "result": {} }).to_string();
        let response = Frame::parse(&body.into(), 8).unwrap();
        assert_eq!(denial(Era::Modern, &response, &HeaderMap::new()), Some(Denial::FrameInvalid));
        assert_eq!(denial(Era::Legacy, &response, &HeaderMap::new()), None);
    }

    #[test]
    fn a_legacy_request_needs_no_headers_but_may_not_lie_in_them() {
        let call = legacy("tools/call", &json!({ "name": "safe" }));
        assert_eq!(denial(Era::Legacy, &call, &HeaderMap::new()), None);
        let good = headers(&[("mcp-method", "tools/call"), ("mcp-name", "safe")]);
        assert_eq!(denial(Era::Legacy, &call, &good), None);
        for lie in [("mcp-method", "tools/list"), ("mcp-name", "delete_all")] {
            assert_eq!(denial(Era::Legacy, &call, &headers(&[lie])), Some(Denial::HeaderMismatch));
        }
        let list = legacy("tools/list", &json!({}));
        assert_eq!(denial(Era::Legacy, &list, &headers(&[("mcp-name", "t")])), Some(Denial::HeaderMismatch));
    }

    #[test]
    fn declared_parameters_agree_with_the_body() {
        let schema = json!({ "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "limits": { "properties": { "max": { "type": "integer", "x-mcp-header": "Max" } } },
            "dry": { "type": "boolean", "x-mcp-header": "Dry" },
        } });
        let check = |era, arguments: &Value, pairs: &[(&str, &str)]| {
            let params = json!({ "name": "t", "arguments": arguments });
            let (call, standard) = match era {
                Era::Legacy => (legacy("tools/call", &params), HeaderMap::new()),
                Era::Modern => (frame("tools/call", params), modern("tools/call", Some("t"))),
            };
            let mut headers = headers(pairs);
            headers.extend(standard);
            super::check(&call, era, &headers, Some(&schema)).is_ok()
        };
        let full = json!({ "region": "eu", "limits": { "max": 100 }, "dry": false });
        let (region, max, dry) =
            (("mcp-param-region", "eu"), ("Mcp-Param-Max", "1e2"), ("mcp-param-dry", "false"));
        assert!(check(Era::Modern, &full, &[region, max, dry, ("mcp-param-unknown", "x")]));
        assert!(check(Era::Legacy, &full, &[]));
        assert!(!check(Era::Modern, &full, &[region, dry]), "in the body but not in the headers");
        for lie in [("mcp-param-region", "us"), ("mcp-param-max", "99"), ("mcp-param-dry", "true")] {
            assert!(!check(Era::Legacy, &full, &[lie]), "{lie:?}");
        }
        assert!(check(Era::Modern, &json!({ "region": null }), &[]));
        assert!(!check(Era::Modern, &json!({}), &[region]), "only in the headers");
    }

    #[test]
    fn credentials_and_this_hops_headers_stay_here() {
        for name in [
            "authorization",
            "cookie",
            "host",
            "forwarded",
            "x-forwarded-for",
            "proxy-authorization",
            "connection",
            "transfer-encoding",
            "te",
            "baggage",
            "tracestate",
            "user-agent",
            "mcp-session-id",
            "dpop",
            "origin",
            "content-type",
            "content-encoding",
        ] {
            assert!(!forwardable_request(name), "{name}");
        }
        for name in ["accept", "mcp-method", "mcp-param-region", "last-event-id", "traceparent"] {
            assert!(forwardable_request(name), "{name}");
        }
        for name in ["www-authenticate", "set-cookie", "mcp-session-id", "server", "transfer-encoding"] {
            assert!(!forwardable_response(name), "{name}");
        }
    }
}
