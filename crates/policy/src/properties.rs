//! What holds for all policies and all requests, tried on random ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{Context, PolicyId, PolicySet as CedarSet, Request};
use jiff::tz::TimeZone;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};
use vestibule_model::{
    Agent, AgentId, AgentState, AppId, AppKind, Directory, Effect, Operation, OperationId, Risk, Thumbprint,
    Timestamp, UserId,
    json::{Json, parse},
};

use crate::{
    catalog::{AppOperations, Operations},
    convert, engine,
    environment::Environment,
    load,
    lock::{Decided, Snapshot},
    reads::EVERYTHING,
    schema::Input,
    set::PolicySet,
    statement::Statement,
    subjects::{Facts, Human, Subjects},
    target::Target,
};

const PRINCIPALS: &[&str] = &[
    "principal",
    "principal is Agent",
    "principal is User",
    "principal == Agent::\"a\"",
    "principal == Agent::\"b\"",
    "principal == User::\"i#u\"",
    "principal in AgentGroup::\"g\"",
    "principal in AgentGroup::\"h\"",
    "principal in Agent::\"a\"",
    "principal is Agent in AgentGroup::\"g\"",
    "principal in AgentGroup::\"spawned\"",
    "principal in UserGroup::\"ug\"",
];
const ACTIONS: &[&str] = &[
    "action",
    "action == Action::\"x__read\"",
    "action == Action::\"x__write\"",
    "action in Action::\"x\"",
    "action in Action::\"y\"",
    "action in [Action::\"x__write\", Action::\"y\", Action::\"call\"]",
    "action in Action::\"y__read\"",
    "action == Action::\"delegate\"",
    "action in [Action::\"delegate\", Action::\"x\"]",
];
const RESOURCES: &[&str] = &[
    "resource",
    "resource == Operation::\"x__read\"",
    "resource in App::\"x\"",
    "resource in App::\"y\"",
    "resource is Operation",
    "resource is Operation in App::\"x\"",
    "resource in Operation::\"y__write\"",
    "resource is Agent",
    "resource == Agent::\"b\"",
    "resource in AgentGroup::\"g\"",
    "resource is Agent in AgentGroup::\"spawned\"",
];
/// Some fail to evaluate for some arguments.
const CONDITIONS: &[&str] = &[
    "context.input.n > 0",
    "context.input.n * 4611686018427387904 > 0",
    "context.input has s && context.input.s like \"p*\"",
    "context.input has b && context.input.b",
    "!(context.input has s)",
    "context.input == {n: 1}",
    "if context.input.n == 0 then resource.readOnly else context.env.weekday == 3",
    "if resource.readOnly then context.input.n == 1 else context.input.n != 1",
    "(if context.input.n > 0 then context.input.n * 9223372036854775807 else 1) == 1",
    "resource.readOnly",
    "resource.scopes.isEmpty() || context.token.scopes.containsAny(resource.scopes)",
    "principal is Agent && principal.trust > 1",
    "context.caller.depth > 1",
    "context.caller.chain in AgentGroup::\"h\"",
    "context.caller has user && context.caller.user == User::\"i#u\"",
    "context.token.claims.hasTag(\"c\") && context.token.claims.getTag(\"c\").contains(\"v\")",
    "context.token.issuer like \"i*\"",
    "context.env.minuteOfDay < 720",
    "context.env.now < datetime(\"2026-01-07T12:00:00Z\")",
    "context.env has ip && context.env.ip.isInRange(ip(\"10.0.0.0/8\"))",
    "resource.app.kind == \"mcp\" && action in Action::\"x\"",
    "context.input.depth <= 3 && context.input.expires < 600",
    "[\"read\", \"write\"].containsAll(context.input.operations)",
    "resource is Agent && resource.trust > principal.trust",
];

fn policy() -> impl Strategy<Value = String> {
    let part = |pool: &'static [&'static str]| select(pool);
    let conditions = vec(
        (select(&["when", "unless"][..]), part(CONDITIONS), part(CONDITIONS), select(&["&&", "||"][..])),
        0..3,
    );
    let effect = select(&["permit", "permit", "forbid"][..]);
    let challenge = select(&["", "", "@challenge(\"insufficient_scope\")"][..]);
    (effect, challenge, part(PRINCIPALS), part(ACTIONS), part(RESOURCES), conditions).prop_map(
        |(effect, challenge, principal, action, resource, conditions)| {
            let conditions: String =
                conditions.iter().map(|(word, a, b, op)| format!(" {word} {{ ({a}) {op} ({b}) }}")).collect();
            format!("{challenge} {effect} ({principal}, {action}, {resource}){conditions};")
        },
    )
}

