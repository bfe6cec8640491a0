//! Calling a request off: how the server of a forwarded request learns that nobody waits for its answer any more, and
//! which request a client calls off.
//!
//! In the legacy era a closed connection says nothing (2025-11-25 transports: "Disconnection SHOULD NOT be interpreted
//! as the client cancelling its request"): a server that is not told goes on, and a revoked agent's call has its effect
//! after the revocation. So it is told, by `notifications/cancelled`. In the modern era closing the response's stream is
//! the cancellation, and nothing is sent. No I/O here: what is sent where is for others.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use vestibule_model::json::Json;

use crate::{
    Asked, Era, Frame, Id,
    headers::{PROTOCOL_VERSION, SESSION_ID},
};

/// The notification that calls a request off.
pub const CANCELLED: &str = "notifications/cancelled";

/// Whether a request of this era with this method is called off by [`CANCELLED`]. If not, closing its connection has to
/// do.
#[must_use]
pub fn is_by_notice(era: Era, method: &str) -> bool {
    match era {
        // 2025-11-25 cancellation: "The initialize request MUST NOT be cancelled by clients." Task-augmented requests,
        // which have a request of their own for it, are refused before they get anywhere.
        Era::Legacy => method != "initialize",
        // 2026-07-28 cancellation: on streamable HTTP the closed stream is the signal; no notification is "required or
        // expected".
        Era::Modern => false,
    }
}

impl Asked {
    /// As [`is_by_notice`], of this request.
    #[must_use]
    pub fn is_cancelled_by_notice(&self) -> bool {
        is_by_notice(self.era(), self.method())
    }
}

/// The message that calls `request` off. Its identifier is written byte for byte as it was in the request: a server that
/// compares texts must find it. `reason` is for the server's log.
#[must_use]
pub fn cancelled(request: &Id, reason: &str) -> Bytes {
    // The text of an identifier is one complete JSON value, so it cannot break out of its place.
    let (request, reason) = (request.as_json(), Json::String(reason.to_owned()).canonical());
    format!(
        r#"{{"jsonrpc":"2.0","method":"{CANCELLED}","params":{{"requestId":{request},"reason":{reason}}}}}"#
    )
    .into()
}

/// The headers of that message, from those that the request was forwarded with: of the same session and the same
/// protocol version, and of nothing else. `Mcp-Method` and `Mcp-Name` would speak of the request.
#[must_use]
pub fn headers(forwarded: &HeaderMap) -> HeaderMap {
    let mut headers: HeaderMap = [SESSION_ID, PROTOCOL_VERSION]
        .into_iter()
        .filter_map(|name| forwarded.get(&name).map(|value| (name, value.clone())))
        .collect();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // 2025-11-25 transports: a client MUST accept both on every POST.
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers
}

