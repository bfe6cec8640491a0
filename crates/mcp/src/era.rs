//! Which era a request speaks. Told by what the request itself carries, never by its method: a modern-shaped
//! `initialize` is modern (and unknown there), and nothing is inferred from earlier requests (2026-07-28 is stateless).

use http::HeaderMap;
use vestibule_model::{Denial, Refusal, json::Json};

use crate::{frame::Frame, headers};

/// The member of `_meta` with the protocol version (required in 2026-07-28).
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The member of `_meta` with what the client can do (required in 2026-07-28).
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// A revision of the protocol that this gateway passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 2025-03-26
    V2025_03_26,
    /// 2025-06-18
    V2025_06_18,
    /// 2025-11-25
    V2025_11_25,
    /// 2026-07-28
    V2026_07_28,
}

/// The two ways of speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Up to 2025-11-25: `initialize`, sessions, server requests.
    Legacy,
    /// From 2026-07-28: everything in each request.
    Modern,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: &'static [Self] =
        &[Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The version of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|version| version.as_str() == text)
    }

    /// The era it belongs to.
    #[must_use]
    pub fn era(self) -> Era {
        match self {
            Self::V2025_03_26 | Self::V2025_06_18 | Self::V2025_11_25 => Era::Legacy,
            Self::V2026_07_28 => Era::Modern,
        }
    }
}

impl Era {
    /// The era of a message: modern when its `_meta` names a protocol version, or its header names a modern one.
    #[must_use]
    pub fn of(frame: &Frame, request_headers: &HeaderMap) -> Self {
        if requested(frame).is_some() { Self::Modern } else { Self::of_headers(request_headers) }
    }

    /// The era of a request that has no body (GET, DELETE).
    #[must_use]
    pub fn of_headers(request_headers: &HeaderMap) -> Self {
        let version = headers::single(request_headers, &headers::PROTOCOL_VERSION).ok().flatten();
        version.and_then(Version::parse).map_or(Self::Legacy, Version::era)
    }
}

/// The version that a modern request names.
pub(crate) fn requested(frame: &Frame) -> Option<&str> {
    frame.meta(META_VERSION).and_then(Json::as_str)
}

/// Refuses a protocol version that this gateway does not pass on. Without a frame: GET and DELETE.
///
/// # Errors
/// [`Denial::ProtocolVersionUnsupported`]; [`Denial::HeaderMismatch`] when the header is there twice or unreadable.
pub fn check_version(frame: Option<&Frame>, request_headers: &HeaderMap) -> Result<(), Refusal> {
    let refused = |cause: &str| Err(Refusal::new(Denial::ProtocolVersionUnsupported, cause));
    // MCP 2026-07-28: a request in an unsupported version is 400 with -32022.
    if let Some(version) = frame.and_then(requested)
        && Version::parse(version).map(Version::era) != Some(Era::Modern)
    {
        return refused("`_meta` names a version that is not spoken per request");
    }
    // MCP 2025-11-25 transports, "Protocol Version Header": invalid or unsupported is 400, absent means 2025-03-26.
    match headers::single(request_headers, &headers::PROTOCOL_VERSION)? {
        Some(version) if Version::parse(version).is_none() => refused("the header names an unknown version"),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(version: Option<&str>) -> Frame {
        let params = version.map_or(
            serde_json::json!({}),
            |version| serde_json::json!({ "_meta": { META_VERSION: version } }),
        );
        let text = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
        Frame::parse(&text.to_string().into(), 8).unwrap()
    }

    fn header(version: &str) -> HeaderMap {
        HeaderMap::from_iter([(headers::PROTOCOL_VERSION, version.parse().unwrap())])
    }

    #[test]
    fn the_era_is_told_by_the_request_and_not_by_its_method() {
        assert_eq!(Era::of(&frame(None), &HeaderMap::new()), Era::Legacy);
        assert_eq!(Era::of(&frame(None), &header("2025-11-25")), Era::Legacy);
        assert_eq!(Era::of(&frame(Some("2026-07-28")), &HeaderMap::new()), Era::Modern);
        assert_eq!(Era::of(&frame(None), &header("2026-07-28")), Era::Modern);
        assert_eq!(Era::of(&frame(Some("1999-01-01")), &HeaderMap::new()), Era::Modern);
    }

    #[test]
    fn an_unsupported_version_is_refused_wherever_it_stands() {
        let denial = |version, headers: &HeaderMap| {
            check_version(Some(&frame(version)), headers).map_err(|refusal| refusal.denial)
        };
        let unsupported = Err(Denial::ProtocolVersionUnsupported);
        assert_eq!(denial(None, &HeaderMap::new()), Ok(()));
        assert_eq!(denial(None, &header("2025-06-18")), Ok(()));
        assert_eq!(denial(Some("2026-07-28"), &header("2026-07-28")), Ok(()));
        assert_eq!(denial(None, &header("2024-11-05")), unsupported);
        assert_eq!(denial(Some("1999-01-01"), &HeaderMap::new()), unsupported);
        assert_eq!(denial(Some("2025-11-25"), &HeaderMap::new()), unsupported);
    }
}
