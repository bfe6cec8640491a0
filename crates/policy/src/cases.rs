//! Tests of policies, written beside them: calls and delegations with the decision they must get.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vestibule_model::{
    Agent, AgentId, AgentState, AppId, Denial, Directory, OperationId, TRUST_MAX, Timestamp, UserId, json,
};

use crate::{
    hypothesis::{Deed, Hypothesis},
    lock::{Decided, Snapshot},
    set::PolicySet,
};

/// The time of a case that gives none: Wednesday, 2026-01-07, noon UTC.
const DEFAULT_AT: &str = "2026-01-07T12:00:00Z";
const JSON_DEPTH_MAX: usize = 64;

/// One call, or the wish to hand something on, and what must be decided about it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    agent: AgentId,
    /// With `groups` or `trust` the agent is defined here; otherwise it is the registered one.
    groups: Option<BTreeSet<String>>,
    trust: Option<u8>,
    /// The agents that spawned it, from the root on.
    #[serde(default)]
    ancestors: Vec<Ancestor>,
    user: Option<UserId>,
    #[serde(default)]
    user_groups: BTreeSet<String>,
    /// `{app}__{name}`. Either this or `delegate`.
    operation: Option<String>,
    arguments: Option<Box<RawValue>>,
    delegate: Option<Delegate>,
    #[serde(default)]
    scopes: BTreeSet<String>,
    #[serde(default)]
    claims: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    issuer: String,
    ip: Option<IpAddr>,
    /// RFC 3339.
    at: Option<String>,
    /// `permit`, `deny`, or the code of a denial.
    expect: String,
    /// The ids of exactly the policies that must determine it.
    policies: Option<BTreeSet<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ancestor {
    agent: AgentId,
    groups: Option<BTreeSet<String>>,
    trust: Option<u8>,
}

/// Handing something on, in place of a call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Delegate {
    /// With `groups` or `trust` it is defined here; otherwise it is the registered one, or one known by its key alone.
    child: AgentId,
    groups: Option<BTreeSet<String>>,
    trust: Option<u8>,
    /// Without: one more than the agents that are named.
    depth: Option<usize>,
    /// Seconds.
    expires: u64,
    /// Without: all of the parent's.
    #[serde(default)]
    operations: BTreeSet<String>,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// Whether it was decided as expected.
    pub passed: bool,
    /// What was expected: `permit`, `deny` or the code of a denial.
    pub expected: String,
    /// What was decided: `permit` or the code of the denial.
    pub actual: String,
    /// The policies that determined it.
    pub policies: Vec<String>,
    /// Why it did not pass, or why it was denied.
    pub cause: String,
}

