//! Operations, agents and callers to test with.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use serde_json::{Value, json};
use vestibule_inbound::{Caller, TokenFacts};
use vestibule_model::{
    Actor, Agent, AgentId, AgentState, AppId, AppKind, Chain, Directory, Effect, Operation, OperationId,
    Represented, Risk, SeededEntropy, Thumbprint, Timestamp, UserId,
    json::{Json, parse},
};
use vestibule_policy::{
    AppOperations, Attempt, Catalog, Deed, Environment, Lock, Options, PolicyFile, PolicySet, Problem,
    Verdict,
};

pub(crate) fn operation(name: &str, effect: Effect, input_schema: Value) -> Operation {
    Operation {
        name: name.into(),
        description: String::new(),
        input_schema,
        effect,
        risk: Risk::Reviewed,
        scopes: BTreeSet::new(),
        definition_digest: String::new(),
        pinned: true,
    }
}

pub(crate) fn app(id: &str, kind: AppKind, operations: Vec<Operation>) -> AppOperations {
    AppOperations { app: AppId::new(id).unwrap(), kind, operations }
}

pub(crate) fn sandbox(id: &str, kind: AppKind) -> AppOperations {
    let named =
        || json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] });
    let create = json!({ "type": "object", "required": ["name"], "properties": {
        "name": { "type": "string" }, "private": { "type": "boolean" }, "description": { "type": "string" } } });
    let seconds = json!({ "type": "object", "properties": { "seconds": { "type": "integer" } } });
    app(
        id,
        kind,
        vec![
            operation("list_repos", Effect::Read, json!({ "type": "object" })),
            operation("create_repo", Effect::Write, create),
            operation("delete_repo", Effect::Destroy, named()),
            operation("stream_progress", Effect::Read, seconds),
        ],
    )
}

pub(crate) fn sandboxes() -> Catalog {
    vec![sandbox("sandbox", AppKind::Mcp), sandbox("sandbox-http", AppKind::Http)]
}

pub(crate) fn file(name: &str, text: &str) -> PolicyFile {
    PolicyFile { name: name.to_owned(), text: text.to_owned() }
}

pub(crate) fn options() -> Options {
    Options { timezone: "UTC".to_owned() }
}

pub(crate) fn load(text: &str, catalog: &Catalog) -> PolicySet {
    try_load(text, catalog).unwrap_or_else(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", problems.join("\n"))
    })
}

pub(crate) fn try_load(text: &str, catalog: &Catalog) -> Result<PolicySet, Vec<Problem>> {
    PolicySet::load(&[file("test.cedar", text)], catalog, &options())
}

pub(crate) fn agent(id: &str, groups: &[&str], trust: u8) -> Arc<Agent> {
    Arc::new(Agent {
        id: AgentId::new(id).unwrap(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        trust,
        scopes: BTreeSet::new(),
        claims: std::collections::BTreeMap::new(),
        apps: BTreeSet::new(),
        state: AgentState::Active,
        created_at: Timestamp::from_millis(0),
    })
}

pub(crate) fn directory(agents: &[(&str, &[&str], u8)]) -> Arc<Directory> {
    Arc::new(agents.iter().map(|(id, groups, trust)| agent(id, groups, *trust)).collect())
}

/// Wednesday, 2026-01-07, 12:00 UTC.
pub(crate) fn noon() -> Environment {
    Environment { now: Timestamp::from_seconds(1_767_787_200), ip: None }
}

pub(crate) fn from_ip(ip: &str) -> Environment {
    Environment { ip: Some(ip.parse::<IpAddr>().unwrap()), ..noon() }
}

pub(crate) fn user(subject: &str) -> UserId {
    UserId { issuer: "https://idp.test".to_owned(), subject: subject.to_owned() }
}

/// The user as a token carries them.
pub(crate) fn in_groups(id: UserId, groups: &[&str]) -> Represented {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Represented { id, groups, session: None, client: None, since: None }
}

/// The id of an agent that is known by its key alone.
pub(crate) fn keyed(number: u8) -> AgentId {
    AgentId::of_key(&Thumbprint::from_bytes([number; 32]))
}

/// A caller with that chain (root first); `facts` may add scopes, claims and an authority.
pub(crate) fn caller(chain: &[&str], user: Option<UserId>, facts: impl FnOnce(&mut TokenFacts)) -> Caller {
    represented(chain, user.map(|id| in_groups(id, &[])), facts)
}

pub(crate) fn represented(
    chain: &[&str],
    user: Option<Represented>,
    facts: impl FnOnce(&mut TokenFacts),
) -> Caller {
    let mut token =
        TokenFacts::for_test("https://gateway.test/apps/sandbox", noon().now, &SeededEntropy::new(7));
    facts(&mut token);
    let actor =
        |agent: &&str| Actor { issuer: Arc::clone(&token.issuer), agent: AgentId::new(agent).unwrap() };
    let chain = Chain::new(chain.iter().map(actor).collect()).unwrap();
    Caller::for_test(user, chain, token)
}

pub(crate) fn plain(agent: &str) -> Caller {
    caller(&[agent], None, |_| ())
}

pub(crate) fn arguments(text: &str) -> Json {
    parse(text.as_bytes(), 32).unwrap()
}

pub(crate) fn id(operation: &str) -> OperationId {
    let (app, name) = operation.split_once("__").unwrap();
    OperationId::new(AppId::new(app).unwrap(), name)
}

/// What [`Deed::Call`] says.
pub(crate) fn calling(operation: &str, text: &str) -> Deed {
    Deed::Call { operation: id(operation), arguments: arguments(text) }
}

/// Decides, and gives `permit` or the code of the denial.
pub(crate) fn decide(lock: &Lock, caller: &Caller, operation: &str, text: &str) -> &'static str {
    decide_in(lock, caller, operation, text, &noon())
}

pub(crate) fn decide_in(
    lock: &Lock,
    caller: &Caller,
    operation: &str,
    text: &str,
    env: &Environment,
) -> &'static str {
    code(&verdict(lock, caller, operation, text, env))
}

pub(crate) fn verdict(
    lock: &Lock,
    caller: &Caller,
    operation: &str,
    text: &str,
    env: &Environment,
) -> Verdict {
    let arguments = arguments(text);
    lock.decide(caller, &Attempt { operation: id(operation), arguments: &arguments }, env)
}

pub(crate) fn code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Permitted(_) => "permit",
        Verdict::Refused(refusal, _) => refusal.denial.code(),
    }
}
