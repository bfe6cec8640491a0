//! The one table: what each method demands of the policy. A method that is not here is refused, and so is one whose
//! consequences the policy could not see.

use std::sync::Arc;

use vestibule_model::{Denial, Refusal, json::Json};

use crate::frame::{Frame, Kind, has_lookalike};

/// The operation that every access to a resource is decided as. Its argument is `uri`.
pub const RESOURCES_READ: &str = "resources/read";
/// The operation that every access to a prompt is decided as. Its argument is `name`.
pub const PROMPTS_GET: &str = "prompts/get";

/// What a message needs before it is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// A decision about this operation with these arguments.
    Operation {
        /// What is operated on.
        kind: OperationKind,
        /// The operation's name within the application.
        name: Arc<str>,
        /// Its arguments: an object.
        arguments: Json,
    },
    /// A reply from which everything is removed that this caller could not be permitted.
    List {
        /// The method.
        method: &'static str,
        /// Which list.
        kind: ListKind,
    },
    /// That the agent is registered; no more.
    Always {
        /// The method, or `response` for the answer to a server's request.
        method: &'static str,
    },
}

/// What an operation of an MCP application operates on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// A tool, whose name is the operation's.
    Tool,
    /// A resource: [`RESOURCES_READ`].
    Resource,
    /// A prompt: [`PROMPTS_GET`].
    Prompt,
}

/// The lists of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`
    Tools,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    ResourceTemplates,
    /// `prompts/list`
    Prompts,
}

impl ListKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Tools, Self::Resources, Self::ResourceTemplates, Self::Prompts];

    /// The member of the result with the items.
    #[must_use]
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
            Self::Prompts => "prompts",
        }
    }

    /// The member of an item that names it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::ResourceTemplates => "uriTemplate",
        }
    }
}

/// How a method becomes a [`Demand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The tool `params.name` with `params.arguments`.
    Tool,
    /// [`RESOURCES_READ`] of `params.uri`.
    Resource,
    /// [`PROMPTS_GET`] of `params.name`.
    Prompt,
    /// As using what `params.ref` names: completions tell what is behind it.
    Completion,
    /// A list.
    List(ListKind),
    /// Always, as long as it listens to changes of lists only.
    Listen,
    /// Always.
    Always,
    /// Never, for this reason.
    Refused(&'static str),
}

const TASKS: &str = "tasks have no owner yet at this gateway, so their ids could be anybody's";
const SERVER_ONLY: &str = "only servers send this request";

/// Every method that a client can send in the four revisions, and the requests that only servers send.
pub const METHODS: &[(&str, Rule)] = &[
    ("initialize", Rule::Always),
    ("ping", Rule::Always),
    ("server/discover", Rule::Always),
    ("logging/setLevel", Rule::Always),
    ("tools/list", Rule::List(ListKind::Tools)),
    ("tools/call", Rule::Tool),
    ("resources/list", Rule::List(ListKind::Resources)),
    ("resources/templates/list", Rule::List(ListKind::ResourceTemplates)),
    ("resources/read", Rule::Resource),
    ("resources/subscribe", Rule::Resource),
    ("resources/unsubscribe", Rule::Resource),
    ("prompts/list", Rule::List(ListKind::Prompts)),
    ("prompts/get", Rule::Prompt),
    ("completion/complete", Rule::Completion),
    ("subscriptions/listen", Rule::Listen),
    ("tasks/get", Rule::Refused(TASKS)),
    ("tasks/result", Rule::Refused(TASKS)),
    ("tasks/list", Rule::Refused(TASKS)),
    ("tasks/update", Rule::Refused(TASKS)),
    ("tasks/cancel", Rule::Refused(TASKS)),
    ("sampling/createMessage", Rule::Refused(SERVER_ONLY)),
    ("elicitation/create", Rule::Refused(SERVER_ONLY)),
    ("roots/list", Rule::Refused(SERVER_ONLY)),
    ("notifications/initialized", Rule::Always),
    ("notifications/cancelled", Rule::Always),
    ("notifications/progress", Rule::Always),
    ("notifications/roots/list_changed", Rule::Always),
    ("notifications/tasks/status", Rule::Always),
];

/// What a message demands. Takes the message: its arguments are moved, not copied.
///
/// # Errors
/// [`Denial::MethodRefused`] for what is not let through; [`Denial::FrameInvalid`] when the parameters do not say what
/// is asked for; [`Denial::OperationUnknown`] for a tool that has the name of another kind of operation.
pub fn demand(frame: Frame) -> Result<Demand, Refusal> {
    let method = match frame.kind() {
        Kind::Request { method, .. } | Kind::Notification { method } => method.as_str(),
        // The answer to a server's request. It is bound to its session, and the session to the caller.
        Kind::Response { .. } => return Ok(Demand::Always { method: "response" }),
    };
    let Some((method, rule)) = METHODS.iter().find(|(name, _)| *name == method) else {
        return Err(Refusal::new(Denial::MethodRefused, "not a known method"));
    };
    // A notification gets no answer: a call sent as one would be executed and nobody told of the decision.
    if frame.request_id().is_none() != method.starts_with("notifications/") {
        return Err(Refusal::new(Denial::FrameInvalid, "requests have an `id`, notifications have none"));
    }
    match *rule {
        Rule::Tool => tool(frame),
        Rule::Resource => Ok(resource(text(frame.param("uri"), "params.uri")?)),
        Rule::Prompt => Ok(prompt(text(frame.param("name"), "params.name")?)),
        Rule::Completion => completion(&frame),
        Rule::List(kind) => Ok(Demand::List { method, kind }),
        Rule::Listen => listen(&frame).map(|()| Demand::Always { method }),
        Rule::Always => Ok(Demand::Always { method }),
        Rule::Refused(reason) => Err(Refusal::new(Denial::MethodRefused, reason)),
    }
}

