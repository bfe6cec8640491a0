//! A trace as people read it: a line for each node, attempt and act, indented below what brought it about.

use serde_json::json;
use vestibule_evidence::{
    Cancelled, Decision, Outcome, RecordKind, Trace, TraceAct, TraceNode, TraceOf, TraceRecord, TraceStep,
};
use vestibule_model::{AgentId, AttemptId, Origin, Timestamp};

use super::super::output::moment;

/// What stands where nothing is known.
const UNKNOWN: &str = "?";

/// The whole tree, without a line break at its end.
pub(super) fn rendered(trace: &Trace) -> String {
    let asked = match &trace.of {
        TraceOf::Attempt(id) => Some(*id),
        TraceOf::Workflow(_) => None,
    };
    let mut page = Page { lines: vec![head(trace)], asked };
    trace.acts.iter().for_each(|act| page.act(0, act));
    trace.roots.iter().for_each(|node| page.node(0, node));
    trace.apart.iter().for_each(|step| page.step(0, step));
    if trace.left_out > 0 {
        page.lines.push(format!("cut short: {} more attempts and acts belong to it", trace.left_out));
    }
    page.lines.join("\n")
}

fn head(trace: &Trace) -> String {
    let workflow = trace.workflow.as_ref().map(|workflow| format!("workflow {workflow}"));
    let user = trace.user.as_ref().map(|user| format!("for {}", shown(&user.to_string())));
    let count = match trace.attempts {
        1 => "1 attempt".to_owned(),
        many => format!("{many} attempts"),
    };
    cells([workflow, user, Some(count)])
}

struct Page {
    lines: Vec<String>,
    /// The attempt that was asked for.
    asked: Option<AttemptId>,
}

