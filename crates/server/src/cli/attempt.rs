//! Attempts as people read them.

use serde_json::Value;

use super::output::{moment, table, text};

const HEAD: [&str; COLUMNS] = ["at", "attempt", "agent", "app", "operation", "decision", "denial", "outcome"];
const COLUMNS: usize = 8;
/// The least width of each column where rows come one by one.
const WIDTHS: [usize; COLUMNS] = [24, 32, 16, 14, 18, 8, 24, 9];

/// A table of attempts.
pub(super) fn listed(attempts: &[Value]) -> String {
    let rows: Vec<Vec<String>> = attempts.iter().map(|attempt| row(attempt).to_vec()).collect();
    table(&HEAD, &rows)
}

/// One attempt on a line, for a list that goes on.
pub(super) fn line(attempt: &Value) -> String {
    let cells: Vec<String> =
        row(attempt).iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:<width$}")).collect();
    cells.join("  ").trim_end().to_owned()
}

/// What has no operation shows its method, or the act and its target; what has no agent shows who acted.
fn row(attempt: &Value) -> [String; COLUMNS] {
    let first = |keys: &[&str]| keys.iter().map(|key| text(attempt, key)).find(|said| !said.is_empty());
    let act =
        || attempt.get("action").map(|_| format!("{} {}", text(attempt, "action"), text(attempt, "target")));
    let cells = [
        Some(moment(attempt.get("at"))),
        first(&["attempt"]),
        first(&["agent", "author"]),
        first(&["app"]),
        first(&["operation", "method"]).or_else(act),
        first(&["decision"]).filter(|decision| decision != "undecided"),
        first(&["denial"]),
        first(&["outcome", "state"]),
    ];
    cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()))
}
