use std::fmt;

/// A signature algorithm. There is no variant for `none` and none for a MAC, so no list can ever allow them
/// (RFC 8725 §3.1, §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// EdDSA on Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them: what a client may sign its assertions with.
    pub const ALL: &'static [Self] = &[Self::Es256, Self::Es384, Self::Rs256, Self::Ps256, Self::EdDsa];

    /// The registered name (RFC 7518 §3.1, RFC 8037 §3.1).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// All its names: RFC 9864 §2.2 calls EdDSA on Ed25519 by the name of its curve, and libraries begin to.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Es256 => &["ES256"],
            Self::Es384 => &["ES384"],
            Self::Rs256 => &["RS256"],
            Self::Ps256 => &["PS256"],
            Self::EdDsa => &["EdDSA", "Ed25519"],
        }
    }

    /// The algorithm of that name; names are case-sensitive (RFC 7515 §4.1.1).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.names().contains(&name))
    }

    pub(super) fn backend(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
