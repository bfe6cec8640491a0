//! Invariant 7: what a child may, each of its ancestors may in that same context, and it lies inside of what each of them was
//! handed. Tried on random chains, policies, hand-overs and calls, against Cedar asked directly: with all policies as they are
//! written, and with entities and a context that are built here, from the rules and not with the code of the lock.

use std::{cell::Cell, collections::BTreeSet, str::FromStr, sync::Arc};

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet as CedarSet, Request};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use vestibule_inbound::Caller;
use vestibule_model::{AppKind, Authority, Directory, Effect, json::parse};
use vestibule_policy::{Attempt, Catalog, Lock, PolicySet, Verdict};

use crate::support::{
    app, arguments, directory, file, id, in_groups, keyed, noon, operation, options, represented, user,
};

const HERE: &str = "https://gateway.test/apps/x";
const REGISTERED: &[(&str, &[&str], u8)] = &[("a", &["g"], 3), ("b", &["g", "h"], 1), ("c", &["h"], 2)];

// ---- what is tried -----------------------------------------------------------------------------------------

/// The scope of a policy's principal, and whether it can be an agent.
const PRINCIPALS: &[(&str, bool)] = &[
    ("principal", false),
    ("principal", false),
    ("principal is Agent", true),
    ("principal is User", false),
    ("principal in AgentGroup::\"g\"", true),
    ("principal in AgentGroup::\"h\"", true),
    ("principal in AgentGroup::\"spawned\"", true),
    ("principal == Agent::\"b\"", true),
    ("principal in UserGroup::\"dev\"", false),
];
const ACTIONS: &[&str] =
    &["action in Action::\"call\"", "action in Action::\"x\"", "action == Action::\"x__write\""];
const CONDITIONS: &[&str] = &[
    "",
    "",
    "when { context.input.n < 2 }",
    "unless { context.input has s && context.input.s == \"q\" }",
    "when { context.caller.depth < 4 }",
    "when { context.caller.chain in AgentGroup::\"h\" }",
    "unless { context.caller has user && context.caller.user in UserGroup::\"dev\" }",
    "when { resource.readOnly || context.token.scopes.contains(\"w\") }",
];
const OF_AGENTS: &[&str] =
    &["when { principal.trust > 1 }", "unless { principal in AgentGroup::\"spawned\" }"];

/// The scope bounds, so that what is handed on of it can be told from the outcome.
const GUARD: &str = "@id(\"guard.scope\") forbid (principal, action in Action::\"call\", resource)
    unless { resource.scopes.isEmpty() || context.token.scopes.containsAny(resource.scopes) };";

fn policy() -> impl Strategy<Value = String> {
    let effect = select(&["permit", "permit", "permit", "permit", "forbid"][..]);
    (effect, select(PRINCIPALS), select(ACTIONS), select(CONDITIONS), select(OF_AGENTS), any::<bool>())
        .prop_map(|(effect, (principal, is_agent), action, condition, of_agents, both)| {
            let of_agents = if is_agent && both { of_agents } else { "" };
            format!("{effect} ({principal}, {action}, resource) {condition} {of_agents};")
        })
}

/// Constraints on `n` and `s` that often lie within one another.
fn handed() -> impl Strategy<Value = Authority> {
    let n = select(vec![
        json!({ "exact": 1 }),
        json!({ "one_of": [0, 1] }),
        json!({ "range": { "min": 0, "max": 2 } }),
        json!({ "all_of": [{ "range": { "max": 2 } }, { "range": { "min": 1 } }] }),
    ]);
    let s =
        select(vec![json!({ "prefix": "p" }), json!({ "exact": "p1" }), json!({ "one_of": ["p1", "q"] })]);
    let of_operation = (0..3u8, n, s).prop_map(|(kind, n, s)| match kind {
        0 => json!({}),
        1 => json!({ "n": n }),
        _ => json!({ "n": n, "s": s }),
    });
    let names = subsequence(vec!["read", "write"], 1..=2);
    (names, of_operation.clone(), of_operation).prop_map(|(names, one, other)| {
        let operations: serde_json::Map<String, Value> =
            names.iter().map(|name| (*name).to_owned()).zip([one, other]).collect();
        let details =
            json!([{ "type": "vestibule_operations", "locations": [HERE], "operations": operations }]);
        Authority::from_json(&parse(details.to_string().as_bytes(), 16).unwrap()).unwrap()
    })
}

