//! The one reading of a path. Every rule here is a way in which some server, proxy or framework reads a path
//! differently from its neighbour: decoding twice, resolving dots before or after decoding, merging slashes, taking a
//! backslash for a slash, cutting `;parameters` off.

use vestibule_model::Denial;

/// The decoded segments of a path in its normal form. The root has none.
///
/// # Errors
/// [`Denial::PathInvalid`] for an empty, dot or encoded dot segment (so also `//` and a slash at the end), an encoded
/// slash or backslash, `;`, a character that must be encoded and is not, a bad or doubled encoding, a control
/// character, or what is not UTF-8.
pub(super) fn segments(path: &str) -> Result<Vec<String>, Denial> {
    match path.strip_prefix('/') {
        Some("") => Ok(Vec::new()),
        Some(rest) => rest.split('/').map(|segment| decode(segment).ok_or(Denial::PathInvalid)).collect(),
        None => Err(Denial::PathInvalid),
    }
}

/// One segment, decoded. None when it is not in its normal form.
pub(super) fn decode(segment: &str) -> Option<String> {
    // RFC 3986 §3.3: `pchar`, less the semicolon.
    let is_pchar = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@%".contains(&byte);
    if !segment.bytes().all(is_pchar) {
        return None;
    }
    let decoded = percent_decode(segment)?;
    let is_plain = !decoded.is_empty()
        && decoded != "."
        && decoded != ".."
        && !decoded.contains(['/', '\\', ';'])
        && !decoded.contains(char::is_control)
        && !is_encoded(&decoded);
    is_plain.then_some(decoded)
}

/// RFC 3986 §2.1. None when a percent sign is not followed by two hexadecimal digits, or the result is not UTF-8.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let decoded = match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            byte => byte,
        };
        out.push(decoded);
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Whether decoding once more would change it: `%252e%252e` is `..` to a server that decodes twice.
fn is_encoded(text: &str) -> bool {
    text.as_bytes().windows(3).any(
        |window| matches!(window, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_its_normal_form_is_decoded_once() {
        assert_eq!(segments("/").unwrap(), Vec::<String>::new());
        assert_eq!(segments("/repos/a%20b/%C3%A9").unwrap(), ["repos", "a b", "é"]);
        assert_eq!(segments("/a/...").unwrap(), ["a", "..."]);
        assert_eq!(segments("/100%25").unwrap(), ["100%"]);
        assert_eq!(segments("/a:b@c,d=e").unwrap(), ["a:b@c,d=e"]);
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for path in [
            "",
            "repos",
            "//repos",
            "/repos//x",
            "/repos/",
            "/.",
            "/repos/../admin",
            "/repos/./x",
            "/repos/%2e%2e/x",
            "/repos/%2E./x",
            "/repos/.%2e",
            "/repos/a%2fb",
            "/repos/a%2Fb",
            "/repos/a%5cb",
            "/repos/a\\b",
            "/repos/a;x=1",
            "/repos/..;/admin",
            "/repos/a%3bx",
            "/repos/%252e%252e/x",
            "/repos/a%252fb",
            "/repos/%",
            "/repos/%2",
            "/repos/%zz",
            "/repos/%+1",
            "/repos/%00",
            "/repos/a%0d%0ab",
            "/repos/%7f",
            "/repos/%c2%85",
            "/repos/%ff",
            "/repos/%c0%ae",
            "/repos/a b",
            "/repos/é",
            "/repos/a\"b",
            "/repos/{name}",
            "/repos/a?b",
            "/repos/a#b",
            "/repos/a|b",
            "/repos/a^b",
        ] {
            assert_eq!(segments(path), Err(Denial::PathInvalid), "{path}");
        }
    }
}
