use std::{path::PathBuf, time::Duration};

use vestibule_model::{Clock, SystemClock};

use crate::{
    dependencies, generate,
    process::{Failure, cargo, command, root, run},
};

/// How a step ended that did not fail.
enum Done {
    Passed,
    /// It could not run here; the text says why.
    Skipped(String),
}

struct Step {
    name: &'static str,
    run: fn() -> Result<Done, Failure>,
    is_quick: bool,
}

const STEPS: &[Step] = &[
    Step { name: "format", run: format, is_quick: true },
    Step { name: "clippy", run: clippy, is_quick: true },
    Step { name: "test", run: test, is_quick: true },
    Step { name: "generated pages", run: generated, is_quick: true },
    Step { name: "dependencies", run: dependencies, is_quick: true },
    Step { name: "documentation", run: documentation, is_quick: false },
    Step { name: "cargo-deny", run: cargo_deny, is_quick: false },
    Step { name: "advisories", run: advisories, is_quick: false },
];

/// Runs every step, stops at the first that fails, and ends with a table either way.
pub(crate) fn run_all(quick: bool) -> Result<(), Failure> {
    let clock = SystemClock::default();
    let mut table = Vec::new();
    let mut outcome = Ok(());
    for step in STEPS.iter().filter(|step| step.is_quick || !quick) {
        println!("\n==== {} ====", step.name);
        let start = clock.monotonic();
        let result = (step.run)();
        let took = clock.monotonic().since(start);
        println!("==== {}: {} ====", step.name, seconds(took));
        let verdict = match result {
            Ok(Done::Passed) => "passed".to_owned(),
            Ok(Done::Skipped(why)) => format!("SKIPPED: {why}"),
            Err(failure) => {
                outcome = Err(failure);
                "FAILED".to_owned()
            }
        };
        table.push((step.name, took, verdict));
        if outcome.is_err() {
            break;
        }
    }
    println!();
    for (name, took, verdict) in table {
        println!("{name:<16} {:>8}  {verdict}", seconds(took));
    }
    outcome
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn passed(result: Result<(), Failure>) -> Result<Done, Failure> {
    result.map(|()| Done::Passed)
}

fn format() -> Result<Done, Failure> {
    passed(run(cargo(["fmt", "--all", "--check"])))
}

fn clippy() -> Result<Done, Failure> {
    passed(run(cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])))
}

fn test() -> Result<Done, Failure> {
    passed(run(cargo(["test", "--workspace", "--locked"])))
}

fn generated() -> Result<Done, Failure> {
    passed(generate::compare())
}

fn dependencies() -> Result<Done, Failure> {
    passed(dependencies::check())
}

fn documentation() -> Result<Done, Failure> {
    let mut doc = cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    passed(run(doc))
}

fn cargo_deny() -> Result<Done, Failure> {
    let Some(tool) = deny_tool() else {
        return Ok(Done::Skipped("cargo-deny is not there and cannot be installed".to_owned()));
    };
    let mut deny = command(tool);
    deny.args(["--locked", "check", "licenses", "bans", "sources"]);
    passed(run(deny))
}

/// The advisory database is a git repository elsewhere: where it cannot be reached the step is skipped, loudly.
fn advisories() -> Result<Done, Failure> {
    let Some(tool) = deny_tool() else {
        return Ok(Done::Skipped("cargo-deny is not there and cannot be installed".to_owned()));
    };
    let mut deny = command(tool);
    deny.args(["--locked", "check", "advisories"]);
    let output = deny.output().map_err(|e| format!("cannot start cargo-deny: {e}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    eprintln!("{text}");
    if output.status.success() {
        Ok(Done::Passed)
    } else if text.contains("failed to fetch advisory database") {
        Ok(Done::Skipped("the advisory database cannot be reached".to_owned()))
    } else {
        Err("an advisory applies to the dependencies".to_owned().into())
    }
}

/// cargo-deny: the one on the path, else the one below `target/tools`, which is installed there once.
fn deny_tool() -> Option<PathBuf> {
    const NAME: &str = "cargo-deny";
    if command(NAME).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Some(NAME.into());
    }
    let tools = root().join("target/tools");
    let tool = tools.join("bin").join(NAME);
    if !tool.exists() {
        // A debug build without extras takes a minute or two, and it checks in seconds all the same.
        let mut install = cargo(["install", NAME, "--version", "0.20.2", "--locked", "--debug"]);
        install.args(["--no-default-features", "--root"]).arg(&tools);
        run(install).ok()?;
    }
    Some(tool)
}
