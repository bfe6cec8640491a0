//! The page that is read first: who, for whom, through whom, what was done, what was stopped, and what is not known.

use std::{collections::BTreeSet, fmt::Write};

use serde_json::Value;
use vestibule_evidence::{Excerpt, PublicKey};
use vestibule_model::Timestamp;

use super::{
    ATTEMPTS_MAX, Incident, NODES_MAX,
    people::People,
    story::Story,
    wording::{code, codes, moment, reason},
};

/// Rows of one table, and names of one list.
const ROWS_MAX: usize = 50;

/// What the page tells of.
pub(super) struct Told<'a> {
    pub(super) incident: &'a Incident,
    pub(super) standing: &'a str,
    pub(super) people: &'a People,
    pub(super) story: &'a Story,
    pub(super) excerpt: &'a Excerpt,
    pub(super) older: u64,
    pub(super) key: &'a PublicKey,
}

const FILES: &str = "
## The files

| file | what |
|---|---|
| `timeline.md`, `timeline.jsonl` | everything in the order in which it began |
| `attempts.jsonl` | every attempt with all that is known about it |
| `effects.jsonl` | operations that write or destroy which reached an application |
| `cut.json` | the order that suspended the agent: what it cut, at which stage, and what had completed |
| `agent.json`, `delegations.jsonl` | the agent and its keys; the delegations above and below it that live |
| `policies.json` | the policies that decided |
| `entries.jsonl`, `checkpoint` | the entries of the record, each with the proof that it stands there, and the signed checkpoint |
| `incident.json`, `manifest.json`, `seal.json`, `log.vkey` | the incident; the digests of all files; the entry of the record that names the digest of the manifest; the public key |

To check that nothing was changed, removed or added, with the public key that you have got **by another way**:

    vestibule audit verify --bundle . --key KEY

Each entry is proven by the record itself, and the attempts by the entries. All other files, this one among them, are
what the gateway said when it gathered them: the record holds their digest. That nothing was left out, only the whole
record can show.
";

/// The page.
pub(super) fn of(told: &Told<'_>) -> String {
    let mut page = String::new();
    // Writing to a text cannot fail.
    let _ = head(&mut page, told);
    let _ = through(&mut page, told);
    let _ = done(&mut page, told);
    let _ = stopped(&mut page, told);
    let _ = unknown(&mut page, told);
    page.push_str(FILES);
    let _ = writeln!(page, "\nThe key, as the gateway says: {}", code(&told.key.to_string()));
    page
}

/// The answers in short.
fn head(page: &mut String, told: &Told<'_>) -> std::fmt::Result {
    let Incident { id, agent, opened_at, by, since, .. } = told.incident;
    let agent = code(agent.as_str());
    writeln!(page, "# Incident {id}\n")?;
    let is = match told.standing {
        "active" => "is let in",
        other => other,
    };
    writeln!(page, "Agent {agent}: **{is}**. Incident: **{}**.\n", told.incident.state.as_str())?;
    writeln!(page, "| | |\n|---|---|")?;
    writeln!(
        page,
        "| opened | {} by {}, reason {} |",
        moment(*opened_at),
        code(by),
        reason(told.incident.reason)
    )?;
    if let Some(closed) = &told.incident.closed {
        let note = closed.note.as_deref().map(|note| format!(": {}", code(note))).unwrap_or_default();
        writeln!(page, "| closed | {} by {}{note} |", moment(closed.at), code(&closed.by))?;
    }
    writeln!(page, "| who | {agent}, {} |", registration(&told.people.agent))?;
    let users: BTreeSet<&String> = told.people.users.iter().chain(&told.story.users).collect();
    let users = if users.is_empty() { "nobody: it acted for itself".to_owned() } else { listed(&users) };
    writeln!(page, "| for whom | {users} |")?;
    let calls: u64 = told.story.deeds.values().sum();
    let effects = told.story.effects;
    writeln!(
        page,
        "| what was done | {calls} calls since {}, by the agent and those below it; {effects} that may have changed something |",
        moment(*since)
    )?;
    let report = &told.incident.suspension;
    writeln!(page, "| what was stopped | {} calls that were under way |", number(report, "/cut/attempts"))
}

fn through(page: &mut String, told: &Told<'_>) -> std::fmt::Result {
    writeln!(page, "\n## Through whom\n")?;
    let chains: BTreeSet<&Vec<String>> = told.people.chains.iter().chain(&told.story.chains).collect();
    if chains.is_empty() {
        return writeln!(
            page,
            "No chain is known: no delegation of the agent lives, and it has made no call."
        );
    }
    writeln!(page, "From the agent that began to the one that acted.\n")?;
    for chain in chains.iter().take(ROWS_MAX) {
        writeln!(page, "- {}", codes(*chain, " > "))?;
    }
    more(page, chains.len())
}

