//! Lists that show a caller what it could be permitted, and nothing else.
//!
//! What is kept is kept byte for byte: schemas with every keyword, `_meta` with its signatures. A list is no
//! gate; the call is decided again. What cannot be read is not passed on, for it could be a list.

use bytes::Bytes;
use serde_json::value::RawValue;
use vestibule_model::{
    Fault, FaultKind,
    json::{Json, Span, parse_object_spans},
};

use crate::{methods::ListKind, sse};

/// How deeply an upstream's answer may be nested.
pub const REPLY_MAX_DEPTH: usize = 128;

/// Says whether an item of that name (or URI) is shown.
type Keep<'a> = &'a dyn Fn(ListKind, &str) -> bool;

/// Filters a JSON reply to a list request. An error passes as it is.
///
/// # Errors
/// [`FaultKind::UpstreamInvalid`] when the body is not one JSON-RPC response, or its result is not that list.
pub fn filter(body: &Bytes, kind: ListKind, keep: impl Fn(&str) -> bool) -> Result<Bytes, Fault> {
    let keep: Keep<'_> = &|found, name| found == kind && keep(name);
    let members = read(body)?;
    match find(&members, "result") {
        Some((result, _)) if result.get(kind.member()).is_none() => {
            Err(invalid(format!("the result has no `{}`", kind.member())))
        }
        Some((_, span)) => Ok(filter_result(body, span, keep)?.unwrap_or_else(|| body.clone())),
        None if find(&members, "error").is_some() => Ok(body.clone()),
        None => Err(invalid("neither a result nor an error")),
    }
}

/// Filters a reply to a list request that is a stream of events and was read whole.
///
/// # Errors
/// [`FaultKind::UpstreamInvalid`] when the data of an event is not a JSON-RPC message.
pub fn filter_sse(body: &Bytes, kind: ListKind, keep: impl Fn(&str) -> bool) -> Result<Bytes, Fault> {
    StreamFilter::new(body.len()).push(body, &|found, name| found == kind && keep(name))
}

/// Filters every list in a stream of events, of whichever kind it is. Also for the stream of a GET: with
/// `Last-Event-ID` it repeats the reply to an earlier list request (MCP 2025-11-25 transports, "Resumability and
/// Redelivery"), which would else arrive unfiltered.
#[derive(Debug)]
pub struct StreamFilter {
    parser: sse::Parser,
}

impl StreamFilter {
    /// A filter for events of at most `max_event_bytes`.
    #[must_use]
    pub fn new(max_event_bytes: usize) -> Self {
        Self { parser: sse::Parser::new(max_event_bytes) }
    }

    /// Takes the next bytes of the upstream and gives the bytes for the caller. An event that the stream ends in the
    /// middle of is dropped, as every client does.
    ///
    /// # Errors
    /// [`FaultKind::UpstreamInvalid`] when an event is too long or its data is not a JSON-RPC message.
    pub fn push(&mut self, chunk: &[u8], keep: &dyn Fn(ListKind, &str) -> bool) -> Result<Bytes, Fault> {
        let mut out = Vec::with_capacity(chunk.len());
        for event in self.parser.push(chunk).map_err(invalid)? {
            match event.data().filter(|data| !data.is_empty()) {
                Some(data) => match filter_message(data, keep)? {
                    Some(filtered) => out.extend_from_slice(&event.with_data(&filtered)),
                    None => out.extend_from_slice(event.raw()),
                },
                None => out.extend_from_slice(event.raw()),
            }
        }
        Ok(out.into())
    }
}

/// None when the message has no list.
fn filter_message(data: &[u8], keep: Keep<'_>) -> Result<Option<Bytes>, Fault> {
    let members = read(data)?;
    match find(&members, "result") {
        Some((_, span)) => filter_result(data, span, keep),
        None => Ok(None),
    }
}

type Member = (String, Json, Span);

fn read(body: &[u8]) -> Result<Vec<Member>, Fault> {
    parse_object_spans(body, REPLY_MAX_DEPTH).map_err(invalid)
}

fn find<'m>(members: &'m [Member], name: &str) -> Option<(&'m Json, &'m Span)> {
    members.iter().find(|(key, _, _)| key == name).map(|(_, value, span)| (value, span))
}

