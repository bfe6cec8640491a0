//! Agents that nobody registered: a platform (Kubernetes, a CI) vouches for a workload, and a rule of the operator says
//! which agent that is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{Agent, AgentId, AgentState, AppId, Malformed, TRUST_MAX, Timestamp};

/// What the id of every such agent begins with. No registered agent has a colon in its id, and no URI of a key or of a
/// SPIFFE id begins so.
const PREFIX: &str = "workload:";
/// The longest subject of a workload, in bytes, and the longest instance.
const PART_MAX_BYTES: usize = 512;
const NAME_MAX_BYTES: usize = 32;
const GROUPS_MAX: usize = 64;
const GROUP_MAX_BYTES: usize = 128;
const SCOPES_MAX_BYTES: usize = 1024;

/// Which workloads of one issuer are which agents, and what those may be.
#[derive(Debug, Clone)]
pub struct WorkloadRule {
    /// The name of the rule among those of its issuer: 1 to 32 of `a-z`, `0-9` and `-`. A part of the agents' ids.
    pub agent: String,
    /// Which subjects.
    pub subject: SubjectPattern,
    /// Whether the agents of one subject are told apart by an instance, the last part of their ids.
    pub has_instance: bool,
    /// Groups that policies name as `AgentGroup::"…"`.
    pub groups: BTreeSet<String>,
    /// 0 unknown to [`TRUST_MAX`].
    pub trust: u8,
    /// The scopes they may ask for.
    pub scopes: BTreeSet<String>,
    /// The applications they may ask tokens for; empty means all.
    pub apps: BTreeSet<AppId>,
}

/// A subject, in which one `*` may stand for something: at the end, after `:` or `/`, for the rest; or between two of
/// these for one part, which has neither in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectPattern {
    before: String,
    /// None: the pattern is the subject.
    after: Option<String>,
}

/// The rules of all issuers of workloads.
#[derive(Debug, Clone, Default)]
pub struct WorkloadRules(BTreeMap<String, Vec<WorkloadRule>>);

fn is_separator(c: char) -> bool {
    matches!(c, ':' | '/')
}

/// Whether it can stand in an agent's id.
fn is_part(text: &str) -> bool {
    text.len() <= PART_MAX_BYTES && AgentId::new(text).is_ok()
}

fn is_name(text: &str) -> bool {
    let is_plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=NAME_MAX_BYTES).contains(&text.len()) && text.bytes().all(is_plain)
}

impl SubjectPattern {
    /// # Errors
    /// When it could not be a subject, has two `*`, or one that is not a whole part: `repo:acme*` would be meant for one
    /// organisation and match another.
    pub fn new(text: &str) -> Result<Self, Malformed> {
        let fault = |rule| Malformed { what: "subject", rule };
        if !is_part(text) {
            return Err(fault(
                "must be 1 to 512 visible ASCII characters without quote, backslash and angle brackets",
            ));
        }
        let Some((before, after)) = text.split_once('*') else {
            return Ok(Self { before: text.to_owned(), after: None });
        };
        if after.contains('*') {
            return Err(fault("must have one `*` at most"));
        }
        if !before.ends_with(is_separator) || !(after.is_empty() || after.starts_with(is_separator)) {
            return Err(fault("must have its `*` after `:` or `/`, and at the end or before another"));
        }
        Ok(Self { before: before.to_owned(), after: Some(after.to_owned()) })
    }

    /// Whether it is meant.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        let Some(after) = &self.after else { return self.before == subject };
        let middle = subject.strip_prefix(&self.before).and_then(|rest| rest.strip_suffix(after.as_str()));
        middle
            .is_some_and(|middle| !middle.is_empty() && (after.is_empty() || !middle.contains(is_separator)))
    }
}

