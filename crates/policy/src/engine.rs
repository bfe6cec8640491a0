//! The one place where Cedar is asked: names, entities, requests and answers.
//!
//! Only the documented API of `cedar-policy` is used. Cedar skips a policy that fails to evaluate, so that a `forbid`
//! that fails lets the request through: [`Answer::is_permit`] is therefore false as soon as anything failed.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::LazyLock,
};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    EvalResult, Expression, PolicySet, Request, RestrictedExpression, eval_expression,
};
use vestibule_model::{AgentId, AppId, AppKind, Effect, Operation, OperationId, Risk, UserId};

/// A value that Cedar does not accept. Cannot happen with what the gateway builds, and refuses the request if it does.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cedar does not accept {what}: {why}")]
pub(crate) struct EngineError {
    what: &'static str,
    why: String,
}

impl EngineError {
    pub(crate) fn new(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self { what, why: why.to_string() }
    }
}

// ---- names -------------------------------------------------------------------------------------------------

/// The entity types of the core schema.
pub(crate) struct Types {
    pub(crate) agent: EntityTypeName,
    pub(crate) user: EntityTypeName,
    pub(crate) operation: EntityTypeName,
    agent_group: EntityTypeName,
    user_group: EntityTypeName,
    chain: EntityTypeName,
    token: EntityTypeName,
    app: EntityTypeName,
    action: EntityTypeName,
}

#[expect(clippy::expect_used, reason = "the names are constants and every test run parses them")]
pub(crate) static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let name = |text: &str| text.parse().expect("a type name");
    Types {
        agent: name("Agent"),
        user: name("User"),
        operation: name("Operation"),
        agent_group: name("AgentGroup"),
        user_group: name("UserGroup"),
        chain: name("Chain"),
        token: name("Token"),
        app: name("App"),
        action: name("Action"),
    }
});

/// The type of the groups that agents, or users, are in.
pub(crate) fn group_type(kind: &EntityTypeName) -> Option<&'static EntityTypeName> {
    let types = &*TYPES;
    [(&types.agent, &types.agent_group), (&types.user, &types.user_group)]
        .into_iter()
        .find_map(|(member, group)| (member == kind).then_some(group))
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

pub(crate) fn agent_uid(agent: &AgentId) -> EntityUid {
    uid(&TYPES.agent, agent.as_str())
}

pub(crate) fn group_uid(group: &str) -> EntityUid {
    uid(&TYPES.agent_group, group)
}

pub(crate) fn user_uid(user: &UserId) -> EntityUid {
    uid(&TYPES.user, &user.to_string())
}

pub(crate) fn user_group_uid(group: &str) -> EntityUid {
    uid(&TYPES.user_group, group)
}

pub(crate) fn operation_uid(operation: &OperationId) -> EntityUid {
    uid(&TYPES.operation, &operation.to_string())
}

pub(crate) fn app_uid(app: &AppId) -> EntityUid {
    uid(&TYPES.app, app.as_str())
}

/// The action of an operation, the group of an application's actions, or `call`.
pub(crate) fn action_uid(id: &str) -> EntityUid {
    uid(&TYPES.action, id)
}

/// The group that every operation's action is in.
pub(crate) const CALL: &str = "call";

/// The action of handing something on to a child. In no group: who may call everything may not thereby spawn.
pub(crate) const DELEGATE: &str = "delegate";

pub(crate) fn delegate_uid() -> EntityUid {
    action_uid(DELEGATE)
}

fn chain_uid() -> EntityUid {
    uid(&TYPES.chain, "chain")
}

fn token_uid() -> EntityUid {
    uid(&TYPES.token, "token")
}

// ---- entities ----------------------------------------------------------------------------------------------

fn entity(
    uid: EntityUid,
    attributes: Vec<(String, RestrictedExpression)>,
    parents: Vec<EntityUid>,
    tags: Vec<(String, RestrictedExpression)>,
) -> Result<Entity, EngineError> {
    Entity::new_with_tags(uid, attributes, parents, tags).map_err(|why| EngineError::new("an entity", why))
}

