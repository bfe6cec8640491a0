use serde_json::Value;

use super::{
    super::{
        Stage,
        shown::{brief, claims},
    },
    World,
    cast::{Cast, Member},
};
use crate::cli::{Failure, output::text};

/// Shows the delegations of the story as `vestibule delegation tree` does, those for the MCP application; the others stand
/// alike. Gives them, tree by tree.
pub(super) async fn show(
    stage: &Stage<'_>,
    world: &World<'_>,
    cast: &Cast,
) -> Result<Vec<Vec<Value>>, Failure> {
    let nodes = world.admin.all("/admin/v1/delegations").await?;
    let tree = |workflow: String| -> Vec<Value> {
        nodes.iter().filter(|node| text(node, "workflow") == workflow).cloned().collect()
    };
    let trees = vec![tree(workflow(&cast.orchestrator.mcp)), tree(workflow(&cast.orchestrator.http))];
    for tree in trees.iter().take(1) {
        let mut lines = Vec::new();
        for root in tree.iter().filter(|node| text(node, "parent").is_empty()) {
            draw(tree, root, ("", ""), cast, &mut lines);
        }
        stage.wire(&lines.join("\n"));
    }
    Ok(trees)
}

/// The tree of delegations that a token belongs to.
pub(super) fn workflow(token: &str) -> String {
    text(&claims(token), "acti")
}

fn draw(nodes: &[Value], node: &Value, (first, rest): (&str, &str), cast: &Cast, lines: &mut Vec<String>) {
    let user = node.get("user").map(|user| text(user, "subject")).filter(|_| first.is_empty());
    let whose = user.map(|user| format!(" for {user}")).unwrap_or_default();
    lines.push(format!(
        "{first}{}{whose}  {}  {}  {}",
        cast.called(&text(node, "agent")),
        text(node, "origin"),
        text(node, "state"),
        brief(&text(node, "id")),
    ));
    let mut children: Vec<&Value> =
        nodes.iter().filter(|child| text(child, "parent") == text(node, "id")).collect();
    children.sort_by_key(|child| child.get("created_at").and_then(Value::as_i64));
    for (index, child) in children.iter().enumerate() {
        let (branch, below) =
            if index + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(nodes, child, (&format!("{rest}{branch}"), &format!("{rest}{below}")), cast, lines);
    }
}

/// Whether of each tree exactly the delegations of these agents are in this state.
pub(super) fn are(trees: &[Vec<Value>], members: &[&Member], state: &str) -> bool {
    trees.iter().flatten().all(|node| {
        let is_meant = members.iter().any(|member| member.holder.id == text(node, "agent"));
        is_meant == (text(node, "state") == state)
    })
}
