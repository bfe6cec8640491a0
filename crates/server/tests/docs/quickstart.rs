//! A quickstart in a folder of its own, as a user starts one.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The configuration that a quickstart begins with.
const CONFIG: &str = include_str!("../../assets/quickstart.yaml");

/// A quickstart that runs until it is dropped.
pub(crate) struct Quickstart {
    folder: TempDir,
    process: Child,
    /// The line it has printed.
    pub(crate) contract: Value,
}

impl Quickstart {
    /// Starts one and waits until it serves.
    pub(crate) fn start() -> Self {
        Self::with_apps("")
    }

    /// The same, with these lines at the end of its configuration, where its applications are.
    pub(crate) fn with_apps(apps: &str) -> Self {
        Self::with(apps, "")
    }

    /// The same, with what these lines add to its limits.
    pub(crate) fn with(apps: &str, limits: &str) -> Self {
        let folder = TempDir::new().unwrap();
        if !apps.is_empty() || !limits.is_empty() {
            let config =
                if limits.is_empty() { CONFIG.to_owned() } else { CONFIG.replace("limits:\n", limits) };
            let gateway = folder.path().join("vestibule-data");
            fs::create_dir(&gateway).unwrap();
            fs::write(gateway.join("vestibule.yaml"), format!("{config}{apps}")).unwrap();
        }
        let mut process = command(&folder)
            .args([
                "quickstart",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--output",
                "json",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let contract = serde_json::from_str(&line).unwrap_or_else(|error| panic!("`{line}`: {error}"));
        Self { folder, process, contract }
    }

    /// The folder in which the gateway's folder lies.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a command prints on standard output, whatever it answers.
    pub(crate) fn vestibule(&self, arguments: &[&str]) -> String {
        String::from_utf8(command(&self.folder).args(arguments).output().unwrap().stdout).unwrap()
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.contract.pointer(pointer).and_then(Value::as_str).unwrap()
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn command(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.current_dir(folder.path());
    for variable in ["VESTIBULE_ADMIN_URL", "VESTIBULE_ADMIN_TOKEN", "VESTIBULE_LOG"] {
        command.env_remove(variable);
    }
    command
}
