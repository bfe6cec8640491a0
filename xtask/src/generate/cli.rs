use std::{fmt::Write as _, path::Path};

use crate::process::{Failure, command, read};

/// The reference of the command line: the help of every command, found by walking the lists of commands in it.
pub(super) fn page(gateway: &Path) -> Result<String, Failure> {
    let mut page =
        "# The command line\n\nGenerated from the help texts by `cargo xtask generate`.\n".to_owned();
    append(&mut page, gateway, &[])?;
    Ok(page)
}

fn append(page: &mut String, gateway: &Path, words: &[&str]) -> Result<(), Failure> {
    let mut run = command(gateway);
    run.args(words).arg("--help");
    // Help shows the values of variables that are set, and wraps at the width of the terminal.
    run.env_clear().env("COLUMNS", "100");
    let help = read(run)?;
    let name = ["vestibule"].iter().chain(words).copied().collect::<Vec<_>>().join(" ");
    let lines = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    // Writing to a string cannot fail.
    let _ = write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", lines.trim_end());
    for word in commands(&help) {
        append(page, gateway, &[words, &[word]].concat())?;
    }
    Ok(())
}

/// The commands that a help text lists, but `help` itself.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    let list =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A name stands two spaces in; what is further in continues a description.
    let entries = list.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    entries.filter_map(|entry| entry.split_whitespace().next()).filter(|name| *name != "help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_the_first_words_of_the_list_and_not_of_its_wrapped_lines() {
        let help = "About.\n\nCommands:\n  agent   Agents of this\n          gateway\n  revoke  Cut\n  help    Print\n\nOptions:\n  -h\n";
        assert_eq!(commands(help).collect::<Vec<_>>(), ["agent", "revoke"]);
        assert_eq!(commands("Usage: x\n\nOptions:\n  -h\n").count(), 0);
    }
}
