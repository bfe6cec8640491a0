use vestibule_testkit::Holder;

use crate::{Failed, agents, gateway::Gateway};

/// A registered agent and what it spawns.
#[derive(Debug)]
pub(super) struct Family {
    /// Its name in the registry.
    pub(super) id: String,
    root: Holder,
}

impl Family {
    pub(super) async fn new(gateway: &Gateway) -> Result<Self, Failed> {
        let (id, root) = gateway.root().await?;
        Ok(Self { id, root })
    }

    /// So many agents, all spawned by the root.
    pub(super) async fn children(&self, count: usize) -> Result<Vec<Holder>, Failed> {
        let mut children = Vec::new();
        for _ in 0..count {
            children.push(agents::spawn(&self.root).await?);
        }
        Ok(children)
    }

    /// An agent that the root spawns, and those that this one spawns, `count` in all: it is the first of them.
    pub(super) async fn subtree(self, count: usize) -> Result<(Self, Vec<Holder>), Failed> {
        // The tokens of a root are short-lived, and there may be many subtrees.
        let family = Self { root: self.root.again().await, ..self };
        let mut subtree = family.children(1).await?;
        while let Some(first) = subtree.first()
            && subtree.len() < count
        {
            subtree.push(agents::spawn(first).await?);
        }
        Ok((family, subtree))
    }
}
