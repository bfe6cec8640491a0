use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    Outcome, Target,
    admin_client::AdminClient,
    output::{Out, moment, table, text},
};

/// Look at the orders in force: what `revoke` and `suspend` have stopped.
#[derive(Debug, Subcommand)]
pub(super) enum Revocation {
    /// List the orders in force. A name that is revoked until a cutoff and suspended beyond it has two.
    Ls(Ls),
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    #[command(flatten)]
    target: Target,
}

impl Revocation {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        let Self::Ls(ls) = self;
        let orders = AdminClient::of(&ls.target)?.all("/admin/v1/revocations").await?;
        out.items(&orders, || table(&HEAD, &orders.iter().map(row).collect::<Vec<_>>()));
        Ok(())
    }
}

const HEAD: [&str; 8] = ["kind", "id", "state", "reason", "cutoff", "at", "by", "ends"];

fn row(order: &Value) -> Vec<String> {
    let moment = |key| moment(order.get(key));
    let cells = [
        text(order, "kind"),
        text(order, "id"),
        text(order, "state"),
        text(order, "reason"),
        moment("cutoff"),
        moment("at"),
        text(order, "by"),
        moment("expires_at"),
    ];
    cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }).into()
}
