//! The policies that can matter for one subject and one target.
//!
//! Cedar walks all policies for every request. A policy whose scope does not fit is never satisfied, and scopes cannot
//! fail to evaluate, so leaving such policies out changes neither the decision nor its reasons nor its errors (proved
//! in Lean for Cedar: `isAuthorized_eq_for_sound_policy_slice`). A property test compares slices with the full set.

use std::{collections::HashMap, sync::OnceLock};

use cedar_policy::{EntityTypeName, EntityUid, PolicySet};

use crate::{
    engine::EngineError,
    reads::Reads,
    statement::{Axis, Statement},
    target::Target,
};

/// Positions of policies by principal, then action, then resource.
#[derive(Debug, Default)]
pub(crate) struct Index(HashMap<Axis, HashMap<Axis, HashMap<Axis, Vec<usize>>>>);

impl Index {
    pub(crate) fn of(statements: &[Statement]) -> Self {
        let mut index = Self::default();
        for (position, statement) in statements.iter().enumerate() {
            let scope = &statement.scope;
            let by_action = index.0.entry(scope.principal.clone()).or_default();
            for action in &scope.actions {
                let by_resource = by_action.entry(action.clone()).or_default();
                by_resource.entry(scope.resource.clone()).or_default().push(position);
            }
        }
        index
    }

    /// The positions, ascending, of the policies whose scope fits the subject (with the groups it is in) and the
    /// target.
    pub(crate) fn find(&self, subject: &EntityUid, groups: &[EntityUid], target: &Target) -> Vec<usize> {
        let principals = axes(subject, groups);
        let actions = axes(&target.action, &target.groups);
        let resources = axes(&target.resource, &target.above);
        let mut found: Vec<usize> = principals
            .iter()
            .filter_map(|principal| self.0.get(principal))
            .flat_map(|by_action| actions.iter().filter_map(|action| by_action.get(action)))
            .flat_map(|by_resource| resources.iter().filter_map(|resource| by_resource.get(resource)))
            .flatten()
            .copied()
            .collect();
        // A policy that names two groups of the same action is found twice.
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Every scope that fits an entity with these ancestors.
fn axes(uid: &EntityUid, above: &[EntityUid]) -> Vec<Axis> {
    let kind: &EntityTypeName = uid.type_name();
    let mut axes = vec![Axis::Any, Axis::Is(kind.clone()), Axis::Eq(uid.clone())];
    for group in std::iter::once(uid).chain(above) {
        axes.push(Axis::In(group.clone()));
        axes.push(Axis::IsIn(kind.clone(), group.clone()));
    }
    axes
}

type Made = OnceLock<Result<PolicySet, EngineError>>;

/// The policies for one subject and one target. Its forms for evaluation are made when first needed.
#[derive(Debug)]
pub(crate) struct Slice {
    members: Vec<usize>,
    /// What the enforced policies read of the context.
    pub(crate) reads: Reads,
    /// What enforced and shadow policies read; none when no shadow policy is among them.
    pub(crate) shadow_reads: Option<Reads>,
    enforced: Made,
    with_shadow: Made,
    listed: Made,
}

impl Slice {
    pub(crate) fn new(members: Vec<usize>, statements: &[Statement]) -> Self {
        let mut reads = Reads::default();
        let mut all = Reads::default();
        let mut has_shadow = false;
        for statement in members.iter().filter_map(|position| statements.get(*position)) {
            all.merge(&statement.reads);
            if statement.shadow {
                has_shadow = true;
            } else {
                reads.merge(&statement.reads);
            }
        }
        Self {
            members,
            reads,
            shadow_reads: has_shadow.then_some(all),
            enforced: OnceLock::new(),
            with_shadow: OnceLock::new(),
            listed: OnceLock::new(),
        }
    }

    /// Its enforced policies.
    pub(crate) fn statements<'a>(&'a self, all: &'a [Statement]) -> impl Iterator<Item = &'a Statement> {
        self.members.iter().filter_map(|position| all.get(*position)).filter(|statement| !statement.shadow)
    }

    /// Its enforced policies, for evaluation.
    pub(crate) fn enforced(&self, all: &[Statement]) -> Result<&PolicySet, EngineError> {
        made(&self.enforced, || set(self.statements(all).map(Statement::in_slice)))
    }

    /// Enforced and shadow policies together, as if the shadow ones were enforced.
    pub(crate) fn with_shadow(&self, all: &[Statement]) -> Result<&PolicySet, EngineError> {
        let members = || self.members.iter().filter_map(|position| all.get(*position));
        made(&self.with_shadow, || set(members().map(Statement::in_slice)))
    }

    /// Its listing set.
    pub(crate) fn listed(&self, all: &[Statement]) -> Result<&PolicySet, EngineError> {
        let shown = || self.statements(all).filter(|statement| !statement.challenges);
        made(&self.listed, || set(shown().map(Statement::in_list)))
    }

    /// Its enforced policies as if the caller had every scope.
    pub(crate) fn without_challenges(&self, all: &[Statement]) -> Result<PolicySet, EngineError> {
        set(self.statements(all).filter(|statement| !statement.challenges).map(Statement::in_slice))
    }
}

fn made(
    cell: &Made,
    make: impl FnOnce() -> Result<PolicySet, EngineError>,
) -> Result<&PolicySet, EngineError> {
    cell.get_or_init(make).as_ref().map_err(Clone::clone)
}

fn set(
    policies: impl Iterator<Item = Result<cedar_policy::Policy, EngineError>>,
) -> Result<PolicySet, EngineError> {
    let mut set = PolicySet::new();
    for policy in policies {
        set.add(policy?).map_err(|why| EngineError::new("a policy", why))?;
    }
    Ok(set)
}
