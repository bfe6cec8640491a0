//! The application behind the gateway, as a process of its own.

use std::process::Command;

use serde_json::Value;

use crate::{
    Failed,
    process::Process,
    wire::{Connection, Target},
    workload::HELD_PATH,
};

/// An application that answers at once, or never.
#[derive(Debug)]
pub(crate) struct Application {
    _process: Process,
    pub(crate) url: String,
}

impl Application {
    pub(crate) fn start() -> Result<Self, Failed> {
        let (process, url) = companion("upstream", &[])?;
        Ok(Self { _process: process, url })
    }

    /// How many requests it is holding.
    pub(crate) fn held(&self) -> Result<usize, Failed> {
        let Target { authority, path } = Target::parse(&self.url)?.at(HELD_PATH);
        let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
        let answer = Connection::open(&authority)
            .and_then(|mut connection| connection.exchange(request.as_bytes()))
            .map_err(|error| Failed::because(&path, error))?;
        serde_json::from_slice(&answer.body).map_err(|error| Failed::because(&path, error))
    }
}

/// Starts this binary once more, as one of the two servers, and gives its URL.
pub(crate) fn companion(command: &'static str, args: &[&str]) -> Result<(Process, String), Failed> {
    let myself = std::env::current_exe().map_err(|error| Failed::because(command, error))?;
    let (process, line) = Process::start(command, Command::new(myself).arg(command).args(args))?;
    let listen = line.get("listen").and_then(Value::as_str).unwrap_or_default();
    Ok((process, format!("http://{listen}")))
}
