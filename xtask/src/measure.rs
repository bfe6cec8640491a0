use std::time::Duration;

use serde_json::Value;
use vestibule_model::{Clock, SystemClock};

use crate::process::{Failure, build, cargo, command, metadata, root, run};

/// Crates whose property tests a soak runs: what parses or judges what a stranger sent.
const SOAKED: &[&str] = &["vestibule-model", "vestibule-mcp", "vestibule-policy", "vestibule-evidence"];

/// How long the session of a soak lasts. The sandbox of the quickstart streams no longer.
const SESSION_SECONDS: &str = "600";

/// The load comparison, then every micro bench of the workspace.
pub(crate) fn bench(no_micro: bool, debug: bool, arguments: &[String]) -> Result<(), Failure> {
    let gateway = build("vestibule-server", "vestibule", !debug)?;
    let bench = build("vestibule-bench", "vestibule-bench", !debug)?;
    let mut load = command(bench);
    load.arg("run").arg("--vestibule").arg(gateway).args(arguments);
    run(load)?;
    if no_micro {
        return Ok(());
    }
    for package in packages_with_benches(&metadata()?) {
        run(cargo(["bench", "--locked", "--package", &package, "--bench", "*"]))?;
    }
    Ok(())
}

fn packages_with_benches(graph: &Value) -> Vec<String> {
    let array =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let is_ours = |package: &Value| package.get("source").is_some_and(Value::is_null);
    let has_bench = |package: &Value| {
        array(package, "targets")
            .iter()
            .any(|target| array(target, "kind").iter().any(|kind| kind == "bench"))
    };
    let packages =
        array(graph, "packages").into_iter().filter(|package| is_ours(package) && has_bench(package));
    packages.filter_map(|package| Some(package.get("name")?.as_str()?.to_owned())).collect()
}

/// Foreign implementations against the gateway; their script's exit code is ours.
pub(crate) fn peers(debug: bool, arguments: &[String]) -> Result<(), Failure> {
    let gateway = build("vestibule-server", "vestibule", !debug)?;
    let mut script = command(root().join("tests/peers/run.sh"));
    script.env("VESTIBULE_BIN", gateway).args(arguments);
    run(script)
}

/// A session of a foreign client that outlives ten tokens, then the property tests.
pub(crate) fn soak(debug: bool, minutes: u64, cases: u32) -> Result<(), Failure> {
    let gateway = build("vestibule-server", "vestibule", !debug)?;
    let mut session = command(root().join("tests/peers/long_session.sh"));
    session.env("VESTIBULE_BIN", gateway).arg(SESSION_SECONDS);
    run(session)?;
    properties(minutes, cases)
}

/// Property tests, round after round with fresh seeds, until the time is over or one fails.
fn properties(minutes: u64, cases: u32) -> Result<(), Failure> {
    let clock = SystemClock::default();
    let start = clock.monotonic();
    let limit = Duration::from_secs(minutes.saturating_mul(60));
    for round in 1_u32.. {
        for package in SOAKED {
            println!("\n==== round {round}: {package} ====");
            let mut test = cargo(["test", "--release", "--locked", "--package", package]);
            test.env("PROPTEST_CASES", cases.to_string());
            run(test)?;
            if clock.monotonic().since(start) > limit {
                println!("\nround {round}: time is over, and nothing failed");
                return Ok(());
            }
        }
    }
    Ok(())
}
