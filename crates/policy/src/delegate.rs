//! Handing something on is itself decided: whether an agent may have this child, this deep, for so long, with these
//! operations.
//!
//! It is asked before the child exists. The calls of the child are decided again, each by itself, with the whole chain.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use vestibule_inbound::Caller;
use vestibule_model::{
    Agent, AgentId, Authority, Denial, Refusal,
    json::{Json, Number},
};

use crate::{
    decision::Decision,
    engine::{self, DELEGATE, EngineError},
    environment::Environment,
    frame::Frame,
    lock::{Decided, Lock, Snapshot, unusable},
    schema::{Field, Input, Shape},
    subjects::{self, Subjects},
    target::Target,
};

/// What a caller wants to hand on, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegating<'a> {
    /// The agent that gets it: a registered one, or the thumbprint URI of a key.
    pub child: &'a AgentId,
    /// How deep the child is in the chain: 2 below a root.
    pub depth: usize,
    /// How long what is handed on lasts.
    pub lifetime: Duration,
    /// The names of the operations handed on. Empty: all of the parent's.
    pub operations: BTreeSet<String>,
}

/// Stands in `operations` for those that are not known yet, where nothing bounds them.
const ANY: &str = "*";

/// `context.input`, as the core schema has it.
pub(crate) static INPUT: LazyLock<Input> = LazyLock::new(|| {
    let field = |shape| Field { shape, required: true, nullable: false };
    let fields = BTreeMap::from([
        ("depth".into(), field(Shape::Long)),
        ("expires".into(), field(Shape::Long)),
        ("operations".into(), field(Shape::Set(Box::new(Shape::String)))),
    ]);
    Input { fields, open: false }
});

impl Lock {
    /// Decides whether the caller may hand something on: the agents of its chain from the root on and then the user must
    /// each be permitted `Action::"delegate"` with the child as the resource. Whether what is handed on lies within what
    /// the caller has is not asked here.
    ///
    /// # Errors
    /// The refusal with the decision behind it: nothing permits it, something forbids it, a policy failed to evaluate, no
    /// policies are loaded, or the child could be no link of the chain (neither registered nor known by its key, retired,
    /// or there already).
    #[expect(clippy::result_large_err, reason = "both are for the record, on a path that is not hot")]
    pub fn delegate(
        &self,
        caller: &Caller,
        asked: &Delegating<'_>,
        env: &Environment,
    ) -> Result<Decision, (Refusal, Decision)> {
        let snapshot = self.snapshot();
        let subjects = snapshot.refuse_when_empty().and_then(|()| Subjects::of(caller, &snapshot.directory));
        let authority = caller.token().authority.as_ref();
        let decided = match subjects.and_then(|subjects| snapshot.delegation(subjects, asked.child)) {
            Ok((frame, target)) => snapshot.decide_delegating(&frame, &target, asked, authority, env),
            Err(refusal) => snapshot.undecided(refusal),
        };
        match decided {
            Decided { decision, refusal: None, .. } => Ok(decision),
            Decided { decision, refusal: Some(refusal), .. } => Err((refusal, decision)),
        }
    }
}

impl Snapshot {
    /// The frame of subjects that hand something on to `child`.
    pub(crate) fn delegation(
        &self,
        subjects: Subjects,
        child: &AgentId,
    ) -> Result<(Frame, Arc<Target>), Refusal> {
        let child = subjects.child(child, &self.directory)?;
        let target = target(&child).map_err(unusable)?;
        Ok((self.frame_about(subjects, &target)?, Arc::new(target)))
    }

    /// `authority`: what bounds the parent, if anything does.
    pub(crate) fn decide_delegating(
        &self,
        frame: &Frame,
        target: &Target,
        asked: &Delegating<'_>,
        authority: Option<&Authority>,
        env: &Environment,
    ) -> Decided {
        // Never empty: an empty set is contained in every list, and a policy that says
        // `["list"].containsAll(context.input.operations)` would permit everything to whoever leaves the operations out.
        let operations = match authority {
            _ if !asked.operations.is_empty() => asked.operations.clone(),
            Some(authority) => authority.operations().map(str::to_owned).collect(),
            None => self.all_operations(),
        };
        match input(asked, operations) {
            Ok(input) => self.ask(frame, target, &input, env),
            Err(refusal) => self.undecided(refusal),
        }
    }

