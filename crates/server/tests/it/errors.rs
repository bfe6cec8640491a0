//! Every "no" and every fault as the caller sees it, in one table that a change has to change too; and the ratchet that
//! each "no" is reached by a test of behaviour.

use std::{fmt::Write, path::Path};

use serde_json::{Value, json};
use vestibule_mcp::{Asked, Era, Frame, errors};
use vestibule_model::{Denial, FaultKind, Refusal};

/// What no test of behaviour reaches. This list only ever gets shorter.
///
/// A million proofs would have to be used within two minutes; `vestibule-inbound` tests it with a smaller bound.
const UNREACHED: &[&str] = &["proofs-exceeded"];

fn asked(era: Era) -> Asked {
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "work" } });
    let frame = Frame::parse(&message.to_string().into(), 8).unwrap();
    Asked::of(era, &frame).unwrap()
}

/// `200 -32602 Unknown tool: work`, or `-` for what HTTP says.
fn rpc(denial: Denial, era: Era) -> String {
    errors::answer(&Refusal::from(denial), &asked(era), "decision").map_or_else(
        || "-".to_owned(),
        |(status, body)| {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let (code, message) = (&body["error"]["code"], body["error"]["message"].as_str().unwrap());
            format!("{} {code} {message}", status.as_u16())
        },
    )
}

#[test]
fn every_denial_and_every_fault_is_told_in_these_words() {
    let mut table = String::new();
    for denial in Denial::ALL {
        writeln!(table, "{}: {:?} \"{}\"", denial.code(), denial.answer(), denial.sentence()).unwrap();
        let (legacy, modern) = (rpc(*denial, Era::Legacy), rpc(*denial, Era::Modern));
        if legacy == modern {
            writeln!(table, "    json-rpc: {legacy}").unwrap();
        } else {
            writeln!(table, "    json-rpc: {legacy} | {modern}").unwrap();
        }
    }
    for kind in FaultKind::ALL {
        let retry = if kind.is_retryable() { "retryable" } else { "final" };
        writeln!(table, "{}: {} {retry} {:?} \"{}\"", kind.code(), kind.status(), kind.of(), kind.sentence())
            .unwrap();
    }
    insta::assert_snapshot!(table);
}

#[test]
fn every_denial_is_reached_by_a_test_of_behaviour() {
    let mut sources = String::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"), &mut sources);
    let is_named =
        |code: &str| [format!("\"{code}\""), format!("denial={code}")].iter().any(|it| sources.contains(it));
    let missing: Vec<&str> =
        Denial::ALL.iter().map(|denial| denial.code()).filter(|code| !is_named(code)).collect();
    assert_eq!(missing, UNREACHED, "on the left: codes that no test names");
}

/// All sources of this folder but this one.
fn read(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("errors.rs")
        {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}