/// Filters every list of a result: an upstream that slips a second one in gets nothing past. None when there is none.
fn filter_result(body: &[u8], result: &Span, keep: Keep<'_>) -> Result<Option<Bytes>, Fault> {
    let text = body.get(result.clone()).unwrap_or_default();
    if text.first() != Some(&b'{') {
        return Ok(None);
    }
    let members = read(text)?;
    let place = |span: &Span| result.start + span.start..result.start + span.end;
    let mut changes = Vec::new();
    for kind in ListKind::ALL {
        if let Some((list, span)) = find(&members, kind.member()) {
            changes.push((place(span), filter_items(*kind, list, body, &place(span), keep)?));
        }
    }
    if changes.is_empty() {
        return Ok(None);
    }
    // MCP 2026-07-28 caching: what depends on who asks must not be cached for others. Even when nothing was removed
    // this time: this caller may see everything, the next one may not.
    if let Some((scope, span)) = find(&members, "cacheScope")
        && scope.as_str() == Some("public")
    {
        changes.push((place(span), b"\"private\"".to_vec()));
    }
    Ok(Some(replace(body, changes).into()))
}

/// The list without the items that are not shown. An item without a name could be anything: it is not shown.
fn filter_items(
    kind: ListKind,
    list: &Json,
    body: &[u8],
    span: &Span,
    keep: Keep<'_>,
) -> Result<Vec<u8>, Fault> {
    let items = list.as_array().ok_or_else(|| invalid(format!("`{}` is not an array", kind.member())))?;
    let is_kept =
        |item: &Json| item.get(kind.key()).and_then(Json::as_str).is_some_and(|name| keep(kind, name));
    let text = body.get(span.clone()).unwrap_or_default();
    if items.iter().all(is_kept) {
        return Ok(text.to_vec());
    }
    let raw: Vec<&RawValue> = serde_json::from_slice(text).map_err(invalid)?;
    let kept: Vec<&str> =
        items.iter().zip(raw).filter(|(item, _)| is_kept(item)).map(|(_, raw)| raw.get()).collect();
    Ok(format!("[{}]", kept.join(",")).into_bytes())
}

