use std::collections::BTreeSet;

/// The tenant.
pub const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
/// The blueprint that the gateway has the credentials of.
pub const BLUEPRINT: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";
/// Its secret. The OBO page: for development only.
pub const SECRET: &str = "aB1~secret-of-the-blueprint";
/// The subject of the workload tokens that the blueprint trusts in place of a secret.
pub const FEDERATED_SUBJECT: &str = "system:serviceaccount:gateway:vestibule";
/// An agent identity of the blueprint.
pub const AGENT: &str = "11112222-bbbb-3333-cccc-4444dddd5555";
/// Another one.
pub const OTHER_AGENT: &str = "22223333-cccc-4444-dddd-5555eeee6666";
/// Somebody else's blueprint in the tenant.
pub const STRANGERS_BLUEPRINT: &str = "33334444-dddd-5555-eeee-6666ffff7777";
/// An agent identity of that one.
pub const STRANGERS_AGENT: &str = "44445555-eeee-6666-ffff-7777aaaa8888";
/// An API with the delegated scopes `Files.Read` and `Files.Write` and the application role `Files.Read.All`.
pub const RESOURCE: &str = "api://files";

/// Who is in the tenant, and what was consented to.
#[derive(Debug)]
pub(super) struct Directory {
    /// Agent identity and its parent. OBO page: exactly one blueprint each.
    agents: Vec<(&'static str, &'static str)>,
    blocked: BTreeSet<String>,
    without_consent: BTreeSet<String>,
    used_assertions: BTreeSet<String>,
}

impl Directory {
    pub(super) fn contoso() -> Self {
        Self {
            agents: vec![
                (AGENT, BLUEPRINT),
                (OTHER_AGENT, BLUEPRINT),
                (STRANGERS_AGENT, STRANGERS_BLUEPRINT),
            ],
            blocked: BTreeSet::new(),
            without_consent: BTreeSet::new(),
            used_assertions: BTreeSet::new(),
        }
    }

    pub(super) fn is_blueprint(&self, client: &str) -> bool {
        self.agents.iter().any(|(_, parent)| *parent == client)
    }

    pub(super) fn parent(&self, agent: &str) -> Option<&'static str> {
        self.agents.iter().find(|(id, _)| *id == agent).map(|(_, parent)| *parent)
    }

    pub(super) fn block(&mut self, agent: &str) {
        self.blocked.insert(agent.to_owned());
    }

    pub(super) fn is_blocked(&self, agent: &str) -> bool {
        self.blocked.contains(agent)
    }

    pub(super) fn withdraw_consent(&mut self, agent: &str) {
        self.without_consent.insert(agent.to_owned());
    }

    pub(super) fn has_consent(&self, agent: &str) -> bool {
        !self.without_consent.contains(agent)
    }

    /// Whether the identifier of an assertion is seen for the first time.
    pub(super) fn use_once(&mut self, jti: &str) -> bool {
        self.used_assertions.insert(jti.to_owned())
    }
}