/// Cases that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// Not a JSON array of cases.
    #[error("the cases cannot be read: {0}")]
    Invalid(#[source] serde_json::Error),
    /// A case says something impossible.
    #[error("case `{name}`: {why}")]
    Case {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Runs the cases of `text`, a JSON array, against `set`. Agents come from the case itself or from `directory`.
///
/// # Errors
/// When the cases cannot be read. A case that is decided otherwise than expected is a result, not an error.
pub fn run_cases(
    set: &Arc<PolicySet>,
    directory: &Directory,
    text: &str,
) -> Result<Vec<CaseResult>, CasesError> {
    let cases: Vec<Case> = serde_json::from_str(text).map_err(CasesError::Invalid)?;
    cases.into_iter().map(|case| run(set, directory, case)).collect()
}

fn run(set: &Arc<PolicySet>, directory: &Directory, case: Case) -> Result<CaseResult, CasesError> {
    let impossible = |why: String| CasesError::Case { name: case.name.clone(), why };
    if !matches!(case.expect.as_str(), "permit" | "deny") && Denial::from_code(&case.expect).is_none() {
        return Err(impossible(format!(
            "`expect` is `permit`, `deny` or the code of a denial, not `{}`",
            case.expect
        )));
    }
    let hypothesis = hypothesis(&case).map_err(impossible)?;
    let defined = case.ancestors.iter().map(|above| (&above.agent, &above.groups, above.trust));
    let child = case.delegate.as_ref().map(|delegate| (&delegate.child, &delegate.groups, delegate.trust));
    let mut directory = directory.clone();
    for (id, groups, trust) in defined.chain([(&case.agent, &case.groups, case.trust)]).chain(child) {
        if groups.is_some() || trust.is_some() {
            directory = directory.with(Arc::new(agent(id, groups, trust).map_err(impossible)?));
        }
    }
    let snapshot = Snapshot::new(Arc::clone(set), Arc::new(directory), 1);
    let (Decided { decision, refusal, .. }, _) = snapshot.judge(&hypothesis);
    let actual = refusal.as_ref().map_or("permit", |refusal| refusal.denial.code());
    let as_expected = case.expect == actual || (case.expect == "deny" && refusal.is_some());
    let mut cause = refusal.as_ref().map(|refusal| refusal.cause.clone()).unwrap_or_default();
    let found: BTreeSet<String> = decision.policies.iter().cloned().collect();
    let by_expected = case.policies.as_ref().is_none_or(|expected| *expected == found);
    if as_expected && !by_expected {
        let expected: Vec<String> = case.policies.into_iter().flatten().collect();
        cause = format!("expected to be determined by [{}]; {cause}", expected.join(", "));
    }
    Ok(CaseResult {
        name: case.name,
        passed: as_expected && by_expected,
        expected: case.expect,
        actual: actual.to_owned(),
        policies: decision.policies,
        cause,
    })
}

fn agent(id: &AgentId, groups: &Option<BTreeSet<String>>, trust: Option<u8>) -> Result<Agent, String> {
    let trust = trust.unwrap_or(0);
    if trust > TRUST_MAX {
        return Err(format!("`trust` is at most {TRUST_MAX}"));
    }
    Ok(Agent {
        id: id.clone(),
        groups: groups.clone().unwrap_or_default(),
        trust,
        scopes: BTreeSet::new(),
        claims: BTreeMap::new(),
        apps: BTreeSet::new(),
        state: AgentState::Active,
        created_at: Timestamp::from_millis(0),
    })
}

fn hypothesis(case: &Case) -> Result<Hypothesis, String> {
    if case.user.is_none() && !case.user_groups.is_empty() {
        return Err("`user_groups` are those of a `user`".to_owned());
    }
    let at: jiff::Timestamp = case
        .at
        .as_deref()
        .unwrap_or(DEFAULT_AT)
        .parse()
        .map_err(|_| "`at` is a time like 2026-01-07T12:00:00Z".to_owned())?;
    Ok(Hypothesis {
        agent: case.agent.clone(),
        ancestors: case.ancestors.iter().map(|above| above.agent.clone()).collect(),
        user: case.user.clone(),
        user_groups: case.user_groups.clone(),
        issuer: case.issuer.clone(),
        audience: String::new(),
        scopes: case.scopes.clone(),
        claims: case.claims.clone(),
        authority: None,
        ip: case.ip,
        at: Timestamp::from_millis(at.as_millisecond()),
        deed: deed(case)?,
    })
}

fn deed(case: &Case) -> Result<Deed, String> {
    match (&case.operation, &case.arguments, &case.delegate) {
        (Some(operation), arguments, None) => {
            let written = || "`operation` is written `{app}__{name}`".to_owned();
            let (app, name) = operation.split_once("__").ok_or_else(written)?;
            let app = AppId::new(app).map_err(|why| why.to_string())?;
            let arguments = arguments.as_ref().map_or("{}", |arguments| arguments.get());
            let arguments =
                json::parse(arguments.as_bytes(), JSON_DEPTH_MAX).map_err(|why| why.to_string())?;
            Ok(Deed::Call { operation: OperationId::new(app, name), arguments })
        }
        (None, None, Some(delegate)) => Ok(Deed::Delegate {
            child: delegate.child.clone(),
            depth: delegate.depth.unwrap_or(case.ancestors.len() + 2),
            lifetime: Duration::from_secs(delegate.expires),
            operations: delegate.operations.clone(),
        }),
        (_, _, _) => Err("a case has an `operation`, with `arguments` or without, or `delegate`".to_owned()),
    }
}