/// The request that a client calls off with this message: equal to [`Id::canonical`] of the request's identifier.
///
/// None for every other message, and for a notice without a usable identifier, which is ignored (2025-11-25
/// cancellation, "Error Handling"). None in the modern era too: there the message means nothing over HTTP, and a stateless
/// gateway infers nothing from it. Whose request it is (the session, the caller) is for others to tell: every client
/// counts from one.
#[must_use]
pub fn cancelled_request(era: Era, frame: &Frame) -> Option<Id> {
    let is_notice = frame.request_id().is_none() && frame.method() == Some(CANCELLED);
    match era {
        Era::Legacy if is_notice => Id::of(frame.param("requestId")?),
        Era::Legacy | Era::Modern => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{frame::ID_MAX_BYTES, methods::METHODS};

    fn parse(text: &str) -> Frame {
        Frame::parse(&Bytes::copy_from_slice(text.as_bytes()), 8).unwrap()
    }

    fn id(text: &str) -> Id {
        parse(&format!(r#"{{"jsonrpc":"2.0","id":{text},"method":"tools/call"}}"#))
            .request_id()
            .unwrap()
            .clone()
    }

    fn notice(request: &str) -> Frame {
        parse(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{request}}}}}"#
        ))
    }

    #[test]
    fn legacy_requests_but_initialize_are_called_off_by_notice_and_modern_ones_by_closing() {
        for (method, _) in METHODS.iter().filter(|(name, _)| !name.starts_with("notifications/")) {
            assert_eq!(is_by_notice(Era::Legacy, method), *method != "initialize", "{method}");
            assert!(!is_by_notice(Era::Modern, method), "{method}");
        }
    }

    #[test]
    fn initialize_is_never_called_off() {
        let frame = parse(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#);
        for era in [Era::Legacy, Era::Modern] {
            assert!(!Asked::of(era, &frame).unwrap().is_cancelled_by_notice(), "{era:?}");
        }
        let frame = parse(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#);
        assert!(Asked::of(Era::Legacy, &frame).unwrap().is_cancelled_by_notice());
        assert!(!Asked::of(Era::Modern, &frame).unwrap().is_cancelled_by_notice());
    }

    #[test]
    fn the_identifier_is_written_as_it_came() {
        let longest = format!("\"{}\"", "x".repeat(ID_MAX_BYTES - 2));
        for text in [
            "1",
            "-0",
            "-7",
            "12345678901234567890123",
            "\"\"",
            "\"7\"",
            r#""\u0061\n\/""#,
            r#""\ud83d\ude00""#,
            r#""\"},\"method\":\"tools/call\"""#,
            &longest,
        ] {
            let sent = cancelled(&id(text), "it \"ended\"");
            let expected = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{text},"reason":"it \"ended\""}}}}"#
            );
            assert_eq!(sent, expected.as_bytes(), "{text}");
            let frame = Frame::parse(&sent, 8).unwrap();
            assert_eq!(cancelled_request(Era::Legacy, &frame), Some(id(text).canonical()), "{text}");
        }
    }

    #[test]
    fn a_notice_finds_its_request_however_the_identifier_is_written() {
        let asked = id(r#""\u0061b""#);
        assert_eq!(cancelled_request(Era::Legacy, &notice(r#""ab""#)), Some(asked.canonical()));
        assert_eq!(cancelled_request(Era::Legacy, &notice("-0")), Some(id("0").canonical()));
        // A number and the text of that number are two identifiers.
        assert_ne!(cancelled_request(Era::Legacy, &notice("\"7\"")), Some(id("7").canonical()));
    }

    #[test]
    fn a_notice_without_a_usable_identifier_calls_nothing_off() {
        let long = format!("\"{}\"", "x".repeat(ID_MAX_BYTES));
        for request in ["null", "1.5", "1e2", "[1]", "{}", "true", &long] {
            assert_eq!(cancelled_request(Era::Legacy, &notice(request)), None, "{request}");
        }
        let bare = parse(r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#);
        assert_eq!(cancelled_request(Era::Legacy, &bare), None);
    }

    #[test]
    fn no_other_message_calls_anything_off() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled","params":{"requestId":1}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"requestId":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"requestId":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        ] {
            assert_eq!(cancelled_request(Era::Legacy, &parse(text)), None, "{text}");
        }
        assert_eq!(cancelled_request(Era::Modern, &notice("1")), None);
    }

    #[test]
    fn the_notice_has_the_session_and_the_version_of_the_request_and_nothing_else_of_it() {
        let forwarded: HeaderMap = [
            ("mcp-session-id", "upstream-1"),
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "delete"),
            ("mcp-param-repo", "a"),
            ("accept", "*/*"),
            ("last-event-id", "7"),
            ("traceparent", "00-1"),
        ]
        .into_iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
        let mut sent: Vec<_> = headers(&forwarded)
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        sent.sort();
        assert_eq!(
            sent,
            [
                "accept: application/json, text/event-stream",
                "content-type: application/json",
                "mcp-protocol-version: 2025-11-25",
                "mcp-session-id: upstream-1",
            ]
        );
        assert_eq!(headers(&HeaderMap::new()).len(), 2, "a server without sessions");
    }

    proptest! {
        #[test]
        fn every_text_is_called_off_under_its_own_identifier(text in "\\PC{0,40}", other in "\\PC{0,40}") {
            let json = |text: &str| serde_json::to_string(text).unwrap();
            let sent = cancelled(&id(&json(&text)), &other);
            let found = cancelled_request(Era::Legacy, &Frame::parse(&sent, 8).unwrap()).unwrap();
            prop_assert_eq!(&found, &id(&json(&text)).canonical());
            prop_assert_eq!(found == id(&json(&other)).canonical(), text == other);
        }
    }
}
