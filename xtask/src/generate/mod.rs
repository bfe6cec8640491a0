mod cli;
mod denials;

use std::{fs, path::Path};

use crate::process::{Failure, build, command, read, root};

/// A page that is made from the code.
struct Page {
    /// Below the root of the repository.
    path: &'static str,
    text: String,
}

fn pages() -> Result<Vec<Page>, Failure> {
    let gateway = build("vestibule-server", "vestibule", false)?;
    Ok(vec![
        Page { path: "docs/reference/config.schema.json", text: config_schema(&gateway)? },
        Page { path: "docs/reference/denials.md", text: denials::page() },
        Page { path: "docs/reference/cli.md", text: cli::page(&gateway)? },
    ])
}

fn config_schema(gateway: &Path) -> Result<String, Failure> {
    let mut schema = command(gateway);
    schema.args(["config", "schema"]);
    Ok(format!("{}\n", read(schema)?.trim_end()))
}

/// Rewrites every page.
pub(crate) fn write() -> Result<(), Failure> {
    for page in pages()? {
        let path = root().join(page.path);
        let folder = path.parent().unwrap_or(root());
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, page.text))
            .map_err(|e| format!("cannot write `{}`: {e}", page.path))?;
        println!("wrote {}", page.path);
    }
    Ok(())
}

/// Compares every page with the one in the work tree.
pub(crate) fn compare() -> Result<(), Failure> {
    let pages = pages()?;
    let is_stale =
        |page: &&Page| fs::read_to_string(root().join(page.path)).ok().as_ref() != Some(&page.text);
    let stale: Vec<&str> = pages.iter().filter(is_stale).map(|page| page.path).collect();
    if stale.is_empty() {
        println!("{} pages are as the code would make them", pages.len());
        return Ok(());
    }
    Err(format!("stale: {}; run `cargo xtask generate`", stale.join(", ")).into())
}
