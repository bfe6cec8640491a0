//! The real binary, as processes: the gateway that serves, and the commands that look at it.

use std::{
    fmt::Write,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use vestibule_model::SystemClock;
use vestibule_testkit::{Call, Credential, Http, TestAgent};

/// Free ports, so that tests do not meet.
pub(crate) const ANY_PORT: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

fn vestibule(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.args(args).env_remove("VESTIBULE_ADMIN_URL").env_remove("VESTIBULE_ADMIN_TOKEN");
    command
}

/// A gateway's folder.
pub(crate) struct Folder {
    path: PathBuf,
    _parent: TempDir,
}

impl Folder {
    /// One that is not there yet.
    pub(crate) fn new() -> Self {
        let parent = TempDir::new().unwrap();
        Self { path: parent.path().join("gateway"), _parent: parent }
    }

    /// One with this configuration and this policy, for [`Folder::run`].
    pub(crate) fn with(config: &str, policy: &str) -> Self {
        let folder = Self::new();
        std::fs::create_dir_all(folder.join("policies")).unwrap();
        std::fs::write(folder.join("vestibule.yaml"), config).unwrap();
        std::fs::write(folder.join("policies/all.cedar"), policy).unwrap();
        folder
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// `vestibule quickstart` on free ports; returns when it serves.
    pub(crate) async fn quickstart(&self, args: &[&str]) -> Served {
        let fixed = ["quickstart", "--output", "json", "--dir", self.path()];
        Served::start(&[&fixed[..], &ANY_PORT, args].concat()).await
    }

    /// `vestibule run`; returns when it serves.
    pub(crate) async fn run(&self) -> Served {
        Served::start(&["run", "--output", "json", "--dir", self.path()]).await
    }

    /// As [`Folder::run`], with the log at this level on standard error.
    pub(crate) async fn run_logging(&self, level: &str) -> Served {
        let mut command = vestibule(&["run", "--output", "json", "--dir", self.path()]);
        command.env("VESTIBULE_LOG", level);
        Served::of(Process::spawn(command)).await
    }

    /// As [`Folder::run`], with no more than `max` file descriptors.
    pub(crate) async fn run_with_descriptors(&self, max: usize) -> Served {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {max} && exec \"$0\" \"$@\"")]);
        command.args([env!("CARGO_BIN_EXE_vestibule"), "run", "--output", "json", "--dir", self.path()]);
        Served::of(Process::spawn(command)).await
    }

    /// A command about this folder.
    pub(crate) async fn cli(&self, args: &[&str]) -> Ran {
        cli(&[args, &["--dir", self.path()]].concat()).await
    }

    /// What such a command says with `--output json`; it must succeed.
    pub(crate) async fn json(&self, args: &[&str]) -> Vec<Value> {
        let ran = self.cli(&[args, &["--output", "json"]].concat()).await;
        assert_eq!(ran.code, Some(0), "{args:?}: {}{}", ran.stdout, ran.stderr);
        ran.objects()
    }

    /// The whole record, read without a gateway.
    pub(crate) async fn attempts(&self) -> Vec<Value> {
        let evidence = self.join("evidence");
        self.json(&["audit", "search", "--limit", "100000", "--folder", evidence.to_str().unwrap()]).await
    }

    /// The report of a verification without a gateway; it must pass.
    pub(crate) async fn verified(&self) -> Value {
        let evidence = self.join("evidence");
        let said = self.json(&["audit", "verify", "--folder", evidence.to_str().unwrap()]).await;
        said[0]["report"].clone()
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as `--output json` promises it: one JSON object a line.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).ok().filter(Value::is_object);
        let objects: Option<Vec<Value>> = self.stdout.lines().map(parse).collect();
        assert!(objects.is_some(), "not one object a line: {}", self.stdout);
        objects.unwrap()
    }

    /// The command must have ended so, with this on standard error and nothing on standard output.
    pub(crate) fn refuses(&self, code: i32, because: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(because), "`{because}` is not in `{}`", self.stderr);
        assert_eq!(self.stdout, "");
    }

    /// The command must have succeeded, with this in what it says to people.
    pub(crate) fn tells(&self, needles: &[&str]) {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.says(needles);
    }

    pub(crate) fn says(&self, needles: &[&str]) {
        for needle in needles {
            assert!(self.stdout.contains(needle), "`{needle}` is not in:\n{}", self.stdout);
        }
    }
}

