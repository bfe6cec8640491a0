//! The policies that decided, with their text where the set that decides now is one of those that did.

use serde_json::{Value, json};
use vestibule_policy::PolicySet;

use super::story::Story;

pub(super) fn told(story: &Story, running: &PolicySet) -> Value {
    let is_running = story.policy_sets.contains_key(running.digest());
    let policies: Vec<Value> = story
        .policies
        .iter()
        .map(|(id, decisions)| {
            let source = if is_running { running.source(id) } else { None };
            let source = source.map(|(file, line, text)| json!({ "file": file, "line": line, "text": text }));
            json!({ "id": id, "decisions": decisions, "source": source })
        })
        .collect();
    let sets: Vec<Value> = story
        .policy_sets
        .iter()
        .map(|(digest, decisions)| json!({ "digest": digest, "decisions": decisions }))
        .collect();
    json!({ "running_set": running.digest(), "sets": sets, "policies": policies })
}
