//! Pages of Markdown, as far as the tests need to know them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// One page.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    /// Below the root of the repository.
    pub(crate) name: String,
    pub(crate) blocks: Vec<Block>,
    /// The text outside of blocks, with the number of each line.
    prose: Vec<(usize, String)>,
}

/// A fenced block.
pub(crate) struct Block {
    /// The line of its opening fence, from 1 on.
    pub(crate) line: usize,
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn is_run(&self) -> bool {
        matches!(&*self.info, "sh run" | "console run")
    }

    /// What is to be typed: all of a `sh` block, what follows `$ ` in a `console` block.
    fn typed(&self) -> Vec<String> {
        match self.language() {
            "sh" => vec![self.text.replace("\\\n", " ")],
            "console" => {
                self.text.lines().filter_map(|line| line.strip_prefix("$ ")).map(ToOwned::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All pages: at the root, below `docs`, and of each crate.
pub(crate) fn pages() -> Vec<Page> {
    let root = root();
    let mut paths = Vec::new();
    collect(&root, 0, &mut paths);
    collect(&root.join("docs"), 3, &mut paths);
    collect(&root.join("crates"), 1, &mut paths);
    let pages: Vec<Page> = paths.into_iter().map(|path| Page::read(&root, path)).collect();
    assert!(pages.len() > 20, "{} pages were found", pages.len());
    pages
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
}

impl Page {
    fn read(root: &Path, path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let mut page = Self { path, name, blocks: Vec::new(), prose: Vec::new() };
        let mut open: Option<Block> = None;
        for (at, line) in text.lines().enumerate() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(info), None) => {
                    open = Some(Block { line: at + 1, info: info.to_owned(), text: String::new() })
                }
                (Some(_), Some(_)) => page.blocks.extend(open.take()),
                (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
                (None, None) => page.prose.push((at + 1, line.to_owned())),
            }
        }
        assert!(open.is_none(), "{}: a block that does not end", page.name);
        page
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::read(&root(), root().join(name))
    }

    pub(crate) fn place(&self, block: &Block) -> String {
        format!("{}:{}", self.name, block.line)
    }

    /// What it adds to the end of the quickstart's configuration.
    pub(crate) fn apps(&self) -> String {
        let added = self.blocks.iter().filter(|block| block.info == "yaml apps");
        added.map(|block| &*block.text).collect()
    }

    /// What it adds behind the applications, at the end of that configuration.
    pub(crate) fn servers(&self) -> String {
        let added = self.blocks.iter().filter(|block| block.info == "yaml servers");
        added.map(|block| &*block.text).collect()
    }

    /// What it adds to the limits of the quickstart's configuration, from the key `limits` on.
    pub(crate) fn limits(&self) -> String {
        let set = self.blocks.iter().filter(|block| block.info == "yaml limits");
        set.map(|block| &*block.text).collect()
    }

    /// The rows of its tables, by the heading they are under. Cells are trimmed.
    pub(crate) fn rows(&self) -> Vec<(String, Vec<String>)> {
        let mut heading = String::new();
        let mut rows = Vec::new();
        for (_, line) in &self.prose {
            if let Some(text) = line.strip_prefix("## ") {
                heading = text.to_owned();
            }
            if let Some(row) = line.strip_prefix("| ") {
                let cells = row.trim_end_matches(" |").split(" | ").map(|cell| cell.trim().to_owned());
                rows.push((heading.clone(), cells.collect()));
            }
        }
        rows
    }

    /// Targets of links within the repository.
    pub(crate) fn links(&self) -> Vec<String> {
        let text: Vec<&str> = self.prose.iter().map(|(_, line)| &**line).collect();
        let text = text.join("\n");
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets.filter(|target| !target.contains("://")).map(ToOwned::to_owned).collect()
    }

    /// Every `vestibule …` to be typed, in blocks and in the text, with its place.
    pub(crate) fn commands(&self) -> Vec<(String, Vec<String>)> {
        let mut found = Vec::new();
        for block in &self.blocks {
            for typed in block.typed() {
                found.extend(commands(&typed).into_iter().map(|words| (self.place(block), words)));
            }
        }
        for (line, text) in &self.prose {
            for code in text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("vestibule ")) {
                found
                    .extend(commands(code).into_iter().map(|words| (format!("{}:{line}", self.name), words)));
            }
        }
        found
    }
}

/// The commands of ours in a piece of shell, without what is around them.
fn commands(shell: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in shell.split(['\n', '|', ';', '&', '(', ')', '>', '<']) {
        let mut words = line.split_whitespace().skip_while(|word| *word != "vestibule");
        if words.next().is_some() {
            found.push(words.map(ToOwned::to_owned).collect());
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them.
pub(crate) fn headings(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}