/// Runs a command to its end.
pub(crate) async fn cli(args: &[&str]) -> Ran {
    finish(vestibule(args)).await
}

/// Runs a command with these environment variables.
pub(crate) async fn cli_with(variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = vestibule(args);
    command.envs(variables.iter().copied());
    finish(command).await
}

/// Runs a command that reads `input`.
pub(crate) async fn cli_reading(input: &Path, args: &[&str]) -> Ran {
    let mut command = vestibule(args);
    command.stdin(std::fs::File::open(input).unwrap());
    finish(command).await
}

async fn finish(mut command: Command) -> Ran {
    let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A request of a client of MCP 2026-07-28.
pub(crate) fn modern(url: &str, token: &str, method: &str, mut params: Value) -> Call {
    const VERSION: &str = "2026-07-28";
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": 1,
    });
    let call = Http::post(url)
        .bearer(token)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", VERSION)
        .header("mcp-method", method);
    let call = if let Some(name) = params["name"].as_str() { call.header("mcp-name", name) } else { call };
    call.json(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }))
}

/// A process that prints lines. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Option<BufReader<std::process::ChildStdout>>,
    /// Reads standard error to its end, so that the process never waits for a reader.
    errors: Option<std::thread::JoinHandle<String>>,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(vestibule(args))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        let mut errors = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            if let Err(error) = errors.read_to_string(&mut text) {
                write!(text, "({error})").unwrap();
            }
            text
        });
        Self { child, lines, errors: Some(errors) }
    }

    /// The next line of standard output; empty at its end.
    pub(crate) async fn line(&mut self) -> String {
        let mut lines = self.lines.take().unwrap();
        let (lines, line) = spawn_blocking(move || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            (lines, line)
        })
        .await
        .unwrap();
        self.lines = Some(lines);
        line
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for the end: the exit code (none after a signal) and all of standard error.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        spawn_blocking(move || {
            let status = self.child.wait().unwrap();
            (status.code(), self.errors.take().unwrap().join().unwrap())
        })
        .await
        .unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway that serves, with the one line that it printed.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) contract: Value,
}

impl Served {
    async fn start(args: &[&str]) -> Self {
        Self::of(Process::start(args)).await
    }

    async fn of(mut process: Process) -> Self {
        let line = process.line().await;
        assert!(!line.is_empty(), "it does not serve: {:?}", process.ended().await);
        Self { process, contract: serde_json::from_str(&line).unwrap() }
    }

    /// A member of the contract, as text.
    pub(crate) fn part(&self, key: &str) -> &str {
        self.contract[key].as_str().unwrap()
    }

    /// The resource identifier of an application.
    pub(crate) fn resource(&self, app: &str) -> &str {
        let apps = self.contract["apps"].as_array().unwrap();
        apps.iter().find(|one| one["id"] == app).unwrap()["url"].as_str().unwrap()
    }

    /// The quickstart's agent number `index`.
    pub(crate) async fn agent(&self, index: usize) -> TestAgent {
        let agent = &self.contract["agents"][index];
        self.connect(agent["client_id"].as_str().unwrap(), agent["client_secret"].as_str().unwrap()).await
    }

    /// An agent with its secret.
    pub(crate) async fn connect(&self, id: &str, secret: &str) -> TestAgent {
        let credential = Credential::Basic(secret.to_owned());
        TestAgent::connect(self.part("issuer"), id, credential, Arc::new(SystemClock::default())).await
    }

    /// The status of the readiness probe.
    pub(crate) async fn readiness(&self) -> u16 {
        Http::get(&format!("{}/readyz", self.part("admin_url"))).send().await.status.as_u16()
    }

    /// Sends SIGTERM and waits until the gateway says that it is not ready any more.
    pub(crate) async fn drain(&self) {
        self.process.terminate();
        while self.readiness().await != 503 {}
    }

    /// Stops in order.
    pub(crate) async fn stop(self) {
        self.process.terminate();
        let (code, errors) = self.process.ended().await;
        assert_eq!(code, Some(0), "{errors}");
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) async fn kill(mut self) {
        self.process.kill();
        assert_eq!(self.process.ended().await.0, None);
    }
}
