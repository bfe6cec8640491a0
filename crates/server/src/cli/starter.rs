//! The policy file that `--app` starts with: what the server itself marks harmless is permitted, the rest is written out
//! and commented out, for the operator to decide.

use std::path::Path;

use vestibule_model::{AppId, Effect, Operation};

use super::{Failure, Outcome, output::Out, quickstart::GROUP};
use crate::{Running, secret_file};

/// Writes the starter policy of one application, unless its file exists, and has it loaded.
pub(super) async fn policy(
    running: &Running,
    dir: &Path,
    id: &AppId,
    permit_all: bool,
    out: &Out,
) -> Outcome {
    let path = dir.join("policies").join(format!("{id}.cedar"));
    if path.exists() {
        return Ok(());
    }
    let Some(operations) = running.operations(id) else {
        return Err(Failure::Broken(format!("`{id}` does not answer as an MCP server; is its URL right?")));
    };
    if permit_all {
        out.say(&format!(
            "vestibule: every agent of the group `{GROUP}` may do everything that `{id}` offers"
        ));
    }
    let text = text(id, operations.all(), permit_all);
    secret_file::create(&path, || text.into_bytes())
        .map_err(|error| Failure::Broken(format!("cannot write `{}`: {error}", path.display())))?;
    running.reload().await;
    Ok(())
}

fn text(id: &AppId, operations: &[Operation], permit_all: bool) -> String {
    let mut text = format!(
        "// What agents of the group \"{GROUP}\" may do with `{id}`. Written when the application was first seen; the\n\
         // operations are accepted as its server described them. It is yours to change.\n"
    );
    for operation in operations {
        let is_harmless = matches!(operation.effect, Effect::Read | Effect::Write);
        text.push_str(&grant(id, operation, permit_all || is_harmless));
    }
    text
}

fn grant(id: &AppId, operation: &Operation, is_permitted: bool) -> String {
    let action = quoted(&format!("{id}__{}", operation.name));
    let policy = quoted(&format!("{id}.{}", operation.name));
    let effect = match operation.effect {
        Effect::Read => "reads",
        Effect::Write => "changes, without destroying",
        Effect::Destroy => "may destroy",
    };
    let mark = if is_permitted { "" } else { "// " };
    format!(
        "\n// {effect}, as its server says\n{mark}@id({policy})\n{mark}permit (principal in AgentGroup::\"{GROUP}\", \
         action == Action::{action}, resource in App::\"{id}\");\n"
    )
}

/// A Cedar string literal. The name comes from a server that may be hostile.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_ascii_graphic() || c == ' ' => out.push(c),
            c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vestibule_model::Risk;

    use super::*;

    fn operation(name: &str, effect: Effect) -> Operation {
        Operation {
            name: name.into(),
            description: String::new(),
            input_schema: serde_json::json!({}),
            effect,
            risk: Risk::Claimed,
            scopes: BTreeSet::new(),
            definition_digest: String::new(),
            pinned: true,
        }
    }

    #[test]
    fn what_may_destroy_is_commented_out_and_a_hostile_name_stays_inside_its_string() {
        let app = AppId::new("x").unwrap();
        let operations = [operation("read", Effect::Read), operation("drop\"); permit(", Effect::Destroy)];
        let text = text(&app, &operations, false);
        assert!(
            text.contains("\npermit (principal in AgentGroup::\"quickstart\", action == Action::\"x__read\"")
        );
        assert!(text.contains("\n// permit (principal in AgentGroup::\"quickstart\", action == Action::\"x__drop\\\"); permit(\""));
        assert_eq!(text.lines().filter(|line| line.starts_with("permit")).count(), 1);
    }
}
