use serde::{Deserialize, Serialize};

use crate::record::{cut, cut_list};

/// With which credential an application was called. Names it, and holds nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccessFact {
    /// The strategy, by its name in the configuration.
    pub strategy: String,
    /// The authorization server that gave the token, if one did, by its name in the configuration.
    #[serde(default)]
    pub server: Option<String>,
    /// The scopes that the token has, as far as its server says.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Its scopes, and after `aud:` its audiences, that nobody asked for, where the configuration lets them be.
    #[serde(default)]
    pub wider: Vec<String>,
}

impl AccessFact {
    pub(crate) fn bound(&mut self) {
        cut(&mut self.strategy);
        self.server.iter_mut().for_each(cut);
        cut_list(&mut self.scopes);
        cut_list(&mut self.wider);
    }
}