#[derive(Debug, Clone)]
struct Call {
    chain: Vec<AgentId>,
    user: Option<(&'static str, Option<&'static str>)>,
    scopes: Vec<&'static str>,
    claims: Vec<&'static str>,
    operation: (&'static str, &'static str),
    arguments: (i64, Option<&'static str>, Option<bool>),
    env: (i64, Option<&'static str>),
}

/// One of two agents that are known by their keys alone.
fn keyed(number: u8) -> AgentId {
    AgentId::of_key(&Thumbprint::from_bytes([number; 32]))
}

fn agent() -> impl Strategy<Value = AgentId> {
    prop_oneof![
        select(&["a", "b", "c"][..]).prop_map(|id| AgentId::new(id).unwrap()),
        select(&[1, 2][..]).prop_map(keyed),
    ]
}

/// Root first. The root is registered, and what is not is there once.
fn chain() -> impl Strategy<Value = Vec<AgentId>> {
    (select(&["a", "b", "c"][..]), vec(agent(), 0..3)).prop_map(|(root, below)| {
        let mut chain = vec![AgentId::new(root).unwrap()];
        for agent in below {
            if agent.as_key().is_none() || !chain.contains(&agent) {
                chain.push(agent);
            }
        }
        chain
    })
}

fn call() -> impl Strategy<Value = Call> {
    let (from, to) = (1_767_700_000_i64, 1_767_900_000_i64);
    let user = option::of((select(&["u", "v"][..]), option::of(select(&["ug", "other"][..]))));
    let operation = (select(&["x", "y"][..]), select(&["read", "write"][..]));
    let arguments = (
        prop_oneof![Just(i64::MAX), -1..3i64],
        option::of(select(&["p1", "q"][..])),
        option::of(any::<bool>()),
    );
    let env = (from..to, option::of(select(&["10.1.1.1", "192.0.2.1"][..])));
    (
        chain(),
        user,
        vec(select(&["s", "t"][..]), 0..2),
        vec(select(&["v", "w"][..]), 0..2),
        operation,
        arguments,
        env,
    )
        .prop_map(|(chain, user, scopes, claims, operation, arguments, env)| Call {
            chain,
            user,
            scopes,
            claims,
            operation,
            arguments,
            env,
        })
}

fn operations() -> Vec<AppOperations> {
    let schema = json!({ "required": ["n"], "properties": {
        "n": { "type": "integer" }, "s": { "type": "string" }, "b": { "type": ["boolean", "null"] } } });
    let operation = |name: &str, effect, scopes: &[&str]| Operation {
        name: name.into(),
        description: String::new(),
        input_schema: schema.clone(),
        effect,
        risk: Risk::Claimed,
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        definition_digest: String::new(),
        pinned: true,
    };
    let app = |id: &str, kind| AppOperations {
        app: AppId::new(id).unwrap(),
        kind,
        operations: vec![operation("read", Effect::Read, &[]), operation("write", Effect::Write, &["s"])],
    };
    vec![app("x", AppKind::Mcp), app("y", AppKind::Http)]
}

fn directory() -> Arc<Directory> {
    let agent = |id: &str, groups: &[&str], trust| {
        Arc::new(Agent {
            id: AgentId::new(id).unwrap(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            trust,
            scopes: BTreeSet::new(),
            claims: BTreeMap::new(),
            apps: BTreeSet::new(),
            state: AgentState::Active,
            created_at: Timestamp::from_millis(0),
        })
    };
    Arc::new([agent("a", &["g"], 3), agent("b", &["g", "h"], 1), agent("c", &[], 2)].into_iter().collect())
}

/// The policies as they are (with their scopes) and as the product keeps them.
fn sets(texts: &[String]) -> (CedarSet, Snapshot) {
    let mut full = CedarSet::new();
    let mut statements = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let policy = cedar_policy::Policy::parse(Some(PolicyId::new(format!("p{number}"))), text).unwrap();
        statements
            .push(Statement::new(&policy, &format!("p{number}"), text, ("f".into(), 1), false).unwrap());
        full.add(policy).unwrap();
    }
    let catalog = operations();
    let set = PolicySet::assemble(
        statements,
        Operations::of(&catalog, &mut Vec::new()),
        TimeZone::UTC,
        String::new(),
        catalog,
    );
    (full, Snapshot::new(Arc::new(set), directory(), 64))
}

fn subjects(call: &Call) -> Subjects {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
    let user = call.user.map(|(subject, group)| Human {
        id: UserId { issuer: "i".to_owned(), subject: subject.to_owned() },
        groups: group.map(str::to_owned).into_iter().collect(),
    });
    let claims =
        if call.claims.is_empty() { BTreeMap::new() } else { [("c".to_owned(), owned(&call.claims))].into() };
    let facts = Facts { issuer: "issuer", scopes: owned(&call.scopes), claims };
    Subjects::suppose(call.chain.iter(), user, facts, &directory()).unwrap()
}

fn arguments(call: &Call) -> Json {
    let (n, s, b) = call.arguments;
    let mut object = json!({ "n": n, "b": b });
    if let Some(s) = s {
        object["s"] = s.into();
    }
    parse(object.to_string().as_bytes(), 8).unwrap()
}

fn environment(call: &Call) -> Environment {
    Environment { now: Timestamp::from_seconds(call.env.0), ip: call.env.1.map(|ip| ip.parse().unwrap()) }
}

/// Compares what was decided about each subject with what Cedar says when it sees all policies, entities and values.
fn compare(
    (full, snapshot): (&CedarSet, &Snapshot),
    call: &Call,
    target: &Target,
    input: &Json,
    decided: &Decided,
) -> Result<(), TestCaseError> {
    let mut entities = subjects(call).entities().unwrap();
    let known = snapshot.policies.operations.entries.iter().map(|entry| &entry.target);
    entities.extend(known.flat_map(|target| target.entities.iter().cloned()));
    entities.extend(target.entities.iter().cloned());
    let entities = engine::store(entities).unwrap();
    let mut parts = subjects(call).parts().unwrap();
    let input = convert::record(&target.input.fields, &EVERYTHING, input).unwrap();
    parts.push(("input".to_owned(), input));
    parts.push(("env".to_owned(), environment(call).part(&EVERYTHING, &TimeZone::UTC).unwrap()));
    let context = engine::context(parts).unwrap();
    let mut all = true;
    for ((uid, _), subject) in subjects(call).each().iter().zip(&decided.decision.subjects) {
        let request = target.question(uid).in_context(context.clone()).unwrap();
        let answer = engine::ask(full, &request, &entities);
        all &= answer.is_permit();
        prop_assert_eq!(subject.allow, answer.is_permit());
        prop_assert_eq!(&subject.policies, &answer.policies);
        prop_assert_eq!(&subject.errors, &answer.failed);
    }
    prop_assert_eq!(decided.decision.subjects.len(), call.chain.len() + usize::from(call.user.is_some()));
    prop_assert_eq!(decided.refusal.is_none(), all);
    prop_assert_eq!(decided.decision.allow, all);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Slices, dropped scopes and a context with only what is read decide like Cedar does with everything.
    #[test]
    fn a_decision_on_slices_is_the_decision_of_the_whole_set(texts in vec(policy(), 1..12), calls in vec(call(), 1..4)) {
        let (full, snapshot) = sets(&texts);
        for call in calls {
            let operation = OperationId::new(AppId::new(call.operation.0).unwrap(), call.operation.1);
            let (position, entry) = snapshot.policies.operations.find(&operation).unwrap();
            let frame = snapshot.frame(subjects(&call), position, entry).unwrap();
            let decided = snapshot.decide(&frame, entry, None, &arguments(&call), &environment(&call));
            compare((&full, &snapshot), &call, &entry.target, &arguments(&call), &decided)?;
        }
    }

    /// The same for handing something on.
    #[test]
    fn delegating_is_decided_like_cedar_does_with_everything(
        texts in vec(policy(), 1..12), call in call(), child in agent(), depth in 1..5i64, expires in 0..1200i64, operation in select(&["read", "x", "*"][..]),
    ) {
        let (full, snapshot) = sets(&texts);
        if let Ok((frame, target)) = snapshot.delegation(subjects(&call), &child) {
            let input = json!({ "depth": depth, "expires": expires, "operations": [operation] });
            let input = parse(input.to_string().as_bytes(), 8).unwrap();
            let decided = snapshot.ask(&frame, &target, &input, &environment(&call));
            compare((&full, &snapshot), &call, &target, &input, &decided)?;
        } else {
            prop_assert!(child.as_key().is_some() && call.chain.contains(&child));
        }
    }

    /// Whatever can be called is listed.
    #[test]
    fn what_is_permitted_is_visible(texts in vec(policy(), 1..12), calls in vec(call(), 1..8)) {
        let (_, snapshot) = sets(&texts);
        for call in calls {
            let operation = OperationId::new(AppId::new(call.operation.0).unwrap(), call.operation.1);
            let (position, entry) = snapshot.policies.operations.find(&operation).unwrap();
            let env = environment(&call);
            let frame = snapshot.frame(subjects(&call), position, entry).unwrap();
            if snapshot.decide(&frame, entry, None, &arguments(&call), &env).refusal.is_none() {
                prop_assert!(frame.is_visible(&snapshot.policies, &entry.target, &env).unwrap());
            }
        }
    }

    /// What the converter makes of arguments is what the generated schema says they are: Cedar's own check agrees.
    #[test]
    fn converted_arguments_conform_to_the_generated_types(schema in object_schema(), value in object_value()) {
        let mut catalog = operations();
        catalog[0].operations[0].input_schema = schema;
        let operations = Operations::of(&catalog, &mut Vec::new());
        let schema = load::schema(&operations).unwrap();
        let target = &operations.entries[0].target;
        let value = parse(value.to_string().as_bytes(), 16).unwrap();
        if let Ok(input) = convert::record(&target.input.fields, &EVERYTHING, &value) {
            let call = Call { chain: vec![AgentId::new("a").unwrap()], user: None, scopes: vec![], claims: vec![], operation: ("x", "read"), arguments: (0, None, None), env: (0, None) };
            let mut parts = subjects(&call).parts().unwrap();
            parts.push(("input".to_owned(), input));
            parts.push(("env".to_owned(), Environment { now: Timestamp::from_millis(0), ip: None }.part(&EVERYTHING, &TimeZone::UTC).unwrap()));
            let context: Context = engine::context(parts).unwrap();
            let question = target.question(&subjects(&call).each()[0].0);
            let request = Request::new(question.principal, question.action, question.resource, context, Some(&schema));
            prop_assert!(request.is_ok(), "{:?}", request.err());
        }
    }

    /// Reading a schema never panics and never costs more than its bound.
    #[test]
    fn any_json_can_stand_where_a_schema_should(value in json_value()) {
        if let Ok(input) = Input::of(&value) {
            prop_assert!(input.to_cedar().is_object());
        }
    }
}

fn leaf_schema() -> impl Strategy<Value = Value> {
    select(vec![
        json!({ "type": "string" }),
        json!({ "type": "integer" }),
        json!({ "type": "number" }),
        json!({ "type": "boolean" }),
        json!({ "type": ["integer", "null"] }),
        json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }),
        json!({ "enum": ["a", "b"] }),
        json!({ "type": ["string", "integer"] }),
        json!({}),
    ])
}

