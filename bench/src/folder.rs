//! The folder of a gateway as an operator sets it up: configuration, the secret of door two, policies.

use std::{fmt::Write, fs, io, path::Path};

use crate::workload::{self, Workload};

/// Policies in the folder.
pub(crate) const POLICIES: usize = 1_000;
/// The MCP application.
pub(crate) const MCP_APP: &str = "bench";
/// The HTTP application.
pub(crate) const HTTP_APP: &str = "bench-http";
/// The group of the agents that call, and of what they spawn.
pub(crate) const CALLERS_GROUP: &str = "bench";

/// Writes the configuration, the secret of door two and the policies.
///
/// `limits` is that section of the configuration, in one line; empty for the defaults.
pub(crate) fn prepare(folder: &Path, upstream: &str, limits: &str) -> io::Result<()> {
    let policies = folder.join("policies");
    fs::create_dir_all(&policies)?;
    fs::write(folder.join("vestibule.yaml"), configuration(upstream, limits))?;
    fs::write(folder.join("application.secret"), "the-credential-that-no-agent-sees\n")?;
    fs::write(policies.join("bench.cedar"), policy_text())
}

fn configuration(upstream: &str, limits: &str) -> String {
    let path = Workload::Http.path();
    let hold = workload::HOLD_PATH;
    let body = workload::arguments_schema();
    format!(
        r#"data: {{ listen: "127.0.0.1:0" }}
admin: {{ listen: "127.0.0.1:0" }}
evidence: {{ mode: batched }}
limits: {{ {limits} }}
apps:
  {MCP_APP}:
    mcp:
      url: {upstream}{}
      access: {{ static: {{ bearer: {{ token: {{ file: application.secret }} }} }} }}
  {HTTP_APP}:
    http:
      url: {upstream}
      access: {{ static: {{ bearer: {{ token: {{ file: application.secret }} }} }} }}
      operations:
        routes:
          add_report: {{ route: "POST {path}", effect: write, body: {{ json: {body} }} }}
          hold: {{ route: "GET {hold}" }}
"#,
        Workload::ToolsCall.path()
    )
}

/// [`POLICIES`] policies: guard rails for every call, grants of the operations that are called and of spawning, and grants
/// to other groups of all tools, of which ten are about the called one and look at its arguments.
fn policy_text() -> String {
    let called = format!(r#"action == Action::"{MCP_APP}__{}""#, workload::tool(workload::CALLED_TOOL));
    let callers = format!(r#"principal in AgentGroup::"{CALLERS_GROUP}""#);
    let mut policies = vec![
        r#"forbid (principal, action in Action::"call", resource) when { context.caller.depth > 7 };"#.to_owned(),
        r#"forbid (principal, action in Action::"call", resource) unless { resource.pinned };"#.to_owned(),
        r#"forbid (principal, action in Action::"call", resource) when { context.caller.chain in AgentGroup::"suspects" };"#
            .to_owned(),
        format!(r#"forbid (principal, {called}, resource) when {{ context.input.path like "*/secret/*" }};"#),
        format!(
            r#"permit ({callers}, {called}, resource) when {{ context.input.path like "/work/*" && context.input.count < 100 }};"#
        ),
        format!(r#"permit ({callers}, action == Action::"{HTTP_APP}__add_report", resource);"#),
        format!(r#"permit ({callers}, action == Action::"{HTTP_APP}__hold", resource);"#),
        format!(r#"permit ({callers}, action == Action::"delegate", resource);"#),
    ];
    for number in policies.len()..POLICIES {
        let tool = workload::tool(number % workload::TOOLS);
        policies.push(format!(
            r#"permit (principal in AgentGroup::"group-{number}", action == Action::"{MCP_APP}__{tool}", resource) when {{ context.input.path like "/work/*" && context.input.count < {number} }};"#
        ));
    }
    let mut text = String::new();
    for (number, policy) in policies.iter().enumerate() {
        let _ = writeln!(text, "@id(\"bench.{number}\")\n{policy}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_policies_as_promised_and_a_handful_are_about_the_called_tool() {
        let text = policy_text();
        assert_eq!(text.matches("@id(").count(), POLICIES);
        let about =
            text.matches(r#"Action::"bench__tool_0""#).count() + text.matches(r#"Action::"call""#).count();
        assert!((10..20).contains(&about), "{about}");
    }
}