/// What a link is, and what is proposed to be handed to it.
#[derive(Debug, Clone)]
struct Link {
    /// Of a registered agent; none: it is known by a key.
    id: Option<&'static str>,
    authority: Option<Authority>,
    scopes: Vec<&'static str>,
}

fn link() -> impl Strategy<Value = Link> {
    let id = prop_oneof![3 => Just(None), 2 => select(&["a", "b", "c"][..]).prop_map(Some)];
    (id, option::weighted(0.7, handed()), subsequence(vec!["w", "v"], 0..=2))
        .prop_map(|(id, authority, scopes)| Link { id, authority, scopes })
}

#[derive(Debug, Clone)]
struct Case {
    policies: Vec<String>,
    root: Link,
    below: Vec<Link>,
    user: Option<Vec<&'static str>>,
    calls: Vec<(&'static str, i64, Option<&'static str>)>,
}

fn case() -> impl Strategy<Value = Case> {
    let call = (select(&["read", "write"][..]), 0..4i64, option::of(select(&["p1", "p2", "q"][..])));
    let root = (select(&["a", "b", "c"][..]), link()).prop_map(|(id, link)| Link { id: Some(id), ..link });
    let user = option::of(subsequence(vec!["dev", "ops"], 0..=2));
    // Now and then everybody is permitted: what is left then is what forbids and what was handed on.
    let grants = (vec(policy(), 1..6), any::<bool>()).prop_map(|(mut policies, all)| {
        policies.extend(all.then(|| "permit (principal, action, resource);".to_owned()));
        policies
    });
    (grants, root, vec(link(), 0..4), user, vec(call, 8))
        .prop_map(|(policies, root, below, user, calls)| Case { policies, root, below, user, calls })
}

// ---- what comes of it --------------------------------------------------------------------------------------

/// A link with what it really got: what was proposed only where it is proven to be no more than its parent has.
#[derive(Debug, Clone)]
struct Node {
    id: String,
    groups: BTreeSet<String>,
    trust: u8,
    is_spawned: bool,
    authority: Option<Authority>,
    scopes: BTreeSet<String>,
}

fn nodes(case: &Case) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (number, link) in (1..).zip([&case.root].into_iter().chain(&case.below)) {
        let parent = nodes.last();
        let (id, groups, trust) = match (link.id, parent) {
            (Some(id), _) => {
                let (_, groups, trust) = REGISTERED.iter().find(|(known, ..)| *known == id).unwrap();
                (id.to_owned(), groups.iter().map(|group| (*group).to_owned()).collect(), *trust)
            }
            (None, Some(parent)) => {
                let mut groups = parent.groups.clone();
                groups.insert("spawned".to_owned());
                (keyed(number).to_string(), groups, parent.trust)
            }
            (None, None) => panic!("a root is registered"),
        };
        let proposed: BTreeSet<String> = link.scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let (authority, scopes) = match parent {
            None => (link.authority.clone(), proposed),
            Some(parent) => {
                let within = |bound: &Authority| {
                    link.authority.as_ref().is_some_and(|own| own.is_within(bound).is_ok())
                };
                let authority = match &parent.authority {
                    Some(bound) if !within(bound) => Some(bound.clone()),
                    Some(_) | None => link.authority.clone(),
                };
                (authority, &proposed & &parent.scopes)
            }
        };
        nodes.push(Node { id, groups, trust, is_spawned: link.id.is_none(), authority, scopes });
    }
    nodes
}

fn caller(nodes: &[Node], groups: Option<&[&str]>) -> Caller {
    let ids: Vec<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
    let last = nodes.last().unwrap();
    represented(&ids, groups.map(|groups| in_groups(user("u"), groups)), |token| {
        token.audience = HERE.to_owned();
        token.authority = last.authority.clone();
        token.scopes = last.scopes.clone();
    })
}

