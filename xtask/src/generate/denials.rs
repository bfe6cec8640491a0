use std::fmt::Write as _;

use vestibule_model::{Answer, Denial, FaultKind, FaultOf};

const HEAD: &str = "\
# Denials and faults

Generated from `crates/model` by `cargo xtask generate`.

Each code is the same string in the record, in the metric, in the problem `type` and on this page. The caller sees the
code where the answer may carry one, the sentence and the request's id; why in detail stands in the record and the log
only. Why the token endpoint gave no token has [codes of its own](token-errors.md).
";

const DENIALS: &str = "
## Denials: the gateway said no

| code | when | HTTP | MCP, once the JSON-RPC id is known | sentence |
|---|---|---|---|---|
";

const FAULTS: &str = "
## Faults: something broke

A fault is never a decision: the same request may be permitted when it is repeated.

| code | whose | HTTP | worth a retry | sentence |
|---|---|---|---|---|
";

/// Every denial and every fault in two tables.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(DENIALS);
    for denial in Denial::ALL {
        let (http, mcp) = answers(denial.answer());
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            page,
            "| `{}` | {} | {http} | {mcp} | {} |",
            denial.code(),
            denial.meaning(),
            denial.sentence()
        );
    }
    page.push_str(FAULTS);
    for kind in FaultKind::ALL {
        let whose = match kind.of() {
            FaultOf::Gateway => "the gateway's",
            FaultOf::Upstream => "the application's",
        };
        let retry = if kind.is_retryable() { "yes" } else { "no" };
        let (code, status, sentence) = (kind.code(), kind.status(), kind.sentence());
        let _ = writeln!(page, "| `{code}` | {whose} | {status} | {retry} | {sentence} |");
    }
    page
}

/// What an answer is on HTTP and on MCP.
fn answers(answer: Answer) -> (String, String) {
    match answer {
        Answer::Status(status) => (status.to_string(), format!("HTTP {status}")),
        Answer::Challenge(None) => ("401, challenge without error".to_owned(), "HTTP 401".to_owned()),
        Answer::Challenge(Some(error)) => (format!("401 `{error}`"), format!("HTTP 401 `{error}`")),
        Answer::Proof(error) => (format!("401 `{error}`, DPoP challenge"), format!("HTTP 401 `{error}`")),
        Answer::StepUp => ("403 `insufficient_scope`".to_owned(), "HTTP 403 `insufficient_scope`".to_owned()),
        Answer::Unknown => ("404".to_owned(), "JSON-RPC error -32602".to_owned()),
        Answer::Forbidden => ("403".to_owned(), "JSON-RPC error 4030".to_owned()),
        Answer::HeaderMismatch => ("400".to_owned(), "HTTP 400, JSON-RPC error -32020".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_row_and_no_cell_is_empty_or_breaks_the_table() {
        let page = page();
        let codes = Denial::ALL.iter().map(|d| d.code()).chain(FaultKind::ALL.iter().map(|k| k.code()));
        for code in codes {
            let rows: Vec<&str> =
                page.lines().filter(|line| line.starts_with(&format!("| `{code}` |"))).collect();
            assert_eq!(rows.len(), 1, "{code}");
            let cells: Vec<&str> = rows[0].trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 5, "{code}");
            assert!(cells.iter().all(|cell| !cell.is_empty()), "{code}");
        }
    }
}
