use std::fmt;

use serde::Serialize;

/// Whether a problem keeps the policy set from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The set is refused; the one in use stays.
    Error,
    /// The set is usable, but this is probably not what was meant.
    Warning,
}

/// One thing that is wrong with policies or with the operations they are about, for the person who wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The policy file, or `app {id}` where an operation's definition is at fault.
    pub file: String,
    /// 1-based line; 0 where the problem has no place in the text.
    pub line: usize,
    /// 1-based column in characters; 0 where the problem has no place in the text.
    pub column: usize,
    /// The policy's `@id`, or the operation.
    pub policy: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether the set is refused for it.
    pub severity: Severity,
}

impl Problem {
    /// An error without a place in the text.
    #[must_use]
    pub fn error(file: &str, message: impl fmt::Display) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            policy: None,
            message: message.to_string(),
            help: None,
            severity: Severity::Error,
        }
    }

    pub(crate) fn warning(file: &str, message: impl fmt::Display) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, message) }
    }

    pub(crate) fn at(mut self, (line, column): (usize, usize)) -> Self {
        (self.line, self.column) = (line, column);
        self
    }

    pub(crate) fn of(mut self, policy: &str) -> Self {
        self.policy = Some(policy.to_owned());
        self
    }

    pub(crate) fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }
}

impl fmt::Display for Problem {
    /// `file:line:column: error: policy `id`: message`, then the help on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(match self.severity {
            Severity::Error => ": error: ",
            Severity::Warning => ": warning: ",
        })?;
        if let Some(policy) = &self.policy {
            write!(f, "`{policy}`: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}
