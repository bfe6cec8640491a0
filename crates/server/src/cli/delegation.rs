use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::{Out, fields, moment, text},
};

/// Look at the delegation tree: who acts for whom, through whom.
#[derive(Debug, Subcommand)]
pub(super) enum Delegation {
    /// Show every delegation that lives, as trees below their roots.
    Tree(Tree),
    /// Show one delegation with all that is known about it.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        target: Target,
    },
}

/// Which delegations.
#[derive(Debug, Args)]
pub(super) struct Tree {
    /// Only this one and what is below it.
    id: Option<String>,
    /// Only the trees in which this agent takes part.
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Delegation {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Tree(tree) => tree.execute(out).await,
            Self::Show { id, target } => {
                let node = AdminClient::of(&target)?.get(&path(&id)).await?;
                out.result(&node, || shown(&node));
                Ok(())
            }
        }
    }
}

impl Tree {
    async fn execute(self, out: &Out) -> Outcome {
        let nodes = AdminClient::of(&self.target)?.all("/admin/v1/delegations").await?;
        let forest = Forest::of(&nodes);
        let (roots, nodes) = match (&self.id, &self.agent) {
            (Some(id), _) if !forest.nodes.contains_key(id.as_str()) => {
                return Err(Failure::Usage(format!("no delegation `{id}` lives")));
            }
            (Some(id), _) => (vec![id.clone()], forest.below(id)),
            (None, Some(agent)) => {
                let roots = forest.roots_of(agent);
                (roots.clone(), roots.iter().flat_map(|root| forest.below(root)).collect())
            }
            (None, None) => (forest.roots.clone(), nodes.clone()),
        };
        out.items(&nodes, || match roots.as_slice() {
            [] => "no delegation lives".to_owned(),
            roots => roots.iter().map(|root| forest.drawn(root)).collect::<Vec<_>>().join("\n"),
        });
        Ok(())
    }
}

/// The nodes by id, with the order below each.
struct Forest {
    nodes: BTreeMap<String, Value>,
    children: BTreeMap<String, Vec<String>>,
    roots: Vec<String>,
}

impl Forest {
    fn of(nodes: &[Value]) -> Self {
        let mut sorted: Vec<&Value> = nodes.iter().collect();
        sorted.sort_by_key(|node| node.get("created_at").and_then(Value::as_i64));
        let known: BTreeMap<String, Value> =
            sorted.iter().map(|node| (text(node, "id"), (*node).clone())).collect();
        let (mut children, mut roots) = (BTreeMap::<String, Vec<String>>::new(), Vec::new());
        for node in sorted {
            let (id, parent) = (text(node, "id"), text(node, "parent"));
            // What is above an expired node lives longer; only a race with the page before hides a parent.
            if known.contains_key(&parent) {
                children.entry(parent).or_default().push(id);
            } else {
                roots.push(id);
            }
        }
        Self { nodes: known, children, roots }
    }

    fn below(&self, id: &str) -> Vec<Value> {
        let mut found: Vec<Value> = self.nodes.get(id).cloned().into_iter().collect();
        for child in self.children.get(id).into_iter().flatten() {
            found.extend(self.below(child));
        }
        found
    }

    fn roots_of(&self, agent: &str) -> Vec<String> {
        let takes_part = |root: &&String| self.below(root).iter().any(|node| text(node, "agent") == agent);
        self.roots.iter().filter(takes_part).cloned().collect()
    }

    fn drawn(&self, root: &str) -> String {
        let mut lines = Vec::new();
        self.draw(root, "", "", &mut lines);
        lines.join("\n")
    }

    fn draw(&self, id: &str, first: &str, rest: &str, lines: &mut Vec<String>) {
        let Some(node) = self.nodes.get(id) else { return };
        lines.push(format!("{first}{}", line(node)));
        let children = self.children.get(id).map_or(&[][..], Vec::as_slice);
        for (index, child) in children.iter().enumerate() {
            let (branch, below) =
                if index + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.draw(child, &format!("{rest}{branch}"), &format!("{rest}{below}"), lines);
        }
    }
}

/// One node on one line: for whom, which agent, by what, its state, its id, its end.
fn line(node: &Value) -> String {
    let user = node.get("user").map(|user| text(user, "id")).filter(|user| !user.is_empty());
    let origin = text(node, "origin");
    let who = match (user, origin.as_str()) {
        (Some(user), "root") => format!("{} for {user}", text(node, "agent")),
        (_, _) => text(node, "agent"),
    };
    format!(
        "{who}  {origin}  {}  {}  until {}",
        text(node, "state"),
        text(node, "id"),
        moment(node.get("expires_at"))
    )
}

fn shown(node: &Value) -> String {
    let user = node.get("user").map(|user| text(user, "id")).unwrap_or_default();
    fields(&[
        ("delegation", text(node, "id")),
        ("state", text(node, "state")),
        ("agent", text(node, "agent")),
        ("user", user),
        ("origin", text(node, "origin")),
        ("parent", text(node, "parent")),
        ("chain", text(node, "chain")),
        ("path", text(node, "path")),
        ("workflow", text(node, "workflow")),
        ("app", text(node, "app")),
        ("scopes", text(node, "scopes")),
        ("authority", text(node, "authority")),
        ("keys", text(node, "keys")),
        ("within calls", text(node, "calls")),
        ("made by", text(node, "made_by")),
        ("children", text(node, "children")),
        ("created", moment(node.get("created_at"))),
        ("expires", moment(node.get("expires_at"))),
    ])
}

fn path(id: &str) -> String {
    format!("/admin/v1/delegations/{}", encoded(id))
}