fn tool(frame: Frame) -> Result<Demand, Refusal> {
    if frame.param("task").is_some() {
        return Err(Refusal::new(Denial::MethodRefused, TASKS));
    }
    let name: Arc<str> = text(frame.param("name"), "params.name")?.into();
    // The attack: a tool of this name would be decided by the policies about resources or prompts.
    if is_reserved(&name) {
        return Err(Refusal::new(Denial::OperationUnknown, "the name of another kind of operation"));
    }
    let arguments = match frame.into_param("arguments") {
        Some(arguments @ Json::Object(_)) => arguments,
        None => Json::Object(Vec::new()),
        Some(_) => return Err(Refusal::new(Denial::FrameInvalid, "`params.arguments` must be an object")),
    };
    Ok(Demand::Operation { kind: OperationKind::Tool, name, arguments })
}

/// Whether a tool must not have this name, because operations of another kind are decided by it.
pub(crate) fn is_reserved(tool: &str) -> bool {
    tool == RESOURCES_READ || tool == PROMPTS_GET
}

fn resource(uri: &str) -> Demand {
    let arguments = single("uri", uri);
    Demand::Operation { kind: OperationKind::Resource, name: RESOURCES_READ.into(), arguments }
}

fn prompt(name: &str) -> Demand {
    let arguments = single("name", name);
    Demand::Operation { kind: OperationKind::Prompt, name: PROMPTS_GET.into(), arguments }
}

fn completion(frame: &Frame) -> Result<Demand, Refusal> {
    let fault = |cause: &str| Refusal::new(Denial::FrameInvalid, cause);
    let reference = frame.param("ref").ok_or_else(|| fault("`params.ref` is required"))?;
    let members = reference.as_object().unwrap_or_default();
    if has_lookalike(members.iter().map(|(name, _)| name.as_str()), &["type", "name", "uri"]) {
        return Err(fault("a member of `params.ref` differs from a known one only in case"));
    }
    match reference.get("type").and_then(Json::as_str) {
        Some("ref/prompt") => Ok(prompt(text(reference.get("name"), "params.ref.name")?)),
        Some("ref/resource") => Ok(resource(text(reference.get("uri"), "params.ref.uri")?)),
        Some(_) | None => Err(fault("`params.ref.type` must be `ref/prompt` or `ref/resource`")),
    }
}

/// `subscriptions/listen` (MCP 2026-07-28): what it says about one resource would need a decision about each.
fn listen(frame: &Frame) -> Result<(), Refusal> {
    let wanted = frame.param("notifications").and_then(Json::as_object).unwrap_or_default();
    let is_of_lists = wanted.iter().all(|(name, value)| match name.as_str() {
        "toolsListChanged" | "promptsListChanged" | "resourcesListChanged" => true,
        "resourceSubscriptions" => value.as_array().is_some_and(<[Json]>::is_empty),
        _ => false,
    });
    if is_of_lists {
        Ok(())
    } else {
        Err(Refusal::new(Denial::MethodRefused, "listens to more than changes of lists"))
    }
}

fn text<'f>(value: Option<&'f Json>, what: &str) -> Result<&'f str, Refusal> {
    value
        .and_then(Json::as_str)
        .ok_or_else(|| Refusal::new(Denial::FrameInvalid, format!("`{what}` must be a string")))
}