fn done(page: &mut String, told: &Told<'_>) -> std::fmt::Result {
    let story = told.story;
    writeln!(page, "\n## What was done\n")?;
    if story.effects == 0 {
        writeln!(page, "No operation that writes or destroys reached an application.")?;
    } else {
        writeln!(
            page,
            "{} operations that write or destroy reached an application; of {} of them nobody knows whether they were done.\n",
            story.effects, story.effects_unknown
        )?;
        story.listed_effects.iter().take(ROWS_MAX).try_for_each(|line| writeln!(page, "- {line}"))?;
        more(page, usize::try_from(story.effects).unwrap_or(usize::MAX))?;
    }
    if story.deeds.is_empty() {
        return Ok(());
    }
    writeln!(page, "\nAll calls:\n\n| times | agent | operation | end |\n|---|---|---|---|")?;
    let mut deeds: Vec<_> = story.deeds.iter().collect();
    deeds.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    for (deed, times) in deeds.iter().take(ROWS_MAX) {
        writeln!(page, "| {times} | {} | {} | {} |", code(&deed.agent), deed.what, deed.end)?;
    }
    more(page, deeds.len())
}

fn stopped(page: &mut String, told: &Told<'_>) -> std::fmt::Result {
    let report = &told.incident.suspension;
    let at = report.get("acknowledged_at").and_then(Value::as_i64).unwrap_or(0);
    writeln!(page, "\n## What was stopped\n")?;
    writeln!(
        page,
        "At {} {} calls had been cut, {} of them streams, and {} delegations were dead. {} calls had just completed: their \
         replies are out. From that moment on not a byte was written to the agent or anybody below it.",
        moment(Timestamp::from_millis(at)),
        number(report, "/cut/attempts"),
        number(report, "/cut/streams"),
        number(report, "/cut/nodes"),
        number(report, "/completed"),
    )?;
    if told.story.cut.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n| call | stage | agent | operation | end |\n|---|---|---|---|---|")?;
    let text = |one: &Value, key: &str| code(one.get(key).and_then(Value::as_str).unwrap_or_default());
    for one in told.story.cut.iter().take(ROWS_MAX) {
        writeln!(
            page,
            "| {} | {} | {} | {} {} | {} |",
            text(one, "attempt"),
            text(one, "stage"),
            text(one, "agent"),
            text(one, "app"),
            text(one, "operation"),
            text(one, "outcome"),
        )?;
    }
    more(page, told.story.cut.len())
}

fn number(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

/// What must not be overlooked: every bound that was reached, and what nobody knows.
fn unknown(page: &mut String, told: &Told<'_>) -> std::fmt::Result {
    let mut said = Vec::new();
    if told.excerpt.left_out() > 0 {
        said.push(format!(
            "**Cut short: {} older attempts are not in it.** The newest {ATTEMPTS_MAX} are. `vestibule audit search \
             --ancestor AGENT --until TIME` shows the others.",
            told.excerpt.left_out()
        ));
    }
    if !told.people.is_complete {
        said.push(format!(
            "**Cut short: of the delegations that live, {NODES_MAX} are in it.** The agent has more."
        ));
    }
    if told.older > 0 {
        said.push(format!(
            "{} attempts of the agent and those below it are older than {} and are not in it: `--since` reaches back.",
            told.older,
            moment(told.incident.since)
        ));
    }
    let open = &told.story.open;
    if !open.is_empty() {
        let ids: Vec<String> = open.iter().map(ToString::to_string).collect();
        said.push(format!("When this was gathered, these attempts had no end yet: {}", listed(&ids)));
    }
    let recent = told.excerpt.gaps().iter().filter(|gap| gap.to >= told.incident.since);
    said.extend(recent.map(|gap| {
        format!(
            "From {} to {} entries may be missing: the gateway did not stop in order.",
            moment(gap.from),
            moment(gap.to)
        )
    }));
    writeln!(page, "\n## What is not in it\n")?;
    if said.is_empty() {
        return writeln!(page, "Nothing that the gateway knows of.");
    }
    said.iter().try_for_each(|line| writeln!(page, "- {line}"))
}

fn registration(agent: &Value) -> String {
    let text = |path: &str| agent.pointer(path).and_then(Value::as_str).map(code);
    let names = |path: &str| {
        let all = agent.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect::<Vec<String>>()
    };
    let mut keys = names("/credentials/keys_of_its_delegations");
    keys.extend(names("/credentials/registered_keys"));
    keys.dedup();
    let keys = if keys.is_empty() { String::new() } else { format!("; keys {}", listed(&keys)) };
    if agent.get("registration").is_none_or(Value::is_null) {
        let is_key = text("/credentials/own_key").is_some();
        let is = if is_key { "spawned: its id is its key" } else { "not registered here" };
        return format!("{is}{keys}");
    }
    let at = agent.pointer("/registration/created_at").and_then(Value::as_i64).unwrap_or(0);
    let groups = names("/registration/groups");
    let groups = if groups.is_empty() { "no group".to_owned() } else { listed(&groups) };
    let at = moment(Timestamp::from_millis(at));
    format!("registered {at}, in {groups}{keys}")
}

/// At most some names, and how many more there are.
fn listed<T: AsRef<str>>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| code(one.as_ref())).collect();
    let extra = all.len().saturating_sub(ROWS_MAX);
    let shown = all.into_iter().take(ROWS_MAX).collect::<Vec<_>>().join(", ");
    if extra == 0 { shown } else { format!("{shown} and {extra} more") }
}

fn more(page: &mut String, count: usize) -> std::fmt::Result {
    match count.saturating_sub(ROWS_MAX) {
        0 => Ok(()),
        extra => writeln!(page, "\nAnd {extra} more: see the files."),
    }
}
