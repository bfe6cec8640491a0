//! What passes door two in either direction, and what never does.

use http::{HeaderMap, HeaderName, header};

/// Removes from a request everything that is about the connection, about how it came here, or a credential of the
/// agent. The caller of this crate lets headers through by an allow-list; this is the second wall behind it.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    let stripped: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_reserved(name) || is_credential(name) || named.contains(name))
        .cloned()
        .collect();
    for name in stripped {
        headers.remove(name);
    }
}

/// The headers of an application's answer that may go to the agent: not those of the connection, no cookies, because a
/// session with the application is the gateway's, and no challenge, because it is about the gateway's credential.
#[must_use]
pub fn response_headers(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut passed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !is_hop_by_hop(name) && !is_of_the_session(name) && !named.contains(name) {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

/// Whether a request header is of the connection or of the forwarding: neither passed on nor usable for a credential.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    let name_text = name.as_str();
    is_hop_by_hop(name)
        || name_text.starts_with("x-forwarded-")
        // Behind CGI and WSGI `x_api_key` and `x-api-key` become one variable, and an agent must not set ours.
        || name_text.contains('_')
        || matches!(
            name_text,
            "host" | "content-length" | "expect" | "forwarded" | "via" | "x-real-ip" | "client-cert" | "client-cert-chain"
            // `HTTP_PROXY` in a CGI environment.
            | "proxy"
            // Another method or path than the one that was decided about.
            | "x-http-method" | "x-http-method-override" | "x-method-override" | "x-original-url" | "x-rewrite-url"
        )
}

/// With which an agent proves itself to the gateway, or could to the application.
fn is_credential(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "cookie"
            | "dpop"
            | "x-api-key"
            | "signature"
            | "signature-input"
            | "txn-token"
            | "workload-identity-token"
            | "workload-proof-token"
    )
}

/// RFC 9110 §7.6.1, and the proxy's own authentication.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn is_of_the_session(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authentication-info"
            | "dpop-nonce"
            | "set-cookie"
            | "set-cookie2"
            | "www-authenticate"
            // Would send the next request past the gateway.
            | "alt-svc"
    )
}

/// RFC 9110 §7.6.1: a proxy MUST remove the fields that `Connection` names.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("v"))).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn credentials_and_traces_of_the_way_here_are_stripped_from_requests() {
        let stripped = [
            "authorization",
            "proxy-authorization",
            "cookie",
            "dpop",
            "x-api-key",
            "signature",
            "signature-input",
            "txn-token",
            "workload-identity-token",
            "workload-proof-token",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-client-cert",
            "via",
            "host",
            "te",
            "trailer",
            "connection",
            "keep-alive",
            "upgrade",
            "transfer-encoding",
            "content-length",
            "expect",
            "proxy",
            "x_api_key",
            "x-http-method-override",
            "x-original-url",
            "client-cert",
        ];
        let mut headers = map(&stripped);
        headers.extend(map(&["accept", "content-type", "traceparent", "mcp-protocol-version"]));

        strip_request(&mut headers);

        assert_eq!(names(&headers), ["accept", "content-type", "mcp-protocol-version", "traceparent"]);
    }

    #[test]
    fn what_connection_names_is_stripped_in_both_directions() {
        let mut headers = map(&["x-secret-hop", "x-other-hop", "accept"]);
        headers.append(header::CONNECTION, HeaderValue::from_static("close, X-Secret-Hop"));
        headers.append(header::CONNECTION, HeaderValue::from_static("x-other-hop,,\t"));
        assert_eq!(names(&response_headers(&headers)), ["accept"]);
        strip_request(&mut headers);
        assert_eq!(names(&headers), ["accept"]);
    }

    #[test]
    fn cookies_and_challenges_do_not_reach_the_agent() {
        let mut headers =
            map(&["set-cookie", "www-authenticate", "proxy-authenticate", "transfer-encoding", "alt-svc"]);
        headers.extend(map(&["content-type", "content-length", "etag"]));
        headers.append("link", HeaderValue::from_static("a"));
        headers.append("link", HeaderValue::from_static("b"));

        let passed = response_headers(&headers);

        assert_eq!(names(&passed), ["content-length", "content-type", "etag", "link"]);
        assert_eq!(passed.get_all("link").iter().count(), 2);
    }
}
