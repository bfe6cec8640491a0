use std::collections::BTreeSet;

use cedar_policy::{Entity, EntityUid};

use crate::{engine::Question, schema::Input};

/// What policies are asked about, whoever the principal is: an operation that is called, or a child that is handed
/// something.
#[derive(Debug)]
pub(crate) struct Target {
    /// As problems, explanations and refusals name it: the id of the action.
    pub(crate) name: String,
    pub(crate) action: EntityUid,
    /// The groups above the action.
    pub(crate) groups: Vec<EntityUid>,
    pub(crate) resource: EntityUid,
    /// What the resource is in.
    pub(crate) above: Vec<EntityUid>,
    /// `context.input`.
    pub(crate) input: Input,
    /// A token must hold one of these; empty asks for none.
    pub(crate) scopes: BTreeSet<String>,
    /// The resource and the action with everything above them.
    pub(crate) entities: Vec<Entity>,
}

impl Target {
    pub(crate) fn question(&self, principal: &EntityUid) -> Question {
        Question {
            principal: principal.clone(),
            action: self.action.clone(),
            resource: self.resource.clone(),
        }
    }
}
