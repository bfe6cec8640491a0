//! The tools: how they are described, what they take, what they do.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    super::{
        journal::{Call, Journal},
        progress::Seconds,
        repositories::{Name, Repositories, Repository, RepositoryError},
    },
    message::{Failure, INVALID_PARAMS},
};

/// A tool with its arguments.
#[derive(Debug)]
pub(super) enum Tool {
    ListRepos,
    CreateRepo(Repository),
    DeleteRepo { name: Name },
    StreamProgress { seconds: Seconds },
}

#[derive(Deserialize)]
struct Params {
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteArguments {
    name: Name,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgressArguments {
    seconds: Seconds,
}

impl Tool {
    /// From the params of `tools/call`.
    pub(super) fn parse(params: &Value) -> Result<Self, Failure> {
        let Params { name, arguments } = read(params)?;
        let arguments = &Value::Object(arguments);
        match name.as_str() {
            "list_repos" => read(arguments).map(|NoArguments {}| Self::ListRepos),
            "create_repo" => read(arguments).map(Self::CreateRepo),
            "delete_repo" => read(arguments).map(|DeleteArguments { name }| Self::DeleteRepo { name }),
            "stream_progress" => {
                read(arguments).map(|ProgressArguments { seconds }| Self::StreamProgress { seconds })
            }
            _ => Err(Failure::new(INVALID_PARAMS, "unknown tool")),
        }
    }

    /// Has the journal remember it as running.
    pub(super) fn noted(&self, journal: &Journal) -> Call {
        match self {
            Self::ListRepos => journal.call("list_repos"),
            Self::CreateRepo(_) => journal.call("create_repo"),
            Self::DeleteRepo { .. } => journal.call("delete_repo"),
            Self::StreamProgress { seconds } => journal.call_for("stream_progress", *seconds),
        }
    }

    /// Does it and gives the result; for `stream_progress` the one that is due when its seconds are over.
    pub(super) fn run(&self, repositories: &Repositories) -> Value {
        match self {
            Self::ListRepos => content(&json!({ "repositories": repositories.list() })),
            Self::CreateRepo(repository) => {
                outcome(repositories.create(repository), &json!({ "created": repository }))
            }
            Self::DeleteRepo { name } => outcome(repositories.delete(name), &json!({ "deleted": name })),
            Self::StreamProgress { seconds } => content(&json!({ "seconds": seconds.get() })),
        }
    }
}

/// What `tools/list` gives.
pub(super) fn definitions() -> Value {
    let name = json!({ "type": "string", "pattern": Name::PATTERN, "description": "Name of the repository" });
    json!([
        {
            "name": "list_repos",
            "title": "List repositories",
            "description": "Lists all repositories, oldest first.",
            "inputSchema": { "type": "object", "properties": {}, "additionalProperties": false },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        },
        {
            "name": "create_repo",
            "title": "Create a repository",
            "description": "Creates an empty repository. The name must not be taken.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "name": name,
                    "private": { "type": "boolean", "description": "Whether it is private; false if absent" },
                    "description": { "type": "string", "maxLength": 1000, "description": "What it is for" },
                },
                "required": ["name"],
                "additionalProperties": false,
            },
            "annotations": { "readOnlyHint": false, "destructiveHint": false, "openWorldHint": false },
        },
        {
            "name": "delete_repo",
            "title": "Delete a repository",
            "description": "Deletes a repository for good.",
            "inputSchema": {
                "type": "object",
                "properties": { "name": name },
                "required": ["name"],
                "additionalProperties": false,
            },
            "annotations": { "readOnlyHint": false, "destructiveHint": true, "openWorldHint": false },
        },
        {
            "name": "stream_progress",
            "title": "Stream progress",
            "description": "Takes the given number of seconds and reports each of them.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "seconds": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": Seconds::MAX,
                        "description": "How long it takes",
                    },
                },
                "required": ["seconds"],
                "additionalProperties": false,
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        },
    ])
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| Failure::new(INVALID_PARAMS, error.to_string()))
}

fn content(value: &Value) -> Value {
    let text = json!({ "type": "text", "text": value.to_string() });
    json!({ "content": [text], "structuredContent": value, "isError": false })
}

/// An error of the tool is a result, so that the model can read it.
fn outcome(done: Result<(), RepositoryError>, value: &Value) -> Value {
    match done {
        Ok(()) => content(value),
        Err(error) => json!({ "content": [{ "type": "text", "text": error.to_string() }], "isError": true }),
    }
}
