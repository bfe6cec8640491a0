use std::collections::HashSet;

use crate::Reason;

/// The parameters of a token request, each at most once.
#[derive(Clone, Copy)]
pub(crate) struct Form<'a>(&'a [(String, String)]);

/// RFC 8707 §2 lets this one repeat; how many are taken is the grant's to say.
const RESOURCE: &str = "resource";

impl<'a> Form<'a> {
    /// RFC 6749 §3.2: parameters "MUST NOT be included more than once". Two readers could each choose another one.
    pub(crate) fn read(pairs: &'a [(String, String)]) -> Result<Self, Reason> {
        let mut seen = HashSet::new();
        let is_single = pairs.iter().all(|(name, _)| name == RESOURCE || seen.insert(name));
        if is_single { Ok(Self(pairs)) } else { Err(Reason::RequestMalformed) }
    }

    /// RFC 6749 §3.2: without a value is "as if they were omitted".
    pub(crate) fn get(self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(crate) fn resources(self) -> Vec<&'a str> {
        self.0
            .iter()
            .filter(|(key, value)| key == RESOURCE && !value.is_empty())
            .map(|(_, value)| value.as_str())
            .collect()
    }
}
