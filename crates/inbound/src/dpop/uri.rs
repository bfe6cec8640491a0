use std::fmt::Write as _;

/// Whether `htu` names the URL `expected`, which has no query.
///
/// RFC 9449 §4.3 (9) leaves query and fragment aside, and wants the syntax- and scheme-based normalisation of RFC 3986
/// §6.2.2 and §6.2.3. Nothing else is taken for the same: `htu` is what keeps a proof for one place from being used at
/// another.
pub(super) fn is_same_target(htu: &str, expected: &str) -> bool {
    htu == expected || normalised(htu).is_some_and(|target| Some(target) == normalised(expected))
}

/// Scheme, authority and path in their normal form; none for what is not an `http` or `https` URI.
fn normalised(uri: &str) -> Option<String> {
    let uri = uri.split(['?', '#']).next()?;
    let uri = decoded(uri)?;
    let (scheme, rest) = uri.split_once("://")?;
    // RFC 3986 §6.2.2.1: scheme and host are case-insensitive.
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => "443",
        "http" => "80",
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.to_ascii_lowercase();
    // RFC 3986 §6.2.3: an empty port, or the default of the scheme, is left out. (In `[::1]` the last colon is followed
    // by no digits.)
    let authority = match authority.rsplit_once(':') {
        Some((host, port)) if port.is_empty() || port == default_port => host,
        Some(_) | None => &authority,
    };
    Some(format!("{scheme}://{authority}{}", without_dots(path)))
}

/// RFC 3986 §6.2.2.1, §6.2.2.2: unreserved characters stand for themselves, other octets in upper-case hexadecimal. None
/// where a character is not of the grammar: parsers make different things of it.
fn decoded(uri: &str) -> Option<String> {
    let mut out = String::with_capacity(uri.len());
    let mut bytes = uri.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let octet = u8::try_from(digit()? * 16 + digit()?).ok()?;
                if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                    out.push(char::from(octet));
                } else {
                    write!(out, "%{octet:02X}").ok()?;
                }
            }
            _ if byte.is_ascii_alphanumeric() || b"-._~:/[]@!$&'()*+,;=".contains(&byte) => {
                out.push(char::from(byte));
            }
            _ => return None,
        }
    }
    Some(out)
}

/// RFC 3986 §5.2.4, of a path that is absolute or empty; §6.2.3: an empty one is `/`.
fn without_dots(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut kept: Vec<&str> = Vec::with_capacity(segments.len());
    for segment in &segments {
        match *segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    // A path that ends in a dot segment is a folder.
    if matches!(segments.last(), Some(&("." | ".."))) {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = "https://gw.test/apps/a/mcp";

    #[test]
    fn spellings_of_one_url_are_the_same() {
        for htu in [
            EXPECTED,
            "HTTPS://GW.test/apps/a/mcp",
            "https://gw.test:443/apps/a/mcp",
            "https://gw.test:/apps/a/mcp",
            "https://gw.test/apps/a/mcp?x=1",
            "https://gw.test/apps/a/mcp#part",
            "https://gw.test/apps/a/mcp?x=//#?",
            "https://gw.test/apps/%61/mcp",
            "https://gw%2Etest/apps/a/mcp",
            "https://gw.test/apps/./a/mcp",
            "https://gw.test/apps/b/../a/mcp",
            "https://gw.test/../apps/a/mcp",
            "https://gw.test/apps/b/%2e%2E/a/mcp",
        ] {
            assert!(is_same_target(htu, EXPECTED), "{htu}");
        }
        assert!(is_same_target("http://gw.test:80", "http://GW.test/"));
        assert!(is_same_target("https://[::1]:443/a", "https://[::1]/a"));
        assert!(is_same_target("https://gw.test/a%2fb", "https://gw.test/a%2Fb"));
        assert!(is_same_target("https://gw.test/a/.", "https://gw.test/a/"));
        assert!(is_same_target("https://gw.test:8443/a", "https://gw.test:8443/a?"));
    }

    #[test]
    fn other_urls_are_others() {
        for htu in [
            "",
            "https://gw.test/apps/a/mcp/",
            "https://gw.test/apps/a/MCP",
            "https://gw.test/apps/a//mcp",
            "https://gw.test/apps%2Fa/mcp",
            "https://gw.test/apps/b/mcp",
            "https://gw.test/apps/a",
            "https://gw.test",
            "http://gw.test/apps/a/mcp",
            "https://gw.test:8443/apps/a/mcp",
            "https://gw.test:80/apps/a/mcp",
            "https://gw.test:0443/apps/a/mcp",
            "https://gw.test.evil/apps/a/mcp",
            "https://gw.test@evil.test/apps/a/mcp",
            "https://evil@gw.test/apps/a/mcp",
            "https:///apps/a/mcp",
            "https:/gw.test/apps/a/mcp",
            "//gw.test/apps/a/mcp",
            "/apps/a/mcp",
            "wss://gw.test/apps/a/mcp",
            "https://gw.test\\apps/a/mcp",
            "https://gw.test/apps/a/mcp%",
            "https://gw.test/apps/a/mcp%0",
            "https://gw.test/apps/a/mcp%00",
            "https://gw.test/apps/a/ mcp",
            "https://gw.test/apps/\u{e4}/mcp",
            " https://gw.test/apps/a/mcp",
        ] {
            assert!(!is_same_target(htu, EXPECTED), "{htu}");
        }
        assert!(!is_same_target("https://gw.test/a%2Fb", "https://gw.test/a/b"));
        assert!(!is_same_target("https://[::1]:8443/a", "https://[::1]/a"));
    }
}
