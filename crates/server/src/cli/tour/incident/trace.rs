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
        "Rebuilt from the log alone: each attempt below the agent that made it, each agent below its parent.",
    );
    let workflow = workflow(&cast.orchestrator.mcp);
    let trace = world.admin.get(&format!("/admin/v1/workflows/{workflow}/trace")).await?;
    let mut page = Page { cast, lines: Vec::new(), deepest: 0, acts: Vec::new() };
    for root in items(&trace, "roots") {
        page.node(0, root);
    }
    stage.wire(&format!("vestibule audit trace {workflow}"));
    let user = trace.get("user").map(|user| text(user, "subject")).unwrap_or_default();
    stage.wire(&format!("for {user}, {} attempts", text(&trace, "attempts")));
    let lines = counted(page.lines);
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
    lines: Vec<String>,
    deepest: usize,
    /// The acts that stand in the tree: verb and target.
    acts: Vec<String>,
}

impl Page<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        self.lines.push(format!("{:width$}{text}", "", width = 2 * depth));
    }

    fn node(&mut self, depth: usize, node: &Value) {
        self.deepest = self.deepest.max(depth + 1);
        let agent = self.cast.called(&text(node, "agent"));
        self.line(depth, &format!("{agent}  {}", text(node, "origin")));
        // Identifiers of attempts sort by time.
        let steps = items(node, "steps").map(|step| (text(step, "attempt"), false, step));
        let acts = items(node, "acts").map(|act| (text(act, "attempt"), true, act));
        let mut events: Vec<(String, bool, &Value)> = steps.chain(acts).collect();
        events.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        for (_, is_act, event) in events {
            if is_act {
                self.act(depth + 1, event);
            } else {
                self.step(depth + 1, event);
            }
        }
    }

    fn act(&mut self, depth: usize, act: &Value) {
        let did = format!("{} {}", text(act, "action"), text(act, "target"));
        self.line(depth, &format!("{}  ! {did}  by {}", time(act), text(act, "author")));
        self.acts.push(did);
    }

    fn step(&mut self, depth: usize, step: &Value) {
        let record = step.get("record").cloned().unwrap_or_default();
        let what = [text(&record, "operation"), text(&record, "method"), text(&record, "kind")];
        let what = match text(&record, "kind").as_str() {
            "call" => what.into_iter().find(|what| !what.is_empty()).unwrap_or_default(),
            kind => kind.to_owned(),
        };
        let denial = Some(text(&record, "denial")).filter(|denial| !denial.is_empty());
        let denial = denial.map(|denial| format!(" ({denial})")).unwrap_or_default();
        let told = Some(text(&record, "cancelled")).filter(|told| !told.is_empty());
        let told = told.map(|told| format!("  application {told}")).unwrap_or_default();
        let outcome = Some(text(&record, "outcome")).filter(|outcome| !outcome.is_empty());
        let outcome = outcome.unwrap_or_else(|| "under way".to_owned());
        self.line(depth, &format!("{}  {what}  {outcome}{denial}{told}", time(&record)));
        for node in items(step, "nodes") {
            self.node(depth + 1, node);
        }
    }
}

/// The time of day.
fn time(of: &Value) -> String {
    moment(of.get("at")).chars().skip(11).take(12).collect()
}

/// Lines that differ in their time only, as one, counted.
fn counted(lines: Vec<String>) -> Vec<String> {
    let mut grouped: Vec<(String, String, usize)> = Vec::new();
    for line in lines {
        let said: String = line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
        match grouped.last_mut() {
            Some((_, last, count)) if *last == said && said.contains(' ') => *count += 1,
            Some(_) | None => grouped.push((line, said, 1)),
        }
    }
    let shown = |(line, _, count)| if count == 1 { line } else { format!("{line}  ×{count}") };
    grouped.into_iter().map(shown).collect()
}