fn strings(values: &BTreeSet<String>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.iter().cloned().map(RestrictedExpression::new_string))
}

/// An agent with its trust, below its groups, and the groups themselves.
pub(crate) fn agent_entities(
    id: &AgentId,
    trust: u8,
    groups: &BTreeSet<String>,
) -> Result<Vec<Entity>, EngineError> {
    let parents: Vec<EntityUid> = groups.iter().map(|group| group_uid(group)).collect();
    let mut entities: Vec<Entity> =
        parents.iter().map(|group| Entity::new_no_attrs(group.clone(), HashSet::new())).collect();
    let trust = ("trust".to_owned(), RestrictedExpression::new_long(i64::from(trust)));
    entities.push(entity(agent_uid(id), vec![trust], parents, Vec::new())?);
    Ok(entities)
}

/// A user below their groups, and the groups themselves.
pub(crate) fn user_entities(user: &UserId, groups: &BTreeSet<String>) -> Vec<Entity> {
    let parents: HashSet<EntityUid> = groups.iter().map(|group| user_group_uid(group)).collect();
    let mut entities: Vec<Entity> =
        parents.iter().map(|group| Entity::new_no_attrs(group.clone(), HashSet::new())).collect();
    entities.push(Entity::new_no_attrs(user_uid(user), parents));
    entities
}

/// The action of handing something on.
pub(crate) fn delegate_entity() -> Entity {
    Entity::new_no_attrs(delegate_uid(), HashSet::new())
}

/// The chain, below all of its agents.
pub(crate) fn chain_entity<'a>(agents: impl Iterator<Item = &'a AgentId>) -> Entity {
    Entity::new_no_attrs(chain_uid(), agents.map(agent_uid).collect())
}

pub(crate) fn token_entity(claims: &BTreeMap<String, BTreeSet<String>>) -> Result<Entity, EngineError> {
    let tags = claims.iter().map(|(name, values)| (name.clone(), strings(values))).collect();
    entity(token_uid(), Vec::new(), Vec::new(), tags)
}

/// An application, the group of its actions, and `call` above it.
pub(crate) fn app_entities(app: &AppId, kind: AppKind) -> Result<Vec<Entity>, EngineError> {
    let kind = ("kind".to_owned(), RestrictedExpression::new_string(kind.to_string()));
    Ok(vec![
        entity(app_uid(app), vec![kind], Vec::new(), Vec::new())?,
        Entity::new_no_attrs(action_uid(app.as_str()), HashSet::from([action_uid(CALL)])),
        Entity::new_no_attrs(action_uid(CALL), HashSet::new()),
    ])
}

/// An operation below its application, and its action below the application's.
pub(crate) fn operation_entities(
    id: &OperationId,
    operation: &Operation,
) -> Result<Vec<Entity>, EngineError> {
    let flag = |name: &str, value| (name.to_owned(), RestrictedExpression::new_bool(value));
    let attributes = vec![
        ("app".to_owned(), RestrictedExpression::new_entity_uid(app_uid(&id.app))),
        flag("readOnly", operation.effect == Effect::Read),
        flag("destructive", operation.effect == Effect::Destroy),
        flag("pinned", operation.pinned),
        flag("reviewed", operation.risk == Risk::Reviewed),
        ("scopes".to_owned(), strings(&operation.scopes)),
    ];
    Ok(vec![
        entity(operation_uid(id), attributes, vec![app_uid(&id.app)], Vec::new())?,
        Entity::new_no_attrs(action_uid(&id.to_string()), HashSet::from([action_uid(id.app.as_str())])),
    ])
}

/// Entities by id; of two with the same id the first is kept (two agents of a chain share a group).
pub(crate) fn store(entities: impl IntoIterator<Item = Entity>) -> Result<Entities, EngineError> {
    let mut seen = HashSet::new();
    let distinct = entities.into_iter().filter(|entity| seen.insert(entity.uid()));
    Entities::from_entities(distinct, None).map_err(|why| EngineError::new("the entities", why))
}