    fn all_operations(&self) -> BTreeSet<String> {
        let known = self.policies.operations.entries.iter().map(|entry| entry.id.name.to_string());
        known.chain([ANY.to_owned()]).collect()
    }
}

fn target(child: &Agent) -> Result<Target, EngineError> {
    let mut entities = engine::agent_entities(&child.id, child.trust, &child.groups)?;
    entities.push(engine::delegate_entity());
    Ok(Target {
        name: DELEGATE.to_owned(),
        action: engine::delegate_uid(),
        groups: Vec::new(),
        resource: engine::agent_uid(&child.id),
        above: subjects::groups_of(child),
        input: INPUT.clone(),
        scopes: BTreeSet::new(),
        entities,
    })
}

fn input(asked: &Delegating<'_>, operations: BTreeSet<String>) -> Result<Json, Refusal> {
    let long = |what: &str, value: Option<i64>| {
        let too_much = || Refusal::new(Denial::ArgumentInexact, format!("the {what} is too large"));
        value.map(|value| Json::Number(Number::from_i64(value))).ok_or_else(too_much)
    };
    // Rounded up: a policy bounds it from above.
    let seconds = asked.lifetime.as_secs().checked_add(u64::from(asked.lifetime.subsec_nanos() > 0));
    Ok(Json::Object(vec![
        ("depth".to_owned(), long("depth", i64::try_from(asked.depth).ok())?),
        ("expires".to_owned(), long("lifetime", seconds.and_then(|seconds| seconds.try_into().ok()))?),
        ("operations".to_owned(), Json::Array(operations.into_iter().map(Json::String).collect())),
    ]))
}

#[cfg(test)]
mod tests {
    use cedar_policy::Request;
    use jiff::tz::TimeZone;
    use vestibule_model::{Directory, Timestamp};

    use super::*;
    use crate::{
        catalog::Operations,
        convert, load,
        reads::EVERYTHING,
        subjects::{Facts, groups_of},
    };

    /// The core schema says by hand what [`INPUT`] says to the converter.
    #[test]
    fn what_policies_are_given_is_what_they_are_checked_against() {
        let schema = load::schema(&Operations::default()).unwrap();
        let agent = Agent {
            id: AgentId::new("a").unwrap(),
            groups: ["g".to_owned()].into(),
            trust: 1,
            scopes: BTreeSet::new(),
            claims: BTreeMap::new(),
            apps: BTreeSet::new(),
            state: vestibule_model::AgentState::Active,
            created_at: Timestamp::from_millis(0),
        };
        let directory = Directory::default().with(Arc::new(agent.clone()));
        let subjects =
            Subjects::suppose([&agent.id].into_iter(), None, Facts::default(), &directory).unwrap();
        let target = target(&agent).unwrap();
        let context = |names: &[&str]| {
            let asked = Delegating {
                child: &agent.id,
                depth: 2,
                lifetime: Duration::from_secs(60),
                operations: BTreeSet::new(),
            };
            let operations = names.iter().map(|name| (*name).to_owned()).collect();
            let input = input(&asked, operations).unwrap();
            let env = Environment { now: Timestamp::from_millis(0), ip: None };
            let mut parts = subjects.parts().unwrap();
            parts.push(("input".to_owned(), convert::record(&INPUT.fields, &EVERYTHING, &input).unwrap()));
            parts.push(("env".to_owned(), env.part(&EVERYTHING, &TimeZone::UTC).unwrap()));
            engine::context(parts).unwrap()
        };
        for names in [&[][..], &["list", "*"]] {
            let question = target.question(&engine::agent_uid(&agent.id));
            let request = Request::new(
                question.principal,
                question.action,
                question.resource,
                context(names),
                Some(&schema),
            );
            assert!(request.is_ok(), "{:?}", request.err());
        }
        assert_eq!(target.above, groups_of(&agent));
    }
}