fn catalog() -> Catalog {
    let schema = json!({ "type": "object", "required": ["n"], "properties": {
        "n": { "type": "integer" }, "s": { "type": "string" } } });
    let mut write = operation("write", Effect::Write, schema.clone());
    write.scopes = ["w".to_owned()].into();
    vec![app("x", AppKind::Mcp, vec![operation("read", Effect::Read, schema), write])]
}

// ---- Cedar, asked directly ---------------------------------------------------------------------------------

fn entity(kind: &str, id: &str) -> Value {
    json!({ "type": kind, "id": id })
}

fn entities(nodes: &[Node], groups: Option<&[&str]>) -> Entities {
    let mut all: Vec<Value> = Vec::new();
    let mut add = |kind: &str, id: &str, attrs: Value, parents: Vec<Value>| {
        let uid = entity(kind, id);
        if !all.iter().any(|known| known["uid"] == uid) {
            all.push(json!({ "uid": uid, "attrs": attrs, "parents": parents }));
        }
    };
    for node in nodes {
        let parents = node.groups.iter().map(|group| entity("AgentGroup", group)).collect();
        add("Agent", &node.id, json!({ "trust": node.trust }), parents);
    }
    let groups: Vec<Value> = groups.into_iter().flatten().map(|group| entity("UserGroup", group)).collect();
    add("User", "https://idp.test#u", json!({}), groups);
    add("Chain", "chain", json!({}), nodes.iter().map(|node| entity("Agent", &node.id)).collect());
    add("App", "x", json!({ "kind": "mcp" }), Vec::new());
    add("Action", "x", json!({}), vec![entity("Action", "call")]);
    for (name, scopes) in [("x__read", json!([])), ("x__write", json!(["w"]))] {
        let attrs = json!({ "readOnly": name == "x__read", "destructive": false, "pinned": true, "reviewed": true,
            "scopes": scopes, "app": { "__entity": entity("App", "x") } });
        add("Operation", name, attrs, vec![entity("App", "x")]);
        add("Action", name, json!({}), vec![entity("Action", "x")]);
    }
    Entities::from_json_value(Value::Array(all), None).unwrap()
}

fn context(nodes: &[Node], has_user: bool, input: &Value) -> Context {
    let mut caller = json!({ "chain": { "__entity": entity("Chain", "chain") }, "depth": nodes.len() });
    if has_user {
        caller["user"] = json!({ "__entity": entity("User", "https://idp.test#u") });
    }
    let token = json!({ "scopes": nodes.last().unwrap().scopes, "issuer": "https://issuer.test" });
    Context::from_json_value(json!({ "input": input, "caller": caller, "token": token }), None).unwrap()
}

/// Whether Cedar permits it to one principal.
fn permits(
    policies: &CedarSet,
    entities: &Entities,
    principal: (&str, &str),
    operation: &str,
    context: &Context,
) -> bool {
    let uid = |kind: &str, id: &str| EntityUid::from_str(&format!("{kind}::\"{id}\"")).unwrap();
    let name = format!("x__{operation}");
    let request = Request::new(
        uid(principal.0, principal.1),
        uid("Action", &name),
        uid("Operation", &name),
        context.clone(),
        None,
    );
    let response = Authorizer::new().is_authorized(&request.unwrap(), policies, entities);
    response.decision() == Decision::Allow && response.diagnostics().errors().next().is_none()
}

// ---- the invariant -----------------------------------------------------------------------------------------

/// How often something worth looking at was permitted.
#[derive(Debug, Default)]
struct Seen {
    below_a_root: Cell<u32>,
    by_what_was_spawned: Cell<u32>,
    within_what_was_narrowed: Cell<u32>,
    for_a_user: Cell<u32>,
    /// Refused to the child although it alone would be permitted.
    for_an_ancestor: Cell<u32>,
    /// Refused for what was handed on although everybody would be permitted.
    for_the_authority: Cell<u32>,
}