/// `body` with each span replaced. The spans do not overlap.
fn replace(body: &[u8], mut changes: Vec<(Span, Vec<u8>)>) -> Vec<u8> {
    changes.sort_by_key(|(span, _)| span.start);
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for (span, text) in changes {
        out.extend_from_slice(body.get(at..span.start).unwrap_or_default());
        out.extend_from_slice(&text);
        at = span.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

fn invalid(cause: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::UpstreamInvalid, cause)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: &str = r#"{ "jsonrpc":"2.0","id":1, "result": {"_meta":{"sig":"1.00"}, "tools": [
        {"name":"safe", "inputSchema":{"$defs":{"a":{"$anchor":"x"}},  "n":1.0e0}},
        {"name":"danger"}, {"title":"nameless"}, {"name":"\u0073afe2"} ],"cacheScope" : "public", "ttlMs":5}}"#;

    fn safe_only(_: ListKind, name: &str) -> bool {
        name.starts_with("safe")
    }

    fn filter(kind: ListKind, body: &str) -> Result<String, FaultKind> {
        super::filter(&Bytes::copy_from_slice(body.as_bytes()), kind, |name| safe_only(kind, name))
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
            .map_err(|fault| fault.kind)
    }

    #[test]
    fn every_other_byte_is_kept() {
        assert_eq!(
            filter(ListKind::Tools, LIST).unwrap(),
            r#"{ "jsonrpc":"2.0","id":1, "result": {"_meta":{"sig":"1.00"}, "tools": [{"name":"safe", "inputSchema":{"$defs":{"a":{"$anchor":"x"}},  "n":1.0e0}},{"name":"\u0073afe2"}],"cacheScope" : "private", "ttlMs":5}}"#
        );
    }

    #[test]
    fn a_complete_list_is_unchanged_but_private() {
        let body = r#"{"jsonrpc":"2.0","id":1,"result":{"cacheScope":"public","tools":[ {"name":"safe"} ]}}"#;
        assert_eq!(filter(ListKind::Tools, body).unwrap(), body.replace("public", "private"));
    }

    #[test]
    fn each_list_is_filtered_by_its_own_key() {
        for kind in ListKind::ALL {
            let (member, key) = (kind.member(), kind.key());
            let body =
                |items: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"{member}":[{items}]}}}}"#);
            let all = body(&format!(r#"{{"{key}":"safe:a"}},{{"{key}":"x:b"}}"#));
            assert_eq!(filter(*kind, &all).unwrap(), body(&format!(r#"{{"{key}":"safe:a"}}"#)));
        }
    }

    #[test]
    fn an_error_passes_and_what_is_no_list_does_not() {
        let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#;
        assert_eq!(filter(ListKind::Tools, error).unwrap(), error);
        for body in [
            "",
            "[]",
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{"name":"danger"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools":[{"name":"danger"}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"resources":[]}}"#,
        ] {
            assert_eq!(filter(ListKind::Tools, body), Err(FaultKind::UpstreamInvalid), "{body}");
        }
    }

    fn stream(text: &str, chunk: usize) -> Result<String, FaultKind> {
        let mut filter = StreamFilter::new(4096);
        let mut out = Vec::new();
        for part in text.as_bytes().chunks(chunk) {
            out.extend_from_slice(&filter.push(part, &safe_only).map_err(|fault| fault.kind)?);
        }
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_list_in_a_stream_is_filtered_and_all_else_passes() {
        let other = "id: 0\r\ndata:\r\n\r\n: ping\n\n\
            data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n\
            data: {\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{\"content\":[]}}\n\n";
        let list = "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":2,\ndata: \"result\":{\"prompts\":[{\"name\":\"x\"},{\"name\":\"safe\"}]}}\n\n";
        let filtered = "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":2,\ndata: \"result\":{\"prompts\":[{\"name\":\"safe\"}]}}\n\n";
        for chunk in [1, 7, 4096] {
            assert_eq!(stream(&format!("{other}{list}"), chunk).unwrap(), format!("{other}{filtered}"));
        }
    }

    #[test]
    fn a_reply_that_is_a_stream_shows_only_the_list_that_was_asked_for() {
        let event = |result: &str| format!("data: {{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{result}}}\n\n");
        let stream =
            event(r#"{"tools":[{"name":"safe"},{"name":"x"}]}"#) + &event(r#"{"prompts":[{"name":"safe"}]}"#);
        let filtered =
            filter_sse(&stream.into(), ListKind::Tools, |name| safe_only(ListKind::Tools, name)).unwrap();
        assert_eq!(filtered, event(r#"{"tools":[{"name":"safe"}]}"#) + &event(r#"{"prompts":[]}"#));
    }

    #[test]
    fn an_event_that_cannot_be_read_ends_the_stream() {
        assert_eq!(stream("data: {\"result\":\n\n", 4096), Err(FaultKind::UpstreamInvalid));
        assert_eq!(stream(&"data: 1\n".repeat(1000), 4096), Err(FaultKind::UpstreamInvalid));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_is_kept(names in proptest::collection::vec("(safe|x)[\\PC]{0,6}", 0..6)) {
            let tools: Vec<_> = names.iter().map(|name| serde_json::json!({ "name": name })).collect();
            let body = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": tools } });
            let filtered = filter(ListKind::Tools, &body.to_string()).unwrap();
            let filtered: serde_json::Value = serde_json::from_str(&filtered).unwrap();
            let tools = filtered["result"]["tools"].as_array().unwrap();
            let shown: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
            let kept: Vec<_> = names.iter().filter(|name| name.starts_with("safe")).collect();
            prop_assert_eq!(shown, kept);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = super::filter(&bytes.clone().into(), ListKind::Tools, |_| true);
            let _ = StreamFilter::new(64).push(&bytes, &safe_only);
        }
    }

    #[test]
    fn a_second_list_that_an_upstream_slips_in_is_filtered_too() {
        let body = Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":1,"result":{"resources":[],"tools":[{"name":"danger"}]}}"#,
        );
        let filtered = super::filter(&body, ListKind::Resources, |_| true).unwrap();
        assert_eq!(filtered, r#"{"jsonrpc":"2.0","id":1,"result":{"resources":[],"tools":[]}}"#);
    }
}