/// What happened under a node.
enum Event<'a> {
    Step(&'a TraceStep),
    Act(&'a TraceAct),
}

impl Page {
    fn line(&mut self, depth: usize, text: &str) {
        self.lines.push(format!("{:width$}{text}", "", width = 2 * depth));
    }

    fn node(&mut self, depth: usize, node: &TraceNode) {
        let agent = node.agent.as_ref().map_or(UNKNOWN, AgentId::as_str).to_owned();
        let origin = node.origin.map_or(UNKNOWN, Origin::as_str).to_owned();
        let expires = node.expires_at.map(|at| format!("until {}", time(at)));
        self.line(depth, &cells([Some(agent), Some(node.node.to_string()), Some(origin), expires]));
        let steps = node.steps.iter().map(|step| (step.attempt, Event::Step(step)));
        let acts = node.acts.iter().map(|act| (Some(act.attempt), Event::Act(act)));
        let mut events: Vec<(Option<AttemptId>, Event<'_>)> = steps.chain(acts).collect();
        // Identifiers of attempts sort by time.
        events.sort_by_key(|(id, _)| *id);
        for (_, event) in events {
            match event {
                Event::Step(step) => self.step(depth + 1, step),
                Event::Act(act) => self.act(depth + 1, act),
            }
        }
    }

    fn step(&mut self, depth: usize, step: &TraceStep) {
        let id = step.attempt.map_or_else(|| UNKNOWN.to_owned(), |id| id.to_string());
        let mark = step.attempt.filter(|id| Some(*id) == self.asked).map(|_| "<-".to_owned());
        let line = match &step.record {
            None => cells([Some(UNKNOWN.to_owned()), Some(id), Some("no record".to_owned()), mark]),
            Some(record) => cells([
                Some(time(record.at)),
                Some(id),
                Some(attempted(record)),
                decided(record),
                Some(became(record)),
                mark,
            ]),
        };
        self.line(depth, &line);
        step.nodes.iter().for_each(|node| self.node(depth + 1, node));
    }

    fn act(&mut self, depth: usize, act: &TraceAct) {
        let author = act.author.as_deref().map(|author| format!("by {}", shown(author)));
        let did = format!("! {} {}", shown(&act.action), shown(&act.target));
        let outcome = act.outcome.map_or("open", Outcome::as_str).to_owned();
        let mark = (Some(act.attempt) == self.asked).then(|| "<-".to_owned());
        let (at, id) = (Some(time(act.at)), Some(act.attempt.to_string()));
        self.line(depth, &cells([at, id, Some(did), author, Some(outcome), mark]));
    }
}

fn attempted(record: &TraceRecord) -> String {
    match record.kind {
        RecordKind::Call => {
            let app = record.app.as_ref().map_or(UNKNOWN, |app| app.as_str());
            let operation = record.operation.as_deref().or(record.method.as_deref()).unwrap_or(UNKNOWN);
            format!("{app} {}", shown(operation))
        }
        RecordKind::TokenRequest
        | RecordKind::TokenIntrospection
        | RecordKind::TokenRevocation
        | RecordKind::Administration => record.kind.as_str().to_owned(),
    }
}

fn decided(record: &TraceRecord) -> Option<String> {
    let decision = match record.decision {
        Decision::Undecided => return None,
        Decision::Permit | Decision::Deny | Decision::Fault => record.decision.as_str(),
    };
    let policies: Vec<String> = record.policies.iter().map(|policy| shown(policy)).collect();
    Some(if policies.is_empty() {
        decision.to_owned()
    } else {
        format!("{decision} by {}", policies.join(", "))
    })
}

fn became(record: &TraceRecord) -> String {
    let outcome = record.outcome.map_or("open", Outcome::as_str);
    let denial = record.denial.as_deref().map(|denial| format!("({})", shown(denial)));
    let told = record.cancelled.map(|how| match how {
        Cancelled::Notified => "application notified",
        Cancelled::Closed => "connection to the application closed",
    });
    [Some(outcome.to_owned()), denial, told.map(ToOwned::to_owned)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

fn time(at: Timestamp) -> String {
    moment(Some(&json!(at)))
}

fn cells<const N: usize>(cells: [Option<String>; N]) -> String {
    cells.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// A text of a caller's. One that breaks the line, moves the cursor or turns the direction of writing could show a tree
/// that is not there.
fn shown(text: &str) -> String {
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_unsafe(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const START: i64 = 1_760_000_000_000;

    fn id(n: u8) -> String {
        format!("{n:032x}")
    }

    fn step(n: u8, kind: &str, nodes: &[Value]) -> Value {
        json!({
            "attempt": id(n),
            "record": {
                "at": START + i64::from(n), "kind": kind, "agent": "planner", "method": "POST", "app": "github",
                "operation": "list", "token": null, "decision": "permit", "policies": ["p.list", "p.all"],
                "denial": null, "cancelled": null, "state": "closed", "outcome": "completed"
            },
            "nodes": nodes
        })
    }

    fn node(n: u8, agent: Option<&str>, steps: &[Value], acts: &[Value]) -> Value {
        json!({
            "node": id(n), "agent": agent, "origin": agent.map(|_| "spawned"), "made_by": null,
            "expires_at": agent.map(|_| START), "keys": [], "steps": steps, "acts": acts
        })
    }

    fn act(n: u8, target: &str) -> Value {
        json!({
            "attempt": id(n), "at": START + i64::from(n), "action": "suspend", "target": target,
            "author": "operator", "detail": null, "outcome": "completed"
        })
    }

    fn trace(roots: &[Value]) -> Trace {
        serde_json::from_value(json!({
            "of": { "attempt": id(5) }, "workflow": id(200),
            "user": { "issuer": "https://idp.example", "subject": "ana" }, "roots": roots, "apart": [],
            "acts": [act(9, "user/ana")], "attempts": 4, "left_out": 2
        }))
        .unwrap()
    }

    #[test]
    fn each_line_stands_below_what_brought_it_about_in_the_order_of_time() {
        let mut cut = step(5, "call", &[]);
        cut["record"]["outcome"] = json!("cut");
        cut["record"]["denial"] = json!("agent-suspended");
        cut["record"]["cancelled"] = json!("notified");
        let worker =
            node(101, Some("worker"), &[cut, step(7, "token-request", &[])], &[act(6, "agent/worker")]);
        let unknown = json!({ "attempt": null, "record": null, "nodes": [node(102, None, &[], &[])] });
        let root = node(100, Some("planner"), &[unknown, step(4, "token-request", &[worker])], &[]);
        assert_eq!(
            rendered(&trace(&[root])),
            "\
workflow 000000000000000000000000000000c8  for https://idp.example#ana  4 attempts
2025-10-09T08:53:20.009Z  00000000000000000000000000000009  ! suspend user/ana  by operator  completed
planner  00000000000000000000000000000064  spawned  until 2025-10-09T08:53:20.000Z
  ?  ?  no record
    ?  00000000000000000000000000000066  ?
  2025-10-09T08:53:20.004Z  00000000000000000000000000000004  token-request  permit by p.list, p.all  completed
    worker  00000000000000000000000000000065  spawned  until 2025-10-09T08:53:20.000Z
      2025-10-09T08:53:20.005Z  00000000000000000000000000000005  github list  permit by p.list, p.all  cut (agent-suspended) application notified  <-
      2025-10-09T08:53:20.006Z  00000000000000000000000000000006  ! suspend agent/worker  by operator  completed
      2025-10-09T08:53:20.007Z  00000000000000000000000000000007  token-request  permit by p.list, p.all  completed
cut short: 2 more attempts and acts belong to it"
        );
    }

    #[test]
    fn a_caller_cannot_draw_into_the_tree() {
        let mut call = step(5, "call", &[]);
        call["record"]["operation"] = json!("x\n  forged\u{1b}[2J\u{202e}");
        let text = rendered(&trace(&[node(100, Some("planner"), &[call], &[])]));
        assert_eq!(text.lines().count(), 5);
        assert!(text.contains("github x\\u{a}  forged\\u{1b}[2J\\u{202e}  permit"), "{text}");
    }
}
