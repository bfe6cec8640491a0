//! Gathers what an incident left, once: the state is asked, the record is read, and both are told file by file.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;
use vestibule_evidence::{
    BUNDLE_ATTEMPTS, BUNDLE_CHECKPOINT, BUNDLE_ENTRIES, BUNDLE_KEY, Excerpt, PublicKey,
};
use vestibule_model::AttemptId;
use vestibule_policy::PolicySet;

use super::{
    ATTEMPTS_MAX, GatherError, Incident, Parts,
    people::People,
    policies,
    scope::Scope,
    story::{Story, stages},
    summary, wording,
};
use crate::{
    apps::{App, Operations},
    gateway::Gateway,
};

/// What was cut may be recorded a moment after its connection has gone. So often at most, so far apart and so long it is
/// looked for: each time, the whole record is read.
const LOOKS_MAX: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const LOOK_FOR: Duration = Duration::from_secs(2);

/// Everything that is needed to write a bundle.
#[derive(Debug)]
pub(crate) struct Gathering {
    incident: Incident,
    people: People,
    excerpt: Excerpt,
    /// Attempts of the agent from before, which are not in it.
    older: u64,
    key: PublicKey,
    policies: Arc<PolicySet>,
    operations: Vec<(String, Option<Arc<Operations>>)>,
    standing: String,
}

impl Gathering {
    /// Asks the state and chooses from the record. Waits until what the order cut is recorded, two seconds at most.
    pub(crate) async fn of(gw: &Gateway, incident: Incident, standing: String) -> Result<Self, GatherError> {
        let mut scope = Scope::new(&incident.agent, incident.id, incident.since);
        let people = People::of(gw, &incident, &mut scope).await?;
        let cut: HashSet<String> = stages(&incident.suspension).into_keys().collect();
        let (mut looks, begun) = (0, gw.clock.monotonic());
        let (excerpt, scope) = loop {
            gw.evidence.sign().await?;
            let (excerpt, seen) = excerpt(gw, scope.clone()).await?;
            looks += 1;
            let is_pending = seen.open.iter().any(|id: &AttemptId| cut.contains(&id.to_string()));
            if !is_pending || looks >= LOOKS_MAX || gw.clock.monotonic().since(begun) >= LOOK_FOR {
                break (excerpt, seen);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let operations = |app: &Arc<App>| (app.id().to_string(), app.operations());
        Ok(Self {
            incident,
            people,
            excerpt,
            older: scope.older,
            key: gw.evidence.public_key().clone(),
            policies: gw.lock.policies(),
            operations: gw.apps.iter().map(operations).collect(),
            standing,
        })
    }

    /// Writes all files but the manifest and the seal. Blocks.
    pub(crate) fn write(&self, parts: &mut Parts) -> Result<(), GatherError> {
        let story = self.write_attempts(parts)?;
        for (at, row) in story.rows.iter().enumerate() {
            if at == 0 {
                parts.append(TIMELINE, "# Timeline\n\nIn the order in which each began.\n\n")?;
            }
            parts.append(TIMELINE, &format!("- {} {}\n", wording::moment(row.at), row.text))?;
            parts.append_line(
                TIMELINE_LINES,
                &json!({
                    "at": row.at, "attempt": row.attempt, "kind": row.kind, "agent": row.agent, "text": row.text,
                }),
            )?;
        }
        parts.append_pretty(AGENT, &self.people.agent)?;
        parts.append(DELEGATIONS, "")?;
        self.people.nodes.iter().try_for_each(|node| parts.append_line(DELEGATIONS, node))?;
        let Incident { id, agent, state, reason, opened_at, by, since, suspension, closed } = &self.incident;
        parts.append_pretty(
            INCIDENT,
            &json!({
                "id": id, "agent": agent, "state": state, "reason": reason, "opened_at": opened_at, "by": by,
                "since": since, "closed": closed, "standing": self.standing,
            }),
        )?;
        parts.append_pretty(CUT, &json!({ "suspension": suspension, "attempts": story.cut }))?;
        parts.append_pretty(POLICIES, &policies::told(&story, &self.policies))?;
        parts.append(BUNDLE_CHECKPOINT, self.excerpt.checkpoint())?;
        parts.append(BUNDLE_KEY, &format!("{}\n", self.key))?;
        let told = summary::Told {
            incident: &self.incident,
            standing: &self.standing,
            people: &self.people,
            story: &story,
            excerpt: &self.excerpt,
            older: self.older,
            key: &self.key,
        };
        parts.append(README, &summary::of(&told))
    }

    /// The entries, and file by file what they tell.
    fn write_attempts(&self, parts: &mut Parts) -> Result<Story, GatherError> {
        let stages = stages(&self.incident.suspension);
        let effect = |app: &str, operation: &str| {
            let (_, operations) = self.operations.iter().find(|(id, _)| id == app)?;
            operations.as_ref()?.get(operation).map(|operation| operation.effect)
        };
        for name in [BUNDLE_ENTRIES, BUNDLE_ATTEMPTS, EFFECTS, TIMELINE, TIMELINE_LINES] {
            parts.append(name, "")?;
        }
        let mut story = Story::of(&self.incident.agent);
        self.excerpt.each(|excerpted| {
            parts.append(BUNDLE_ENTRIES, &format!("{}\n", serde_json::to_string(&excerpted.proven)?))?;
            let Some(attempt) = excerpted.attempt else { return Ok(()) };
            parts.append(BUNDLE_ATTEMPTS, &format!("{}\n", serde_json::to_string(&attempt)?))?;
            match story.take(&attempt, &stages, &effect) {
                Some(effect) => parts.append_line(EFFECTS, &effect),
                None => Ok::<(), GatherError>(()),
            }
        })?;
        story.sort();
        Ok(story)
    }
}

/// Reads the record on a thread of its own.
async fn excerpt(gw: &Gateway, mut scope: Scope) -> Result<(Excerpt, Scope), GatherError> {
    let (folder, key): (PathBuf, PublicKey) =
        (gw.settings.evidence_folder.clone(), gw.evidence.public_key().clone());
    let read = move || Excerpt::of(&folder, &key, &mut scope, ATTEMPTS_MAX).map(|excerpt| (excerpt, scope));
    Ok(tokio::task::spawn_blocking(read).await.map_err(|_| GatherError::Broken)??)
}

const README: &str = "README.md";
const INCIDENT: &str = "incident.json";
const AGENT: &str = "agent.json";
const DELEGATIONS: &str = "delegations.jsonl";
const CUT: &str = "cut.json";
const EFFECTS: &str = "effects.jsonl";
const POLICIES: &str = "policies.json";
const TIMELINE: &str = "timeline.md";
const TIMELINE_LINES: &str = "timeline.jsonl";
