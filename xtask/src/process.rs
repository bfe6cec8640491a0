use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// Why a chore failed, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { message, code: 1 }
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// A program that runs at the root of the repository.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(root());
    command
}

/// `cargo` with these arguments.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut cargo = command("cargo");
    cargo.args(arguments);
    cargo
}

/// Runs it to its end, its output on the terminal.
pub(crate) fn run(mut command: Command) -> Result<(), Failure> {
    let shown = shown(&command);
    println!("$ {shown}");
    let status = command.status().map_err(|e| format!("cannot start `{shown}`: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failure { message: format!("`{shown}` failed: {status}"), code })
}

/// Runs it to its end and returns its standard output; its diagnostics go to the terminal.
pub(crate) fn read(mut command: Command) -> Result<String, Failure> {
    let shown = shown(&command);
    command.stderr(std::process::Stdio::inherit());
    let Output { status, stdout, .. } =
        command.output().map_err(|e| format!("cannot start `{shown}`: {e}"))?;
    if !status.success() {
        return Err(format!("`{shown}` failed: {status}").into());
    }
    String::from_utf8(stdout).map_err(|e| format!("`{shown}` does not print UTF-8: {e}").into())
}

/// Builds one binary of the workspace and returns where it is.
pub(crate) fn build(package: &str, binary: &str, release: bool) -> Result<PathBuf, Failure> {
    let mut build = cargo(["build", "--locked", "--message-format", "json-render-diagnostics"]);
    build.args(["--package", package, "--bin", binary]);
    if release {
        build.arg("--release");
    }
    println!("$ {}", shown(&build));
    let messages = read(build)?;
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/target/name").is_some_and(|name| name == binary))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
    executable.ok_or_else(|| format!("cargo built no binary `{binary}`").into())
}

/// The graph of everything that is built, from `cargo metadata`.
pub(crate) fn metadata() -> Result<Value, Failure> {
    let text = read(cargo(["metadata", "--format-version", "1", "--locked", "--all-features"]))?;
    serde_json::from_str(&text).map_err(|e| format!("cannot read `cargo metadata`: {e}").into())
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
