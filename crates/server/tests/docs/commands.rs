//! Whether commands and options exist, by the program's own help.

use std::{collections::HashMap, process::Command};

/// Help texts, asked for once.
#[derive(Default)]
pub(crate) struct Help(HashMap<Vec<String>, String>);

impl Help {
    /// Checks the words after `vestibule`.
    pub(crate) fn check(&mut self, words: &[String]) -> Result<(), String> {
        let mut path: Vec<String> = Vec::new();
        let mut rest = words.iter();
        for word in rest.by_ref() {
            let subcommands = self.subcommands(&path);
            if subcommands.contains(word) {
                path.push(word.clone());
            } else if subcommands.is_empty() || !word.chars().all(|c| c.is_ascii_lowercase()) {
                break;
            } else {
                return Err(format!("there is no command `{word}`"));
            }
        }
        let help = self.of(&path).to_owned();
        let options = words.iter().filter(|word| word.starts_with("--"));
        for option in options.map(|word| word.split('=').next().unwrap_or(word)) {
            if !help.split_whitespace().any(|word| word.trim_end_matches(',') == option) {
                return Err(format!("there is no option `{option}`"));
            }
        }
        Ok(())
    }

    fn subcommands(&mut self, path: &[String]) -> Vec<String> {
        let list = self.of(path).lines().skip_while(|line| *line != "Commands:").skip(1);
        let entries = list.take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
        entries.filter_map(|entry| entry.split_whitespace().next()).map(ToOwned::to_owned).collect()
    }

    fn of(&mut self, path: &[String]) -> &str {
        self.0.entry(path.to_vec()).or_insert_with(|| {
            let output =
                Command::new(env!("CARGO_BIN_EXE_vestibule")).args(path).arg("--help").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
    }
}