fn check(case: &Case, agents: &Arc<Directory>, seen: &Seen) -> Result<(), TestCaseError> {
    let ids = (0..).zip(&case.policies).map(|(number, text)| format!("@id(\"p{number}\") {text}"));
    let text: String = ids.chain([GUARD.to_owned()]).collect::<Vec<_>>().join("\n");
    let set = PolicySet::load(&[file("random.cedar", &text)], &catalog(), &options());
    let lock = Lock::new(
        Some(set.map_err(|problems| TestCaseError::fail(format!("{problems:?}")))?),
        Arc::clone(agents),
    );
    let policies = CedarSet::from_str(&text).unwrap();
    let nodes = nodes(case);
    let groups = case.user.as_deref();
    let caller = caller(&nodes, groups);
    let entities = entities(&nodes, groups);
    for (operation, n, s) in &case.calls {
        let input = match s {
            Some(s) => json!({ "n": n, "s": s }),
            None => json!({ "n": n }),
        };
        let arguments = arguments(&input.to_string());
        let attempt = Attempt { operation: id(&format!("x__{operation}")), arguments: &arguments };
        let is_permitted = matches!(lock.decide(&caller, &attempt, &noon()), Verdict::Permitted(_));

        let context = context(&nodes, groups.is_some(), &input);
        let asked = |principal| permits(&policies, &entities, principal, operation, &context);
        let agents: Vec<bool> = nodes.iter().map(|node| asked(("Agent", &node.id))).collect();
        let user = groups.is_none() || asked(("User", "https://idp.test#u"));
        let inside = |node: &Node| {
            node.authority.as_ref().is_none_or(|bound| bound.permits(HERE, operation, &arguments).is_ok())
        };
        let everybody = agents.iter().all(|allowed| *allowed) && user;
        prop_assert_eq!(is_permitted, everybody && inside(nodes.last().unwrap()));
        if is_permitted {
            for (node, allowed) in nodes.iter().zip(&agents) {
                prop_assert!(*allowed, "{} is not permitted", node.id);
                prop_assert!(inside(node), "outside of what {} was handed", node.id);
                prop_assert!(
                    *operation == "read" || node.scopes.contains("w"),
                    "{} lacks the scope",
                    node.id
                );
            }
        }
        count(seen, &nodes, groups.is_some(), is_permitted, (everybody, agents.last() == Some(&true)));
    }
    Ok(())
}

fn count(seen: &Seen, nodes: &[Node], has_user: bool, is_permitted: bool, (everybody, child): (bool, bool)) {
    let count = |cell: &Cell<u32>, holds: bool| cell.set(cell.get() + u32::from(holds));
    let (root, last) = (nodes.first().unwrap(), nodes.last().unwrap());
    count(&seen.below_a_root, is_permitted && nodes.len() > 1);
    count(&seen.by_what_was_spawned, is_permitted && last.is_spawned);
    count(
        &seen.within_what_was_narrowed,
        is_permitted && nodes.len() > 1 && root.authority != last.authority,
    );
    count(&seen.for_a_user, is_permitted && nodes.len() > 1 && has_user);
    count(&seen.for_an_ancestor, child && !everybody);
    count(&seen.for_the_authority, everybody && !is_permitted);
}

#[test]
fn what_a_child_may_each_ancestor_may_and_it_lies_inside_of_what_each_was_handed() {
    let seen = Seen::default();
    let agents = directory(REGISTERED);
    let run = TestRunner::new(Config::with_cases(512)).run(&case(), |case| check(&case, &agents, &seen));
    run.unwrap_or_else(|failed| panic!("{failed}"));
    let floor = [
        &seen.below_a_root,
        &seen.by_what_was_spawned,
        &seen.within_what_was_narrowed,
        &seen.for_a_user,
        &seen.for_an_ancestor,
        &seen.for_the_authority,
    ];
    assert!(floor.iter().all(|seen| seen.get() >= 20), "too few to mean anything: {seen:?}");
}
