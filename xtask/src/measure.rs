use serde_json::Value;

use crate::process::{Failure, build, cargo, command, metadata, root, run};

/// Debug builds measure nothing, so little is enough.
const SMALL: [&str; 14] = [
    "--agents",
    "50",
    "--in-flight",
    "200",
    "--family",
    "10",
    "--subtree",
    "3",
    "--incidents",
    "2",
    "--denied",
    "1000",
    "--proofs",
    "100",
];

/// The load comparison, incidents and parts, then every micro bench of the workspace.
pub(crate) fn bench(no_micro: bool, debug: bool, arguments: &[String]) -> Result<(), Failure> {
    let gateway = build("vestibule-server", "vestibule", !debug)?;
    let bench = build("vestibule-bench", "vestibule-bench", !debug)?;
    let mut load = command(bench);
    load.arg("run").arg("--vestibule").arg(gateway);
    if debug {
        load.args(SMALL);
    }
    load.args(arguments);
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
