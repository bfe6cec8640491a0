use serde::{Deserialize, Serialize};

/// The human an agent acts for. Both parts count: the same subject at two issuers is two people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserId {
    /// The issuer that vouches for the subject.
    pub issuer: String,
    /// The subject at that issuer.
    pub subject: String,
}