fn single(name: &str, value: &str) -> Json {
    Json::Object(vec![(name.to_owned(), Json::String(value.to_owned()))])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The client's methods of 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28 with the tasks extension, and the
    /// requests of servers. May only grow.
    const SPECIFIED: &str = "initialize ping server/discover logging/setLevel tools/list tools/call resources/list \
        resources/templates/list resources/read resources/subscribe resources/unsubscribe prompts/list prompts/get \
        completion/complete subscriptions/listen tasks/get tasks/result tasks/list tasks/update tasks/cancel \
        sampling/createMessage elicitation/create roots/list notifications/initialized notifications/cancelled \
        notifications/progress notifications/roots/list_changed notifications/tasks/status";

    fn frame(method: &str, params: &Value) -> Frame {
        let mut message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        if !method.starts_with("notifications/") {
            message["id"] = json!(1);
        }
        Frame::parse(&message.to_string().into(), 16).unwrap()
    }

    fn denial(method: &str, params: &Value) -> Option<Denial> {
        demand(frame(method, params)).err().map(|refusal| refusal.denial)
    }

    fn operation(method: &str, params: &Value) -> (String, String) {
        match demand(frame(method, params)) {
            Ok(Demand::Operation { name, arguments, .. }) => (name.to_string(), arguments.canonical()),
            Ok(Demand::List { .. } | Demand::Always { .. }) | Err(_) => {
                panic!("{method} demands no operation")
            }
        }
    }

    #[test]
    fn every_specified_method_has_exactly_one_row() {
        for method in SPECIFIED.split_whitespace() {
            assert_eq!(METHODS.iter().filter(|(name, _)| *name == method).count(), 1, "{method}");
        }
        assert_eq!(
            METHODS.len(),
            SPECIFIED.split_whitespace().count(),
            "a row for a method nobody specified"
        );
    }

    #[test]
    fn what_touches_an_operation_is_decided_as_that_operation() {
        let cases = [
            ("tools/call", json!({ "name": "t", "arguments": { "a": 1 } }), "t", r#"{"a":1}"#),
            ("tools/call", json!({ "name": "t" }), "t", "{}"),
            ("resources/read", json!({ "uri": "x:y" }), RESOURCES_READ, r#"{"uri":"x:y"}"#),
            ("resources/subscribe", json!({ "uri": "x:y" }), RESOURCES_READ, r#"{"uri":"x:y"}"#),
            ("resources/unsubscribe", json!({ "uri": "x:y" }), RESOURCES_READ, r#"{"uri":"x:y"}"#),
            (
                "prompts/get",
                json!({ "name": "p", "arguments": { "a": "b" } }),
                PROMPTS_GET,
                r#"{"name":"p"}"#,
            ),
            (
                "completion/complete",
                json!({ "ref": { "type": "ref/prompt", "name": "p" } }),
                PROMPTS_GET,
                r#"{"name":"p"}"#,
            ),
            (
                "completion/complete",
                json!({ "ref": { "type": "ref/resource", "uri": "u" } }),
                RESOURCES_READ,
                r#"{"uri":"u"}"#,
            ),
        ];
        for (method, params, name, arguments) in cases {
            assert_eq!(
                operation(method, &params),
                (name.to_owned(), arguments.to_owned()),
                "{method} {params}"
            );
        }
    }

    #[test]
    fn parameters_that_do_not_say_what_is_asked_for_are_refused() {
        for (method, params) in [
            ("tools/call", json!({})),
            ("tools/call", json!({ "name": 7 })),
            ("tools/call", json!({ "name": "t", "arguments": [] })),
            ("tools/call", json!({ "name": "t", "arguments": null })),
            ("resources/read", json!({})),
            ("prompts/get", json!({ "name": {} })),
            ("completion/complete", json!({})),
            ("completion/complete", json!({ "ref": { "type": "ref/tool", "name": "t" } })),
            ("completion/complete", json!({ "ref": { "type": "ref/prompt", "name": "p", "Name": "q" } })),
        ] {
            assert_eq!(denial(method, &params), Some(Denial::FrameInvalid), "{method} {params}");
        }
    }

    #[test]
    fn unknown_methods_tasks_and_servers_requests_are_refused() {
        for method in
            ["tools/delete", "", "Tools/call", "tasks/get", "sampling/createMessage", "notifications/x"]
        {
            assert_eq!(denial(method, &json!({})), Some(Denial::MethodRefused), "{method}");
        }
        let task = json!({ "name": "t", "task": { "ttl": 1 } });
        assert_eq!(denial("tools/call", &task), Some(Denial::MethodRefused));
    }

    #[test]
    fn a_tool_cannot_borrow_the_policies_about_resources() {
        for name in [RESOURCES_READ, PROMPTS_GET] {
            assert_eq!(denial("tools/call", &json!({ "name": name })), Some(Denial::OperationUnknown));
        }
    }

    #[test]
    fn a_call_sent_as_a_notification_is_refused() {
        let body = json!({ "jsonrpc": "2.0", "method": "tools/call", "params": { "name": "t" } });
        let frame = Frame::parse(&body.to_string().into(), 16).unwrap();
        assert_eq!(demand(frame).unwrap_err().denial, Denial::FrameInvalid);
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "notifications/cancelled" });
        let frame = Frame::parse(&body.to_string().into(), 16).unwrap();
        assert_eq!(demand(frame).unwrap_err().denial, Denial::FrameInvalid);
    }

    #[test]
    fn listening_is_for_changes_of_lists_only() {
        let always = json!({ "notifications": { "toolsListChanged": true, "resourceSubscriptions": [] } });
        assert_eq!(
            demand(frame("subscriptions/listen", &always)),
            Ok(Demand::Always { method: "subscriptions/listen" })
        );
        for wanted in [
            json!({ "resourceSubscriptions": ["a:b"] }),
            json!({ "ResourceSubscriptions": ["a:b"] }),
            json!({ "taskIds": ["1"] }),
        ] {
            let params = json!({ "notifications": wanted });
            assert_eq!(denial("subscriptions/listen", &params), Some(Denial::MethodRefused), "{wanted}");
        }
    }
}