impl WorkloadRule {
    /// Whether the rest of the rule keeps its bounds.
    fn check(&self) -> Result<(), Malformed> {
        let rule = |what, rule, holds: bool| if holds { Ok(()) } else { Err(Malformed { what, rule }) };
        let is_group = |group: &String| {
            (1..=GROUP_MAX_BYTES).contains(&group.len()) && !group.contains(char::is_control)
        };
        // RFC 6749 §3.3.
        let is_scope = |scope: &String| {
            !scope.is_empty() && scope.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
        };
        rule("agent", "must be 1 to 32 of a-z, 0-9 and -", is_name(&self.agent))?;
        rule("trust", "must be 0 to 3", self.trust <= TRUST_MAX)?;
        rule(
            "groups",
            "must be at most 64, of 1 to 128 characters each",
            self.groups.len() <= GROUPS_MAX && self.groups.iter().all(is_group),
        )?;
        let scopes: usize = self.scopes.iter().map(|scope| scope.len() + 1).sum();
        rule(
            "scopes",
            "must follow RFC 6749 §3.3 and have at most 1 KiB together",
            self.scopes.iter().all(is_scope) && scopes <= SCOPES_MAX_BYTES,
        )
    }

    /// The agent that a workload of the issuer of that name is: `workload:{issuer}/{rule}#{subject}`, and the instance
    /// after another `#`, where the rule tells them apart. Gives nothing for what can be in no id.
    #[must_use]
    pub fn agent(&self, issuer: &str, subject: &str, instance: Option<&str>) -> Option<Arc<Agent>> {
        // The last `#` divides: a subject may have one, an instance not.
        let is_told = instance.is_some() == self.has_instance
            && instance.is_none_or(|instance| is_part(instance) && !instance.contains('#'));
        if !is_told || !is_part(subject) || !self.subject.matches(subject) {
            return None;
        }
        let mut id = format!("{PREFIX}{issuer}/{}#{subject}", self.agent);
        if let Some(instance) = instance {
            id.push('#');
            id.push_str(instance);
        }
        Some(Arc::new(Agent {
            id: AgentId::new(&id).ok()?,
            groups: self.groups.clone(),
            trust: self.trust,
            scopes: self.scopes.clone(),
            claims: BTreeMap::new(),
            apps: self.apps.clone(),
            state: AgentState::Active,
            created_at: Timestamp::from_millis(0),
        }))
    }
}

impl WorkloadRules {
    /// From the rules of each issuer by its name.
    ///
    /// # Errors
    /// The first bound that is broken; and two rules of one issuer with one name: an agent's id must say which of them
    /// counts.
    pub fn new(rules: BTreeMap<String, Vec<WorkloadRule>>) -> Result<Self, Malformed> {
        for (issuer, rules) in &rules {
            if !is_name(issuer) {
                return Err(Malformed { what: "issuer", rule: "must be named by 1 to 32 of a-z, 0-9 and -" });
            }
            let mut names = BTreeSet::new();
            for rule in rules {
                rule.check()?;
                if !names.insert(&rule.agent) {
                    return Err(Malformed { what: "agent", rule: "must name one rule of its issuer only" });
                }
            }
        }
        Ok(Self(rules))
    }