/// `base` and more; what is in `base` stays.
pub(crate) fn extend(base: &Entities, more: Vec<Entity>) -> Result<Entities, EngineError> {
    let mut seen = HashSet::new();
    let fresh =
        more.into_iter().filter(|entity| base.get(&entity.uid()).is_none() && seen.insert(entity.uid()));
    base.clone().add_entities(fresh, None).map_err(|why| EngineError::new("the entities", why))
}

// ---- context -----------------------------------------------------------------------------------------------

/// Parts of the context, by name.
pub(crate) type Parts = Vec<(String, RestrictedExpression)>;

/// A record of parts.
pub(crate) fn record(parts: Parts) -> Result<RestrictedExpression, EngineError> {
    RestrictedExpression::new_record(parts).map_err(|why| EngineError::new("a record", why))
}

/// `context.caller`.
pub(crate) fn caller_part(user: Option<&UserId>, depth: usize) -> Result<RestrictedExpression, EngineError> {
    let depth = i64::try_from(depth).map_err(|why| EngineError::new("the depth", why))?;
    let mut parts = vec![
        ("chain".to_owned(), RestrictedExpression::new_entity_uid(chain_uid())),
        ("depth".to_owned(), RestrictedExpression::new_long(depth)),
    ];
    parts.extend(user.map(|user| ("user".to_owned(), RestrictedExpression::new_entity_uid(user_uid(user)))));
    record(parts)
}

/// `context.token`.
pub(crate) fn token_part(
    issuer: &str,
    scopes: &BTreeSet<String>,
) -> Result<RestrictedExpression, EngineError> {
    record(vec![
        ("claims".to_owned(), RestrictedExpression::new_entity_uid(token_uid())),
        ("scopes".to_owned(), strings(scopes)),
        ("issuer".to_owned(), RestrictedExpression::new_string(issuer.to_owned())),
    ])
}

pub(crate) fn context(parts: Parts) -> Result<Context, EngineError> {
    Context::from_pairs(parts).map_err(|why| EngineError::new("the context", why))
}

// ---- asking ------------------------------------------------------------------------------------------------

/// Who wants to do what to what.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) principal: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
}

impl Question {
    /// Without a schema: the values were built from it, and checking them again costs more than the decision.
    pub(crate) fn in_context(self, context: Context) -> Result<Request, EngineError> {
        Request::new(self.principal, self.action, self.resource, context, None)
            .map_err(|why| EngineError::new("the request", why))
    }
}

/// What Cedar said about one subject.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    permitted: bool,
    /// The ids of the policies that determined it: all satisfied permits, or all satisfied forbids; none when nothing
    /// permits.
    pub(crate) policies: Vec<String>,
    /// The ids of the policies that failed to evaluate. The texts are not kept: they quote arguments.
    pub(crate) failed: Vec<String>,
}

impl Answer {
    /// Permitted, and nothing failed.
    pub(crate) fn is_permit(&self) -> bool {
        self.permitted && self.failed.is_empty()
    }

    /// Denied because a forbid applied, and not for want of a permit.
    pub(crate) fn is_forbidden(&self) -> bool {
        !self.permitted && !self.policies.is_empty()
    }
}

/// Asks `policies` about one request.
pub(crate) fn ask(policies: &PolicySet, request: &Request, entities: &Entities) -> Answer {
    let response = Authorizer::new().is_authorized(request, policies, entities);
    let mut ids: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
    ids.sort_unstable();
    let failed = response.diagnostics().errors().map(|error| match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
    });
    let mut failed: Vec<String> = failed.collect();
    failed.sort_unstable();
    Answer { permitted: response.decision() == Decision::Allow, policies: ids, failed }
}

/// The value of one condition; none when it cannot be evaluated, as where an earlier one guards it.
pub(crate) fn holds(condition: &Expression, request: &Request, entities: &Entities) -> Option<bool> {
    match eval_expression(request, entities, condition) {
        Ok(EvalResult::Bool(value)) => Some(value),
        Ok(_) | Err(_) => None,
    }
}