fn object_schema() -> impl Strategy<Value = Value> {
    let nested = leaf_schema().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|items| json!({ "type": "array", "items": items })),
            object_of(inner),
        ]
    });
    object_of(nested)
}

fn object_of(inner: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    let names = select(&["a", "b-c", "if"][..]);
    (proptest::collection::btree_map(names, (inner, any::<bool>()), 1..3)).prop_map(|members| {
        let required: Vec<&str> =
            members.iter().filter(|(_, (_, required))| *required).map(|(name, _)| *name).collect();
        let properties: BTreeMap<&str, &Value> =
            members.iter().map(|(name, (schema, _))| (*name, schema)).collect();
        json!({ "type": "object", "properties": properties, "required": required })
    })
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..3i64).prop_map(Value::from),
        Just(json!(1.5)),
        select(&["a", "string", "object", "null", "#", "#/properties/a"][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let names = select(
            &["a", "b-c", "if", "type", "properties", "items", "$ref", "anyOf", "enum", "required"][..],
        );
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(names, inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

fn object_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..3i64).prop_map(Value::from),
        Just(json!(1.5)),
        Just(json!("a")),
    ];
    let nested = leaf.prop_recursive(3, 12, 3, |inner| {
        let names = select(&["a", "b-c", "if"][..]);
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(names, inner, 0..3).prop_map(|members| json!(members)),
        ]
    });
    proptest::collection::btree_map(select(&["a", "b-c", "if"][..]), nested, 0..3)
        .prop_map(|members| json!(members))
}
