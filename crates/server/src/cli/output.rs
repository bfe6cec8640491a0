use std::io::{IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;

/// Where results and diagnostics go.
#[derive(Debug)]
pub(super) struct Out {
    is_json: bool,
}

impl Out {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    pub(super) fn is_json(&self) -> bool {
        self.is_json
    }

    /// One result: a JSON object on a line, or `text`.
    pub(super) fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let line = if self.is_json { serde_json::to_string(value).unwrap_or_default() } else { text() };
        self.line(&line);
    }

    /// A list: one JSON object a line, or a table of the members in `columns`.
    pub(super) fn list(&self, items: &[Value], columns: &[&str]) {
        self.items(items, || {
            let row = |item: &Value| columns.iter().map(|column| cell(item, column)).collect();
            table(columns, &items.iter().map(row).collect::<Vec<_>>())
        });
    }

    /// A list: one JSON object a line, or `text`.
    pub(super) fn items(&self, items: &[Value], text: impl FnOnce() -> String) {
        if self.is_json {
            items.iter().for_each(|item| self.line(&item.to_string()));
        } else {
            self.line(&text());
        }
    }

    /// A line on standard output. A reader that has gone away ends nothing.
    pub(super) fn line(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{text}");
        let _ = stdout.flush();
    }

    /// A line on standard error.
    pub(super) fn say(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    pub(super) fn complain(&self, text: &str) {
        self.say(&format!("vestibule: {text}"));
    }

    /// Whether a person reads standard output, so that colour helps.
    pub(super) fn is_terminal(&self) -> bool {
        !self.is_json && std::io::stdout().is_terminal()
    }
}

/// One member as text: empty where it is absent, with commas where it is a list.
pub(super) fn text(item: &Value, key: &str) -> String {
    match item.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), ToOwned::to_owned))
            .collect::<Vec<_>>()
            .join(","),
        Some(other) => other.to_string(),
    }
}

/// One member for a table, where an empty cell would be overlooked.
fn cell(item: &Value, key: &str) -> String {
    let text = text(item, key);
    if text.is_empty() { "-".to_owned() } else { text }
}

/// The members of an object below each other; what is empty is left out.
pub(super) fn fields(pairs: &[(&str, String)]) -> String {
    let given = || pairs.iter().filter(|(_, value)| !value.is_empty());
    let width = given().map(|(label, _)| label.len()).max().unwrap_or(0);
    given().map(|(label, value)| format!("{label:<width$}  {value}")).collect::<Vec<_>>().join("\n")
}

/// Milliseconds since the Unix epoch as RFC 3339, of one width.
pub(super) fn moment(at: Option<&Value>) -> String {
    at.and_then(Value::as_i64)
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map(|moment| format!("{moment:.3}"))
        .unwrap_or_default()
}

/// Columns as wide as their widest cell.
pub(super) fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = columns.iter().map(|column| column.to_uppercase()).collect();
    let width = |index: usize| {
        rows.iter()
            .chain([&head])
            .filter_map(|row| row.get(index))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    [&head].into_iter().chain(rows).map(line).collect::<Vec<_>>().join("\n")
}
