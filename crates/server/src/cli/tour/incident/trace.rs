use serde_json::Value;

use super::{super::Stage, World, cast::Cast, tree::workflow};
use crate::cli::{
    Outcome,
    output::{moment, text},
};

/// Most lines that are shown.
const SHOWN_MAX: usize = 48;

/// The whole tree with everything that was done in it.
pub(super) async fn play(stage: &mut Stage<'_>, world: &World<'_>, cast: &Cast) -> Outcome {
    stage.scene(
        "The trace: who asked for what, through whom",
        "Rebuilt from the log alone: each attempt below its agent, each agent below its parent.",
    );
    let workflow = workflow(&cast.orchestrator.mcp);
    let trace = world.admin.get(&format!("/admin/v1/workflows/{workflow}/trace")).await?;
    let mut page = Page { cast, lines: Vec::new(), deepest: 0, acts: Vec::new() };
    for root in items(&trace, "roots") {
        page.node(0, 1, root);
    }
    stage.wire(&format!("vestibule audit trace {workflow}"));
    let user = trace.get("user").map(|user| text(user, "subject")).unwrap_or_default();
    stage.wire(&format!("for {user}, {} attempts", text(&trace, "attempts")));
    let lines: Vec<String> = page.lines.iter().map(Line::shown).collect();
    lines.iter().take(SHOWN_MAX).for_each(|line| stage.wire(line));
    if lines.len() > SHOWN_MAX {
        stage.wire(&format!("… {} more lines", lines.len() - SHOWN_MAX));
    }
    stage.check(page.deepest == 4 && user == "alice", "from the human through four agents to each call");
    let order = format!("revoke agent/{}", cast.researcher.holder.id);
    stage.check(page.acts.contains(&order), "the order stands where it struck");
    Ok(())
}

fn items<'a>(of: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    of.get(key).and_then(Value::as_array).into_iter().flatten()
}

struct Page<'a> {
    cast: &'a Cast,
    lines: Vec<Line>,
    /// The longest chain of agents.
    deepest: usize,
    /// The acts that stand in the tree: verb and target.
    acts: Vec<String>,
}

/// A line, and how many more there were that differ from it in their time only.
struct Line {
    indent: usize,
    at: String,
    said: String,
    more: usize,
}

impl Line {
    fn shown(&self) -> String {
        let Self { indent, at, said, more } = self;
        let times = if *more == 0 { String::new() } else { format!("  ×{}", more + 1) };
        format!("{:width$}{at}{said}{times}", "", width = 2 * indent)
    }
}

impl Page<'_> {
    fn line(&mut self, indent: usize, at: &str, said: String) {
        self.lines.push(Line { indent, at: at.to_owned(), said, more: 0 });
    }

    fn node(&mut self, indent: usize, depth: usize, node: &Value) {
        self.deepest = self.deepest.max(depth);
        let agent = self.cast.called(&text(node, "agent"));
        self.line(indent, "", format!("{agent}  {}", text(node, "origin")));
        // Identifiers of attempts sort by time.
        let steps = items(node, "steps").map(|step| (text(step, "attempt"), false, step));
        let acts = items(node, "acts").map(|act| (text(act, "attempt"), true, act));
        let mut events: Vec<(String, bool, &Value)> = steps.chain(acts).collect();
        events.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        for (_, is_act, event) in events {
            if is_act {
                self.act(indent + 1, event);
            } else {
                self.step(indent + 1, depth, event);
            }
        }
    }

    fn act(&mut self, indent: usize, act: &Value) {
        let did = format!("{} {}", text(act, "action"), text(act, "target"));
        self.line(indent, &time(act), format!("! {did}  by {}", text(act, "author")));
        self.acts.push(did);
    }

    fn step(&mut self, indent: usize, depth: usize, step: &Value) {
        let record = step.get("record").cloned().unwrap_or_default();
        let said = became(&record);
        let mut below = items(step, "nodes").peekable();
        match self.lines.last_mut() {
            Some(last) if below.peek().is_none() && last.indent == indent && last.said == said => {
                last.more += 1;
            }
            Some(_) | None => self.line(indent, &time(&record), said),
        }
        for node in below {
            self.node(indent + 1, depth + 1, node);
        }
    }
}

/// What was attempted, and what became of it.
fn became(record: &Value) -> String {
    let given = |key: &str| Some(text(record, key)).filter(|text| !text.is_empty());
    let what = match text(record, "kind").as_str() {
        "call" => given("operation").or_else(|| given("method")).unwrap_or_default(),
        kind => kind.to_owned(),
    };
    let outcome = given("outcome").unwrap_or_else(|| "under way".to_owned());
    let denial = given("denial").map(|denial| format!(" ({denial})")).unwrap_or_default();
    let told = given("cancelled").map(|told| format!("  application {told}")).unwrap_or_default();
    format!("{what}  {outcome}{denial}{told}")
}

/// The time of day, and what stands after it.
fn time(of: &Value) -> String {
    let time: String = moment(of.get("at")).chars().skip(11).take(12).collect();
    format!("{time}  ")
}
