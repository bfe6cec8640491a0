use std::{collections::HashMap, fmt, sync::Arc};

use jiff::tz::TimeZone;

use crate::{
    catalog::{Catalog, Operations},
    load,
    problem::Problem,
    slice::Index,
    statement::Statement,
};

/// A file of policies. One named `*.shadow.cedar` is decided and recorded, but not enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its name, as problems and explanations show it. Distinct.
    pub name: String,
    /// Cedar policies; at most 4 MiB.
    pub text: String,
}

/// What policies are read with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The IANA time zone of `context.env.weekday` and `minuteOfDay`, for example `Europe/Berlin`.
    pub timezone: String,
}

/// Policies that were checked against the operations they are about. Immutable; a new one replaces it as a whole.
pub struct PolicySet {
    pub(crate) statements: Vec<Statement>,
    pub(crate) index: Index,
    pub(crate) operations: Operations,
    pub(crate) timezone: TimeZone,
    pub(crate) digest: String,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) by_id: HashMap<Arc<str>, usize>,
    catalog: Catalog,
}

impl PolicySet {
    /// Parses, names, checks and indexes policies.
    ///
    /// Every policy needs a distinct `@id`. Every policy must pass Cedar's strict validation against the operations of
    /// `catalog`, must be able to match, and may read only arguments that have an exact counterpart in Cedar.
    /// Bounds: 100,000 policies, 4 MiB a file.
    ///
    /// # Errors
    /// All problems found, warnings among them, when at least one is an error.
    pub fn load(files: &[PolicyFile], catalog: &Catalog, options: &Options) -> Result<Self, Vec<Problem>> {
        load::load(files, catalog, options)
    }

    /// A set without policies and operations. It refuses everything.
    pub(crate) fn empty() -> Self {
        Self::assemble(Vec::new(), Operations::default(), TimeZone::UTC, String::new(), Vec::new())
    }

    pub(crate) fn assemble(
        statements: Vec<Statement>,
        operations: Operations,
        timezone: TimeZone,
        digest: String,
        catalog: Catalog,
    ) -> Self {
        let by_id = statements.iter().enumerate().map(|(at, statement)| (statement.id.clone(), at)).collect();
        let index = Index::of(&statements);
        Self { statements, index, operations, timezone, digest, warnings: Vec::new(), by_id, catalog }
    }

    /// What is probably not as it was meant.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// SHA-256 (hexadecimal) over the files, the schema, the operations and the time zone: what decisions depend on
    /// beside the request and the agents. Empty for the set of a gateway that has no policies yet.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The operations it was loaded with.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How many policies, shadow ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether no policy is enforced. Such a set refuses everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.iter().all(|statement| statement.shadow)
    }

    /// Where the policy of that id stands, by file and line, and how it is written.
    #[must_use]
    pub fn source(&self, id: &str) -> Option<(&str, usize, &str)> {
        self.statement(id).map(|statement| (&*statement.file, statement.line, &*statement.text))
    }

    /// The policy of that id.
    pub(crate) fn statement(&self, id: &str) -> Option<&Statement> {
        self.by_id.get(id).and_then(|at| self.statements.get(*at))
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySet")
            .field("digest", &self.digest)
            .field("policies", &self.statements.len())
            .field("operations", &self.operations.entries.len())
            .finish_non_exhaustive()
    }
}
