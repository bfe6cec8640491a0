use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    licence,
    process::{Failure, metadata, root},
};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Licences, banned crates and sources by `deny.toml`, without any tool that must be installed first.
pub(crate) fn check() -> Result<(), Failure> {
    let path = root().join("deny.toml");
    let text =
        std::fs::read_to_string(&path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
    let rules = Rules::read(&text);
    let graph = metadata()?;
    let packages = graph.get("packages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let problems: Vec<String> = packages.iter().flat_map(|package| rules.problems(package)).collect();
    if !problems.is_empty() {
        return Err(problems.join("\n").into());
    }
    println!("{} packages: licences, bans and sources are as `deny.toml` wants them", packages.len());
    Ok(())
}

/// What `deny.toml` says that concerns this check.
#[derive(Debug)]
struct Rules {
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
}

impl Rules {
    /// Reads the two lists `allow` and `deny` as this repository writes them: one entry a line.
    fn read(text: &str) -> Self {
        Self { licences: quoted(section(text, "allow = [")), banned: quoted(section(text, "deny = [")) }
    }

    fn problems(&self, package: &Value) -> Vec<String> {
        let text = |key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        let mut problems = Vec::new();
        if self.banned.contains(name) {
            problems.push(format!("`{name}` is banned"));
        }
        match licence::is_satisfied(text("license"), &self.licences) {
            Ok(true) => {}
            Ok(false) => problems.push(format!("`{name}`: `{}` is not allowed", text("license"))),
            Err(why) => problems.push(format!("`{name}`: {why}")),
        }
        // A package without a source is one of this repository.
        let is_ours = package.get("source").is_some_and(Value::is_null)
            && text("manifest_path").starts_with(&*root().to_string_lossy());
        if !is_ours && text("source") != CRATES_IO {
            problems.push(format!("`{name}` does not come from crates.io"));
        }
        problems
    }
}

/// The lines of a list, without those that open and close it.
fn section<'a>(text: &'a str, opening: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().skip_while(move |line| *line != opening).skip(1).take_while(|line| *line != "]")
}

/// The first quoted word of each line.
fn quoted<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(name: &str, license: &str, source: Option<&str>) -> Vec<String> {
        let rules = Rules::read("allow = [\n  \"MIT\", # why\n]\ndeny = [\n  { crate = \"openssl\" },\n]\n");
        let package = json!({ "name": name, "license": license, "source": source, "manifest_path": "/x" });
        rules.problems(&package)
    }

    #[test]
    fn a_package_of_the_registry_with_an_allowed_licence_passes() {
        assert_eq!(problems("serde", "MIT", Some(CRATES_IO)), Vec::<String>::new());
    }

    #[test]
    fn a_banned_crate_an_unknown_licence_a_git_source_and_a_foreign_path_are_refused() {
        assert_eq!(problems("openssl", "MIT", Some(CRATES_IO)), ["`openssl` is banned"]);
        assert_eq!(problems("a", "GPL-3.0", Some(CRATES_IO)), ["`a`: `GPL-3.0` is not allowed"]);
        let git = Some("git+https://example.com/a?rev=1#1");
        assert_eq!(problems("a", "MIT", git), ["`a` does not come from crates.io"]);
        assert_eq!(problems("a", "MIT", None), ["`a` does not come from crates.io"]);
    }

    #[test]
    fn the_file_of_this_repository_bans_openssl_and_allows_its_own_licence() {
        let rules = Rules::read(include_str!("../../deny.toml"));
        assert!(rules.licences.contains("Apache-2.0"));
        assert_eq!(rules.banned, ["native-tls", "openssl", "openssl-sys"].map(str::to_owned).into());
    }
}