    /// The agent of that id, if a rule still says that there is one. What it may be is the rule's to say, at every
    /// request: an agent whose rule is gone is nobody.
    #[must_use]
    pub fn find(&self, id: &AgentId) -> Option<Arc<Agent>> {
        let (issuer, rest) = id.as_str().strip_prefix(PREFIX)?.split_once('/')?;
        let (name, workload) = rest.split_once('#')?;
        let rule = self.0.get(issuer)?.iter().find(|rule| rule.agent == name)?;
        let (subject, instance) = if rule.has_instance {
            workload.rsplit_once('#').map(|(subject, instance)| (subject, Some(instance)))?
        } else {
            (workload, None)
        };
        rule.agent(issuer, subject, instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(agent: &str, subject: &str, has_instance: bool) -> WorkloadRule {
        WorkloadRule {
            agent: agent.to_owned(),
            subject: SubjectPattern::new(subject).unwrap(),
            has_instance,
            groups: ["ci".to_owned()].into(),
            trust: 1,
            scopes: BTreeSet::new(),
            apps: BTreeSet::new(),
        }
    }

    fn rules(each: Vec<WorkloadRule>) -> WorkloadRules {
        WorkloadRules::new([("ci".to_owned(), each)].into()).unwrap()
    }

    #[test]
    fn a_star_stands_for_the_rest_or_for_one_part() {
        let matches = |pattern: &str, subject: &str| SubjectPattern::new(pattern).unwrap().matches(subject);
        assert!(matches("repo:acme/app:ref:main", "repo:acme/app:ref:main"));
        assert!(!matches("repo:acme/app:ref:main", "repo:acme/app:ref:main2"));
        assert!(matches("repo:acme/app:*", "repo:acme/app:ref:refs/heads/main"));
        assert!(!matches("repo:acme/app:*", "repo:acme/app:"));
        assert!(!matches("repo:acme/app:*", "repo:acme/app-evil:ref:x"));
        assert!(matches("repo:acme/*:ref:refs/heads/main", "repo:acme/app:ref:refs/heads/main"));
        assert!(!matches("repo:acme/*:ref:refs/heads/main", "repo:acme/a:ref:x:ref:refs/heads/main"));
        assert!(!matches("repo:acme/*:ref:refs/heads/main", "repo:acme/:ref:refs/heads/main"));
        for bad in ["repo:acme*", "*", "a:*b", "a:*:*", "", "a b", "a:*-x/y"] {
            assert!(SubjectPattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_agent_is_found_by_its_id_as_long_as_its_rule_says_so() {
        let with = rules(vec![rule("build", "repo:acme/*:ref:main", false), rule("run", "job:*", true)]);
        let build = rule("build", "repo:acme/*:ref:main", false);
        let agent = build.agent("ci", "repo:acme/app:ref:main", None).unwrap();
        assert_eq!(agent.id.as_str(), "workload:ci/build#repo:acme/app:ref:main");
        assert_eq!(with.find(&agent.id).unwrap(), agent);
        let run = rule("run", "job:*", true).agent("ci", "job:a#b", Some("7")).unwrap();
        assert_eq!((run.id.as_str(), with.find(&run.id)), ("workload:ci/run#job:a#b#7", Some(run.clone())));

        for without in [
            rules(Vec::new()),
            rules(vec![rule("build", "repo:other/*:ref:main", false), rule("run", "job:x", true)]),
            WorkloadRules::new([("cd".to_owned(), vec![build.clone()])].into()).unwrap(),
        ] {
            assert_eq!((without.find(&agent.id), without.find(&run.id)), (None, None));
        }
    }

    #[test]
    fn an_id_that_nobody_could_have_been_given_is_nobodys() {
        let with = rules(vec![rule("build", "repo:acme/*:ref:main", false), rule("run", "job:*", true)]);
        for id in [
            "workload:ci/build#repo:evil/app:ref:main",
            "workload:ci/build#",
            "workload:ci/build",
            "workload:ci#repo:acme/app:ref:main",
            "workload:k8s/build#repo:acme/app:ref:main",
            "workload:ci/run#job:a",
            "workload:ci/run#job:a#",
            "Workload:ci/build#repo:acme/app:ref:main",
            "build",
        ] {
            assert_eq!(with.find(&AgentId::new(id).unwrap()), None, "{id}");
        }
        let run = rule("run", "job:*", true);
        assert_eq!(run.agent("ci", "job:a", None), None, "without the instance that it needs");
        assert_eq!(
            run.agent("ci", "job:a", Some("b#c")),
            None,
            "an instance that could be a part of another"
        );
    }

    #[test]
    fn two_rules_of_one_issuer_have_two_names() {
        let two = vec![rule("a", "x:1", false), rule("a", "x:2", false)];
        assert!(WorkloadRules::new([("ci".to_owned(), two)].into()).is_err());
    }
}
