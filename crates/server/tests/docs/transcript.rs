//! What a page says to type, typed in one shell from its top to its end, against a quickstart.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{page::Page, quickstart::Quickstart};

/// What a page may need beside the shell.
const TOOLS: [&str; 3] = ["curl", "python3", "openssl"];
/// Where a page has a server of its own. When the page is run, that is a port that is free.
const OWN_PORT: &str = "8790";
/// Longest time for a page.
const PAGE_MAX: Duration = Duration::from_secs(120);

/// One thing to type.
struct Step {
    place: String,
    typed: String,
    /// The output that is shown; none where the command must succeed.
    shown: Option<Vec<String>>,
}

/// Runs a page.
pub(crate) fn run(name: &str) {
    let page = Page::named(name);
    let steps = steps(&page);
    assert!(!steps.is_empty(), "{name} has nothing to run");
    let is_used = |tool: &&&str| steps.iter().any(|step| step.typed.contains(&format!("{tool} ")));
    let is_there = |tool: &&str| {
        Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    if let Some(tool) = TOOLS.iter().filter(is_used).chain(&["bash"]).find(|tool| !is_there(tool)) {
        // A fresh clone passes without tools of its own; where a reader of the page would need them, so does this.
        #[expect(clippy::print_stderr, reason = "what is not tried is said")]
        return eprintln!("SKIPPED: {name} is run where {tool} is");
    }
    let port = free_port();
    let added = [page.apps(), page.servers()].concat().replace(OWN_PORT, &port);
    let gateway = Quickstart::with(&added, &page.limits());
    let results = gateway.path("results");
    fs::create_dir(&results).unwrap();
    let script = gateway.path("page.sh");
    fs::write(&script, shell(&steps).replace(OWN_PORT, &port)).unwrap();
    let mut bash = Command::new("bash")
        .arg(&script)
        .current_dir(gateway.folder())
        .env("RESULTS", &results)
        .env("BIN", std::path::Path::new(env!("CARGO_BIN_EXE_vestibule")).parent().unwrap())
        .env("GATEWAY", gateway.text("/gateway_url"))
        .env("CLIENT_ID", gateway.text("/agents/0/client_id"))
        .env("CLIENT_SECRET", gateway.text("/agents/0/client_secret"))
        .env_remove("VESTIBULE_ADMIN_URL")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let (watch, done) = mpsc::channel::<()>();
    let id = bash.id().to_string();
    let watchman = thread::spawn(move || {
        if done.recv_timeout(PAGE_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            Command::new("kill").arg(id).status().unwrap();
        }
    });
    bash.wait().unwrap();
    drop(watch);
    watchman.join().unwrap();
    for (at, step) in steps.iter().enumerate() {
        let output = fs::read(results.join(format!("{at}.out"))).unwrap_or_default();
        let output = String::from_utf8_lossy(&output).into_owned();
        let code = fs::read_to_string(results.join(format!("{at}.code")))
            .unwrap_or_else(|_| "none, it did not end".into());
        let fits = step.shown.as_ref().is_none_or(|shown| fit(shown, &output.lines().collect::<Vec<_>>()));
        let is_fine = if step.shown.is_some() { fits } else { code.trim() == "0" };
        let Step { place, typed, shown } = step;
        assert!(is_fine, "{place}: `{typed}`\nexit code: {code}\nshown: {shown:#?}\nfound:\n{output}");
    }
}

fn free_port() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// In one shell, so that what a step sets the next one knows. What runs in the background ends with it.
fn shell(steps: &[Step]) -> String {
    let mut script = "PATH=$BIN:$PATH\n".to_owned();
    for (at, step) in steps.iter().enumerate() {
        let typed = step.typed.trim_end();
        script.push_str(&format!(
            "{{\n{typed}\n}} >\"$RESULTS/{at}.out\" 2>&1\necho $? >\"$RESULTS/{at}.code\"\n"
        ));
    }
    script.push_str("jobs -p | xargs -r kill 2>/dev/null\n");
    script
}

fn steps(page: &Page) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.blocks.iter().filter(|block| block.is_run()) {
        let place = page.place(block);
        if block.language() == "sh" {
            steps.push(Step { place, typed: format!("set -e\n{}set +e\n", block.text), shown: None });
            continue;
        }
        for line in block.text.lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(typed), _) => {
                    steps.push(Step { place: place.clone(), typed: typed.to_owned(), shown: None })
                }
                (None, Some(step)) => step.shown.get_or_insert_default().push(line.to_owned()),
                (None, None) => panic!("{place}: output without a command"),
            }
        }
    }
    steps
}

/// Whether the lines found are the lines shown; `…` alone stands for any lines.
fn fit(shown: &[String], found: &[&str]) -> bool {
    match shown.split_first() {
        None => found.is_empty(),
        Some((first, rest)) if first == "…" => {
            (0..=found.len()).any(|skipped| fit(rest, &found[skipped..]))
        }
        Some((first, rest)) => {
            found.split_first().is_some_and(|(line, left)| is_like(first, line) && fit(rest, left))
        }
    }
}

/// Whether a line is as shown: `…` stands for anything, and how wide a space is does not matter.
fn is_like(shown: &str, found: &str) -> bool {
    let even = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts: Vec<String> = shown.split('…').map(even).collect();
    let found = even(found);
    let [first, middle @ .., last] = &*parts else { return parts == [found] };
    let Some(mut left) = found.strip_prefix(&**first) else { return false };
    for part in middle {
        match left.find(&**part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(&**last)
}

#[test]
fn output_is_compared_up_to_what_is_left_out() {
    for (shown, found) in
        [("a", "a"), ("a  b", "a b"), ("a…c", "abc"), ("…", ""), ("a … d", "a d"), ("ok …", "ok  3")]
    {
        assert!(is_like(shown, found), "{shown} {found}");
    }
    for (shown, found) in [("a", "b"), ("a…c", "ab"), ("a…b…c", "acb"), ("", "x"), ("a…", "ba")] {
        assert!(!is_like(shown, found), "{shown} {found}");
    }
    let lines = |text: &str| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
    assert!(fit(&lines("a\n…\nc"), &["a", "b", "b", "c"]) && fit(&lines("…"), &[]));
    assert!(!fit(&lines("a\n…\nc"), &["a", "b"]) && !fit(&lines("a"), &["a", "b"]));
}
